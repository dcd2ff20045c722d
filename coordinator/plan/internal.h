/* The inside of a plan, shared by the files of this box.
 *
 *   history.c   the trials so far, found by number and by configuration
 *   params.c    configurations: the base (constants and baseline), completing what a person gave
 *   confirm.c   repeats of configurations, and what they say
 *   conclude.c  what a finished OFAT stage says: impacts, and whom select_top selects
 *   relations.c conditions, constraints and ties between parameters
 *   axes.c      grids                      domain.c  JSON values ↔ doubles
 *   job.c       a model-based proposal as a self-contained computation
 *   edit.c      what an edit of the spec may change, and what it makes of earlier trials
 *   explain.c   a question to the model, as such a computation, and its answer
 *   plan.c      walks the stages           describe.c  tells people where it stands */
#pragma once
#include <stdatomic.h>

#include "plan/axes.h"
#include "plan/domain.h"
#include "plan/plan.h"

struct plan_trial {
        uint64_t number;
        unsigned stage;
        enum trial_origin origin;
        enum trial_state state;
        bool has_value;
        bool is_foreign; /* run by another sweep */
        double value;
        uint64_t changed; /* when it last ended, its value changed or it was taken back: counted in n_changes */
        json_t *params; /* owned reference */
};

struct impact {
        const char *name; /* borrowed from the spec */
        double impact;    /* max − min of the metric over the factor's levels and the baseline */
        double low, high; /* that min and max; NAN without a single value */
};

/* What a trial had come to when a stage began. */
struct plan_outcome {
        enum trial_state state;
        bool has_value;
        double value;
};

/* What one stage varies; made when the stage begins. */
struct stage_state {
        char const **selected; /* names in ranking order, borrowed strings; NULL when the stage has no select_top */
        size_t n_selected;
        struct axis *axes; /* grid */
        size_t n_axes;
        uint64_t next_index; /* grid, ofat: every position before has a trial */
        struct impact *impacts; /* ofat: filled when the next stage begins, by falling impact */
        size_t n_impacts;
        uint64_t *finalists; /* confirm: numbers of the trials whose configurations are repeated; NULL while not computed */
        size_t n_finalists;
        struct plan_outcome *then; /* confirm: of the first n_then trials, when it began: finalists are always chosen by these */
        size_t n_then;
};

struct stage_counts {
        uint64_t proposed, enqueued, unended;
        uint64_t added; /* all, with imports */
};

/* The first n trials as points of the space that proposals were last made in: a long history is not read anew for each. */
struct plan_points {
        uint64_t key; /* of the dimensions */
        size_t n, cap, n_dims;
        double *x;  /* n × n_dims */
        bool *fits; /* false: a value is missing or none of its dimension's */
};

struct plan {
        const struct sweep_spec *spec;
        uint64_t seed, run_cap;
        bool closed;
        unsigned edit; /* of the spec, 0 = as created */

        int (*load)(void *data); /* the trials are still in the store: history_need before looking at them; NULL = they are here */
        int (*reload)(void *data); /* as load, of a history that was read from the store and can be again; else NULL */
        void *load_data;
        struct plan_trial *trials; /* by ascending number */
        size_t n_trials, cap_trials;
        json_t *by_key;   /* configuration key → index into trials of its first trial */
        uint64_t version; /* of the history; a job that computed on an older one is stale */
        uint64_t evidence; /* the same, of ended trials only */
        uint64_t n_changes; /* of trials; what is fed after a restart gives them the same order */
        uint64_t n_all;     /* trials, also while they are in the store */
        uint64_t n_counted; /* proposed and enqueued, for run_cap */

        unsigned stage;         /* proposals come from here */
        uint64_t begun_version; /* the history's when that stage began */
        unsigned allowed_stage; /* pause_after: stages below or equal may start */
        struct stage_state *stages; /* [spec->n_stages] */
        struct stage_counts *counts; /* [spec->n_stages] */

        struct plan_points points;
        struct opt_memory *memory; /* goes with the job that is out, and comes back */
        struct opt_memory_use memory_use; /* its, when it last came back */
        struct plan_job *out; /* being computed: of it only `stop` may be touched; NULL = none */
        bool is_awaited; /* somebody asked for what is being computed */
        uint64_t modelled_evidence; /* that a proposal was last computed for, ahead or not */
        uint64_t prepared_evidence; /* that the proposal after the next result was last prepared from */
        unsigned n_stale; /* awaited proposals in a row that new evidence overtook */
        json_t *ready_params, *ready_proposal; /* a finished job's, valid for ready_version */
        uint64_t ready_version;
        unsigned ready_stage;
        bool is_barren; /* ready_params breaks a constraint, or was tried: none was found that does not */
};

/* Of a sweep: questions about more get no model, so that one about a million costs nobody else time; a plan that does not
 * propose from its trials then keeps none. */
#define TRIALS_MODELLED_MAX 20000

/* job.c */
void job_overtaken(struct plan *plan); /* the history went on: a job that is out gives up, if nothing of it can be used */

/* history.c */
int history_need(struct plan *plan); /* trials and by_key are there when it returns 0; may move the trials */
struct plan_trial *history_find(const struct plan *plan, uint64_t number);
/* By configuration; *ret is NULL if it is new. 0 or -ENOMEM, which must not be taken for a new one. */
int history_lookup(const struct plan *plan, const json_t *params, const struct plan_trial **ret);

/* params.c */
json_t *params_base(const struct plan *plan, unsigned stage); /* constants and baseline, nested; new reference */
const json_t *params_default(const struct plan *plan, const char *name); /* baseline value, default or constant; NULL */

/* edit.c */
/* A trial's configuration with the defaults of parameters that came later. New reference; NULL without memory. */
json_t *params_fill(const struct plan *plan, const json_t *params);

/* relations.c */

/* Makes a configuration what a trial stores: tied parameters have their leader's value, inactive ones are absent. 0 or negative. */
int relations_settle(const struct plan *plan, json_t *params);
/* Do the parents that params hold activate the parameter? */
bool relations_is_active(const struct plan *plan, const json_t *params, const char *name);
/* Does a settled configuration satisfy all constraints? Else which it breaks, and by what sum. */
bool relations_allow(const struct plan *plan, const json_t *params, size_t *ret_index, double *ret_sum);

/* The same for points of opt/. Dimensions by name; what is no dimension has its value in base. All borrowed. */
struct relations_view {
        const char *const *names;
        const struct opt_dim *dims;
        json_t *const *choices; /* NULL entries for numbers */
        size_t n_dims;
        const json_t *base;
};
struct relations {
        struct opt_condition *conditions;
        size_t n_conditions;
        struct opt_constraint *constraints;
        size_t n_constraints;
        double *factors;
};
int relations_build(const struct plan *plan, const struct relations_view *view, struct relations *ret);
void relations_free(struct relations *relations); /* what build allocated, not the struct */
struct opt_space relations_space(const struct relations *relations, const struct opt_dim *dims, size_t n_dims); /* borrows both */

/* conclude.c */
int conclude_ofat(struct plan *plan, unsigned stage);                 /* fills impacts of that stage */
int conclude_select(struct plan *plan, unsigned stage);               /* fills selected of that stage */
bool stage_varies(const struct plan *plan, unsigned stage, const char *name); /* selected, or no selection */
const struct stage_state *conclude_latest_ofat(const struct plan *plan, unsigned before);

/* plan.c */
const struct parameter_list *stage_parameters(const struct plan *plan, unsigned stage);
int stage_begin(struct plan *plan, unsigned stage); /* also moves plan->stage there */
void stage_unwind(struct plan *plan); /* back from stages without a trial whose beginning the history has overtaken */
json_t *ofat_config(const struct plan *plan, unsigned stage, uint64_t index, json_t **ret_proposal);
uint64_t ofat_count(const struct plan *plan, unsigned stage);

/* job.c */
struct job_dim {
        char *name;
        json_t *choices; /* of a categorical */
        double *probabilities;
        bool integer;
};

struct plan_job {
        int64_t tag;
        unsigned stage;
        uint64_t version;
        struct job_dim *names; /* [space.n_dims] */
        struct opt_dim *dims;
        struct opt_space space; /* dims, and relations' conditions and constraints */
        struct relations relations;
        struct opt_trial *trials;
        uint64_t *numbers; /* of the trials */
        struct opt_history history;
        double *x;         /* the trials' points, [n, n_dims] */
        double *proposed;  /* [2 × n_dims]: the point, length scales */
        struct opt_bayes_options options;
        struct opt_memory *memory;
        struct opt_proposal proposal;
        int result; /* of the computation */
        struct question *question; /* NULL = a proposal */
        bool is_preparation; /* it only fills the memory (plan_prepare) */
        uint64_t evidence; /* the plan's when the job was made */
        atomic_bool stop; /* what it computes is not wanted any more: it soon gives up. Set by the plan's thread while another computes */
        unsigned before; /* only trials of stages before this (confirm) one are evidence, as they were when it began; 0 = all */
};

#define ALL_STAGES UINT32_MAX
int job_add_parameter(const struct plan *plan, struct plan_job *job, const struct parameter *p, const json_t *held);
int job_add_factors(struct plan *plan, struct plan_job *job, unsigned stage); /* what levels and the baseline vary beside */
int job_add_relations(const struct plan *plan, struct plan_job *job);
int job_add_evidence(struct plan *plan, struct plan_job *job, unsigned stage);
bool job_has_dim(const struct plan_job *job, const char *name);

/* confirm.c */
int next_repeat(struct plan *plan, json_t **ret_params, json_t **ret_proposal);  /* 0 · CONFIRM_NOTHING · negative */
int next_confirm(struct plan *plan, json_t **ret_params, json_t **ret_proposal); /* 0 · CONFIRM_NOTHING · CONFIRM_UNKNOWN: ask for the finalists */
#define CONFIRM_NOTHING 1
#define CONFIRM_UNKNOWN 2
json_t *confirm_json(const struct plan *plan, unsigned stage); /* NULL before there are finalists, and without memory */
/* The trial whose configuration won the latest stage, if that is a confirm stage and all its trials ended; else 0. Wants the history. */
uint64_t confirm_winner(const struct plan *plan);
int confirm_freeze(struct plan *plan, unsigned stage);         /* fills then of that stage */
/* trials[i] as it was when the confirm stage began (0: as it is); false when it was not there yet. */
bool confirm_recall(const struct plan *plan, unsigned stage, size_t i, struct plan_trial *ret);
/* Mean value of the trials of one configuration; NAN without one. 0 or -ENOMEM. */
int confirm_mean(const struct plan *plan, const json_t *params, double *ret);

/* explain.c */
int question_finalists(struct plan *plan, unsigned stage, struct plan_job **ret);
void question_take_finalists(struct plan *plan, const struct plan_job *job);
void question_free(struct question *question);
void question_compute(struct plan_job *job);

int job_new(struct plan *plan, unsigned stage, struct plan_job **ret);
