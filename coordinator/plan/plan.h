/* What a sweep tries next. A plan is made from a spec and the ordered history of a sweep's trials, and answers one
 * question: what is the next configuration? It joins the JSON world of specs and params with the pure mathematics of
 * opt/ (points are vectors of doubles there) and walks the stages of a staged sweep.
 *
 * Deterministic: the answer depends on spec, seed and the order of the events given to it, never on ids or time.
 * A plan is a cache: feeding the same events to a new plan gives the same state. One thread at a time; a plan_job is
 * self-contained and may be computed on another thread meanwhile. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "proto/spec.h"
#include "proto/state.h"

enum trial_origin {
        ORIGIN_PROPOSED, /* by this plan; counts towards run_cap */
        ORIGIN_ENQUEUED, /* by a person; counts towards run_cap */
        ORIGIN_IMPORTED, /* finished elsewhere; does not count */
};

struct plan;
struct plan_job;

/* spec outlives the plan. seed: the spec's, or the drawn one that the store recorded. run_cap may differ from the spec's
 * after a PATCH; 0 = none. */
int plan_new(const struct sweep_spec *spec, uint64_t seed, uint64_t run_cap, struct plan **ret, struct error *err);
void plan_free(struct plan *plan);
void plan_set_run_cap(struct plan *plan, uint64_t run_cap);

/* May the spec of this plan's sweep become this one? Faults carry pointers into the new document (what is taken out: into the
 * old one). 0 · SPEC_FAULTY · -ENOMEM. Afterwards the plan is made anew, from the new spec and the same history. */
int plan_check_edit(const struct plan *plan, const struct sweep_spec *after, struct faults *faults);

/* Which edit of its spec a new plan is made from, 0 = none: nothing computed for an earlier one is taken for its own. */
void plan_set_edit(struct plan *plan, unsigned edit);

/* --- history, in order ----------------------------------------------------------------------------- */

/* A trial exists: state queued or running, or ended for an import. number counts from 1 in the sweep. stage is the
 * 0-based index under which it was created. params as stored (nested). */
int plan_trial_added(struct plan *plan, uint64_t number, unsigned stage, enum trial_origin origin, const json_t *params);

/* The trial just added was run by another sweep: the model believes it as far as this sweep's own trials bear it out. */
void plan_trial_foreign(struct plan *plan, uint64_t number);

/* It ended, or (state queued) it was requeued by a retry. has_value for completed and stopped. */
void plan_trial_state(struct plan *plan, uint64_t number, enum trial_state state, bool has_value, double value);

/* A plan of a single stage need not be fed a long history before somebody looks into it: how many trials of each kind there
 * are is enough for random and Sobol points, budgets and descriptions. The plan calls `load` when it needs the trials
 * themselves: it must then feed all events so far, in order, from the store. Events go on being told to the plan as they happen.
 * Only a new plan can be deferred; one of several stages is not, and stays as it is (false). */
struct plan_tally {
        unsigned stage;
        enum trial_origin origin;
        enum trial_state state;
        uint64_t n;
};
bool plan_defer(struct plan *plan, int (*load)(void *data), void *data);
void plan_tally(struct plan *plan, const struct plan_tally *tally); /* once for each kind, after plan_defer */

/* --- proposals ------------------------------------------------------------------------------------- */

enum plan_answer {
        PLAN_TRIAL,     /* *ret_params, *ret_proposal and *ret_stage are filled: create this trial now */
        PLAN_JOB,       /* *ret_job must be computed first; ask again after plan_job_finish */
        PLAN_WAIT,      /* nothing until a running or queued trial ends */
        PLAN_PAUSE,     /* a stage with pause_after has ended: the sweep becomes paused; ask again when resumed */
        PLAN_EXHAUSTED, /* nothing more can be proposed: finished once nothing is queued or running */
};

/* Asks for the next configuration. New references: params as a trial stores them, proposal = {"source",…}.
 * While a job is out that has to be computed first, a second call answers PLAN_WAIT. What a result overtakes gives up by itself.
 * Negative errno on failure. */
int plan_next(struct plan *plan, enum plan_answer *ret, json_t **ret_params, json_t **ret_proposal, unsigned *ret_stage,
              struct plan_job **ret_job, struct error *err);

/* While trials run: the job whose proposal the next plan_next may give at once, when results came since one was last prepared; else
 * NULL. Computed or not, proposals are the same. 0 or negative errno. */
int plan_ahead(struct plan *plan, struct plan_job **ret_job);

/* While trials run and nothing else is to be computed: the job that does ahead what the proposal after the next result will need of those
 * before it; else NULL. A ready proposal is given meanwhile. 0 or negative errno. */
int plan_prepare(struct plan *plan, struct plan_job **ret_job);

/* A pause_after was taken note of; the next plan_next goes on with the next stage. Kept by the store as the number of
 * stages that may start, so that it survives a restart: plan_allow_stage(stage) with the first stage that may start. */
void plan_allow_stage(struct plan *plan, unsigned stage);

/* The stage that proposals come from now, 0-based. */
unsigned plan_stage(struct plan *plan);

/* The same in words: a description for GET /v1/sweeps/{id}:
 * {"index","method","count",…} and the conclusions of the stages before (impacts, selected). New reference; NULL without memory. */
json_t *plan_describe_stage(struct plan *plan);

/* For whoever looks inside: where it stands, and the last `max` trials as the model sees them. A history that was not needed yet is
 * not read for this (deferred). New reference; NULL without memory. */
json_t *plan_snapshot(const struct plan *plan, size_t max);

/* How many proposals are still to come by run_cap, grid and stages, where that is known; -1 = unknown. For the eta. */
int64_t plan_remaining(const struct plan *plan);

/* The target was reached or max_hours is over: plan_next answers PLAN_EXHAUSTED from now on, until cleared. */
void plan_set_closed(struct plan *plan, bool closed);

/* Whether there is anything to propose at all: a fault at pointer when no configuration satisfies the constraints.
 * 0 · SPEC_FAULTY · negative. */
int plan_check(struct plan *plan, const char *pointer, struct faults *faults);

/* Completes an enqueued or imported configuration: parameters left out take the baseline's value or their constant,
 * values are checked against their domains (an import may lie outside the bounds: it stays evidence). Faults carry pointers below
 * `pointer`. New reference in *ret_params. 0 · SPEC_FAULTY · -ENOMEM. */
int plan_complete_params(const struct plan *plan, const json_t *given, bool imported, const char *pointer, struct faults *faults, json_t **ret_params);

/* A configuration of another sweep as one of this: what both know, else the baseline. *ret_params stays NULL when something is
 * missing or of another kind. 0 or -ENOMEM. */
int plan_adopt_params(const struct plan *plan, const json_t *theirs, json_t **ret_params);

/* A trial's seed: a function of the sweep's seed and the trial's number, 0 … 2^53-1 so that JSON readers keep it. */
uint64_t plan_trial_seed(uint64_t sweep_seed, uint64_t number);

/* --- questions: what the model makes of the history ------------------------------------------------ */

/* Changes whenever an answer could: a trial ended, or its value changed. */
uint64_t plan_evidence(const struct plan *plan);

enum plan_question { PLAN_ASKS_BEST, PLAN_ASKS_IMPORTANCE, PLAN_ASKS_SLICE };

/* A job that answers a question about all trials of the sweep; a slice names one or two parameters (the second may be NULL).
 * 0 · PLAN_NO_PARAMETER or PLAN_NO_PARAMETER_2: the sweep does not vary it · -ENOMEM. Computed as other jobs, but not finished:
 * its owner takes the answer and frees it. */
#define PLAN_NO_PARAMETER 1
#define PLAN_NO_PARAMETER_2 2
int plan_ask(struct plan *plan, enum plan_question question, const char *parameter, const char *parameter2, struct plan_job **ret);
bool plan_job_is_question(const struct plan_job *job);

/* The answer of a computed question, as the contract shows it; best: "recommended" is a trial's number or null.
 * New reference; NULL without memory. */
json_t *plan_job_answer(const struct plan_job *job, struct plan *plan);

/* --- jobs ------------------------------------------------------------------------------------------ */

/* Runs the computation of a job: pure, any thread, owns all it touches. */
void plan_job_compute(struct plan_job *job);

/* Hands the result to its plan and frees the job. A job whose plan was freed meanwhile is freed with plan_job_free. */
void plan_job_finish(struct plan *plan, struct plan_job *job);
void plan_job_free(struct plan_job *job);

/* The tag that the api gave the job (the sweep's row id), to find its plan again. */
void plan_job_set_tag(struct plan_job *job, int64_t tag);
int64_t plan_job_tag(const struct plan_job *job);
