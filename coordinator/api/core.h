/* Private to api/: what the coordinator keeps in memory, and the helpers that its resources share.
 *
 * Everything here is a cache of the store. A write that fails half-way, or a commit that fails, sets `stale`; the next
 * access reads everything again. What only lives here (parked claims, when a lease expires, when a worker was last seen)
 * may be lost with the process: workers retry, leases start anew. */
#pragma once
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "plan/plan.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "proto/spec.h"
#include "store/store.h"
#include "sweep/blame.h"
#include "sweep/curves.h"
#include "sweep/ending.h"
#include "sweep/lease.h"

#define API_NEVER UINT64_MAX
#define ID_CHARS 16    /* 80 bits, after a prefix */
#define LEASE_CHARS 26 /* 130 bits */

/* An answer of the model, good while the evidence is the one it was computed from. */
struct known_answer {
        char *key; /* the question with its parameters; NULL = none */
        uint64_t evidence;
        json_t *answer;
};
#define N_KNOWN_ANSWERS 8

/* Whether watchers are to be shown a sweep or worker again (events.c). */
struct showing {
        bool is_changed, is_urgent;
        uint64_t shown_ms; /* mono; 0 = not yet */
};

/* A sweep with its plan. Loaded on demand; running and paused ones stay. */
struct live {
        struct store *store; /* for the plan, when it looks into a history that it was not fed */
        struct sweep_row row;
        struct sweep_spec *spec;
        struct plan *plan;
        struct curve_table curves;  /* of the metric; empty without a stopping rule */
        const struct plan_job *job; /* out for computing, not ours to touch; NULL = none */
        uint64_t n_queued, n_running, n_served;
        bool is_idle;      /* nothing to hand out until something about this sweep changes */
        bool is_unsettled; /* it may have come to its end: live_settle has not looked yet */
        bool are_hours_over, is_closed; /* closed: no new trials, by target or max_hours */
        uint64_t closed_wall_ms;        /* trials that wait since before this are cancelled by live_settle; 0 = none */
        struct known_answer known[N_KNOWN_ANSWERS]; /* ring */
        unsigned next_known;
        uint64_t used; /* turn in which it was last needed */
        struct showing showing;
};

#define NO_CLAIM_YET (-1)

/* A worker as registered, and when it was last heard of. */
struct peer {
        struct worker_row row;
        json_t *trainers; /* array of strings */
        uint64_t seen_ms; /* mono; 0 = not since this process started */
        uint64_t seen_wall_ms;
        unsigned n_waiting;   /* claims of it that are parked: it is there as long as they wait */
        unsigned n_failed;    /* trials that failed here, in a way that a machine may cause, since one succeeded */
        uint64_t stray_ms, stray_last_ms; /* mono, when an older process of its name first and last claimed after this one registered; 0 = none did */
        uint64_t shared_wall_ms;          /* since when such a one goes on doing so; 0 = none does */
        int64_t claims_of;    /* which sweep it last asked for: 0 any, NO_CLAIM_YET */
        enum worker_state shown; /* to watchers */
        struct showing showing;
};

/* A claim that waits. The message borrows from call->request.body. */
struct parked {
        struct api_call *call;
        struct claim_request message;
        int64_t worker, sweep; /* sweep 0 = any */
        uint64_t deadline_ms;  /* the client's */
        bool is_fresh;         /* not tried yet */
        bool is_computing;     /* a proposal that it may get is being computed */
        bool is_repeated;      /* its client sent it again while it waited: both calls get one answer */
};

/* A question to the model that waits for its computation. */
struct asked {
        struct api_call *call;
        int64_t sweep;
        char *key; /* owned; as of known_answer */
        uint64_t evidence;
        const struct plan_job *job; /* out for computing; several may wait for one. NULL: it is back */
        json_t *answer; /* owned; NULL when there was no memory for it */
};

/* Of the running turn, for watchers. */
struct changes {
        bool is_watched;
        bool is_overrun; /* too much to tell, or lost: they are told to load everything again */
        int64_t *trials; /* row ids, some twice */
        size_t n_trials;
        struct buf notes; /* events that are encoded: name, sweep, JSON, each with its NUL */
};

/* Since the process started, for /metrics. */
struct counts {
        uint64_t moves[N_TRIAL_STATES]; /* into the state */
        uint64_t leases_expired, leases_timed_out, points, commit_failures, quarantines, webhooks_refused;
        struct histogram commit_s, turn_s, writes;
};

struct api {
        struct api_config config;
        struct store *store;
        const struct world *world;
        uint64_t turn;
        const char *who; /* asks for what is being written: the token's name, "" without authentication; NULL = we ourselves */

        struct live **lives;
        size_t n_lives, cap_lives;

        struct peer *peers; /* sorted by row id */
        size_t n_peers, cap_peers;

        struct lease_table leases;
        struct parked *parked; /* in order of arrival */
        size_t n_parked, cap_parked;

        struct asked *asked; /* in order of arrival; MAX_ASKED of them at most */
        size_t n_asked;
        struct changes changes;
        json_t *gone; /* of kept models, in this turn: array of {"sweep"} and {"trial"}; NULL = none */
        struct counts counts;

        struct api_call *answers, **answers_end; /* done() after the commit */
        bool wake;                               /* parked claims may have something to get */
        bool stale;                              /* forget everything that came from the store */
        bool is_loaded;                          /* peers and leases are there */
        bool is_draining, is_healthy;
        bool turn_failed;        /* something could not be written in this turn */
        uint64_t reservation_ms; /* when a released trial becomes anybody's */
        uint64_t retry_ms;       /* no timers before this, after a failure */
        uint64_t prune_ms;       /* when old keys are forgotten next */
        uint64_t room_ms;        /* when the disk is looked at next */
        uint64_t free_bytes;     /* as of then */
        bool is_room_short;      /* no new work */
};

static inline uint64_t api_now(const struct api *api) {
        return world_mono_ms(api->world);
}
static inline uint64_t api_wall(const struct api *api) {
        return world_wall_ms(api->world);
}
static inline uint64_t api_lease_ms(const struct api *api) {
        return (uint64_t)(api->config.lease_s * 1000);
}

/* --- handlers ---------------------------------------------------------------------------------------------
 * Each fills call->response. 0 · HANDLER_PARKED (a claim: api keeps the call) · negative errno: the unit is undone and
 * the answer is 503. A handler that answers 400 or more has changed nothing. */
#define HANDLER_PARKED 1

int sweeps_create(struct api *api, struct api_call *call);
int sweeps_list(struct api *api, struct api_call *call);
int sweeps_get(struct api *api, struct api_call *call);
int sweeps_patch(struct api *api, struct api_call *call);
int sweeps_delete(struct api *api, struct api_call *call);
int sweeps_history(struct api *api, struct api_call *call);
int trials_enqueue(struct api *api, struct api_call *call);
int trials_list(struct api *api, struct api_call *call);
int trials_get(struct api *api, struct api_call *call);
int trials_metrics(struct api *api, struct api_call *call);
int trials_cancel(struct api *api, struct api_call *call);
int trials_retry(struct api *api, struct api_call *call);
int trials_report(struct api *api, struct api_call *call);
int trials_export(struct api *api, struct api_call *call);
int reports_post(struct api *api, struct api_call *call);
int workers_register(struct api *api, struct api_call *call);
int workers_list(struct api *api, struct api_call *call);
int workers_drain(struct api *api, struct api_call *call);
int workers_undrain(struct api *api, struct api_call *call);
int workers_forget(struct api *api, struct api_call *call);
int kept_offer(struct api *api, struct api_call *call);
int kept_get(struct api *api, struct api_call *call);
int kept_list(struct api *api, struct api_call *call);
int claims_post(struct api *api, struct api_call *call);
int events_get(struct api *api, struct api_call *call);
int measure_get(struct api *api, struct api_call *call);
int debug_state(struct api *api, struct api_call *call);
int debug_snapshot(struct api *api, struct api_call *call);
int debug_expire(struct api *api, struct api_call *call);

/* --- questions to the model (explain.c): best, importance, slice -------------------------------------------------------- */

#define MAX_ASKED 128
int explain_importance(struct api *api, struct api_call *call);
int explain_slice(struct api *api, struct api_call *call);
int explain_best(struct api *api, struct api_call *call);
void explain_job_done(struct api *api, struct plan_job *job); /* takes the job */
bool explain_has_answers(const struct api *api);
void explain_answer_all(struct api *api); /* those that are there, on the read side of a turn */
void explain_refuse_all(struct api *api, const char *detail); /* 503 */
void explain_forget(struct live *live);

/* --- replies (reply.c) ----------------------------------------------------------------------------------- */

int reply_json(struct api_call *call, int status, json_t *body);                         /* takes body; NULL = -ENOMEM */
int reply_text(struct api_call *call, int status, char *text, const char *content_type); /* takes text; NULL = -ENOMEM */
int reply_empty(struct api_call *call);                                                  /* 204 */
int reply_problem(struct api_call *call, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int reply_faults(struct api_call *call, struct faults *faults); /* 422 with all of them; frees them */
int reply_fault(struct api_call *call, const char *pointer, const char *format, ...) __attribute__((format(printf, 3, 4)));
void reply_unavailable(struct api_call *call, const char *detail); /* 503 with Retry-After */
void reply_clear(struct api_call *call);

/* Decodes a query; 0, or the answer stands in call (positive), or negative. */
#define ANSWERED 2
int reply_query(struct api_call *call, enum list_kind kind, struct list_query *ret);
int reply_decoded(struct api_call *call, int r, struct faults *faults); /* after a *_decode: 0 · ANSWERED · negative */

/* {"items":items,"next":cursor|null}; takes both. */
int reply_page(struct api_call *call, json_t *items, char *cursor);

/* --- tokens that are good for one sweep only (limit.c) ------------------------------------------------------ */

/* 0 · ANSWERED (403) · negative. A claim that names no sweep is narrowed to the token's. */
int limit_check(struct api *api, struct api_call *call);

/* --- cursors (cursor.c) ----------------------------------------------------------------------------------- */

/* An opaque, URL-safe position of one list: fields are numbers, tail is any text (may be ""). Owned; NULL = no memory. */
#define CURSOR_FIELDS 6
char *cursor_encode(const int64_t fields[static CURSOR_FIELDS], const char *tail);
/* false for anything that cursor_encode did not make. tail: 129 bytes. */
bool cursor_decode(const char *text, int64_t ret[static CURSOR_FIELDS], char ret_tail[static 129]);

/* --- bodies (encode.c) ------------------------------------------------------------------------------------ */

json_t *encode_time(uint64_t ms);        /* null for 0 */
json_t *encode_text(const char *text);   /* null for NULL */
json_t *encode_stored(const char *json); /* stored JSON; null for NULL */
int encode_trial(struct api *api, const struct trial_row *row, json_t **ret);
int encode_trial_row(struct store *store, const struct trial_row *row, json_t **ret); /* the same for another thread with a store of its own */
int encode_sweep(struct api *api, const struct sweep_row *row, json_t **ret);
int encode_worker(struct api *api, const struct peer *peer, json_t **ret); /* workers.c */

/* --- what watchers are told (events.c) ---------------------------------------------------------------------- */

void events_begin(struct api *api); /* of a turn */
void events_fini(struct api *api);
/* It changed. at_once: not to be held back for the sake of rest. */
void events_note_trial(struct api *api, int64_t trial);
void events_note_sweep(struct api *api, struct live *live, bool at_once);
void events_note_worker(struct api *api, struct peer *peer, bool at_once); /* NULL is nobody */
void events_note_point(struct api *api, const struct trial_row *trial, const struct metric_row *point);
void events_note_deleted(struct api *api, const char *sweep);
void events_note_forgotten(struct api *api, const char *worker);
size_t events_mark(const struct api *api); /* of what is noted; a unit that fails goes back to it */
void events_undo(struct api *api, size_t mark);
void events_drop(struct api *api);    /* the commit failed */
void events_publish(struct api *api); /* after the commit */
uint64_t events_deadline(const struct api *api);

/* --- sweeps in memory (live.c) ---------------------------------------------------------------------------- */

/* 0 and a live sweep (valid for this unit) · STORE_NONE · negative errno. */
int live_get(struct api *api, int64_t id, struct live **ret);
int live_load_running(struct api *api);
void live_forget(struct api *api, int64_t id);
void live_forget_all(struct api *api);
void live_evict(struct api *api); /* at the end of a turn: keeps memory bounded */

/* Something about it changed: claims look again, its end is judged again. */
void live_touch(struct api *api, struct live *live);
/* The plan's target and max_hours are looked at again. */
int live_judge_closed(struct api *api, struct live *live);
unsigned live_stage(struct live *live);
/* What comes next; a computation is started. at_once: one is done here, for who must know whether there is anything at all. 0, also when the
 * sweep cannot be planned, which was logged and answers PLAN_WAIT · negative. */
int live_ask_plan(struct api *api, struct live *live, bool at_once, enum plan_answer *ret);
int live_keep_stage(struct api *api, struct live *live); /* writes what is kept of a sweep at rest */
int live_pause_after_stage(struct api *api, struct live *live);
int live_set_state(struct api *api, struct live *live, enum sweep_state state);
/* Asks the plan whether a sweep without open trials is over (or comes to a pause); starts computing ahead. */
int live_settle(struct api *api, struct live *live);
void live_submit(struct api *api, struct live *live, struct plan_job *job);
/* plan_next failed: 0 where the sweep itself cannot be planned, which stops nobody else; else what the unit fails with (no memory, the
 * database cannot be read): its plan must not be gone on with. */
int live_unplanned(const struct live *live, const struct error *err);
/* Mono time at which a sweep's max_hours are over; API_NEVER without. */
uint64_t live_hours_deadline(const struct api *api, const struct live *live);

/* --- warm starts (warm.c) ---------------------------------------------------------------------------------- */

/* What a new sweep's warm_start brings, into found: [{"params","value","proposal"}]. Changes nothing; faults tell what is wrong. */
int warm_gather(struct api *api, const struct plan *plan, const struct sweep_spec *spec, struct faults *faults, json_t *found);
int warm_import(struct api *api, struct live *live, const json_t *found);

/* --- edits (edit.c), and the history of a sweep for people (changes.c) --------------------------------------- */

/* patch: borrowed. *live is another one afterwards. 0 · ANSWERED (422) · negative. */
int edit_spec(struct api *api, struct api_call *call, const json_t *patch, struct live **live);
/* In the running unit, by api->who; takes detail, which may be NULL: {"changes":[…]}, {"n","first","last"}, {"trial"}, {"why"}. */
int change_note(struct api *api, int64_t sweep, const char *what, json_t *detail);
/* Of n trials, created by a request with this Idempotency-Key (or NULL). One change with the last one when that is of the trials before
 * these, by the same person with a key that differs behind its last dot alone: a piece of the same import. */
int change_note_trials(struct api *api, int64_t sweep, const char *what, const char *key, uint64_t n, uint64_t first, uint64_t last);
json_t *change_of(const char *pointer, json_t *before, json_t *after); /* a detail of one change; takes both */
int change_compare(const json_t *before, const json_t *after, json_t **ret); /* [{"pointer","before","after"}] */
int change_recent(struct api *api, int64_t sweep, size_t max, json_t *ret_list); /* the first so many, as the contract shows them */

/* --- webhooks (webhooks.c): in the running unit; trial NULL unless it is about one ---------------------------- */

int webhook_note(struct api *api, const struct live *live, enum webhook_event event, const struct trial_row *trial);

/* --- moves of trials (moves.c): the only place that changes a trial's state --------------------------------- */

/* A new trial, queued or (import) completed; row gets id, public_id and number. params, proposal: borrowed JSON. */
struct trial_seed {
        enum trial_origin origin;
        unsigned stage;
        const json_t *params, *proposal;
        bool has_value;
        double value;
        enum trial_state state; /* with a value: completed or stopped */
};
int move_create(struct api *api, struct live *live, const struct trial_seed *seed, struct trial_row *ret);
int move_lease(struct api *api, struct live *live, struct trial_row *row, const struct peer *peer, int64_t claim,
               char ret_lease[static LEASE_CHARS + 1]);
/* The present attempt is over. resume: JSON of a release, borrowed. */
int move_end(struct api *api, struct live *live, struct trial_row *row, const struct ending *ending, const char *ended_as,
             const char *detail, const json_t *resume);
int move_cancel(struct api *api, struct live *live, struct trial_row *row);
/* Queued trials that nobody has started and that were created up to this moment: their sweep takes no new ones. */
int move_cancel_unstarted(struct api *api, struct live *live, uint64_t created_until_ms);
int move_retry(struct api *api, struct live *live, struct trial_row *row);
int move_cancel_all(struct api *api, struct live *live);
/* The lease is over without a report: lost or out of time. */
int move_lease_over(struct api *api, const struct lease *lease, enum lease_end end);
uint64_t move_stall_deadline(const struct api *api, const struct live *live);

/* --- stopping rules (stopping.c) ------------------------------------------------------------------------------ */

int stopping_load(struct api *api, struct live *live); /* the curves, from the store */
void stopping_note_state(struct live *live, const struct trial_row *row);
int stopping_was_told(const struct attempt_row *attempt, bool *ret);
/* Takes the points of a trial that was finished elsewhere into the curves. */
int stopping_take_points(struct live *live, const struct trial_row *row, const struct metric_point *points, size_t n);
/* Takes the points of an accepted report into the curves; *ret_stop: its answer is `stop`. */
int stopping_judge_report(struct api *api, struct live *live, const struct trial_row *row, const struct attempt_row *attempt,
                          const struct report *message, bool *ret_stop);
/* A point as it is stored; its name is borrowed (reports.c). */
struct metric_row report_point_row(const struct api *api, const struct metric_point *point);
/* The value of a trial by its series, by the sweep's summary (reports.c). */
int report_summarise(struct api *api, const struct live *live, int64_t trial, bool *ret_has, double *ret_value);
/* The trial of the path, and its attempt with that lease; fini both in any case. 0 · ANSWERED (404, 409) · negative. */
int report_find_lease(struct api *api, struct api_call *call, const char *lease, struct trial_row *trial, struct attempt_row *attempt);

/* --- room on the disk (room.c) ------------------------------------------------------------------------------- */

void room_look(struct api *api);
uint64_t room_deadline(const struct api *api);
int room_refuse(struct api *api, struct api_call *call); /* 503 */

/* --- kept models (kept.c) --------------------------------------------------------------------------------------- */

/* A sweep is deleted, or a trial evaluated again: its models go once that is committed. */
void kept_note_gone(struct api *api, const char *sweep, const char *trial); /* one of them, the other NULL */
void kept_settle(struct api *api, bool is_committed);
/* At the start: lets go of models whose trial did not end as they say. A crash, or a database put back from a copy, leaves some. */
int kept_reconcile(struct api *api);

/* --- workers (workers.c) ---------------------------------------------------------------------------------- */

int peers_load(struct api *api);
void peers_fini(struct api *api);
struct peer *peer_find(struct api *api, const char *public_id);
struct peer *peer_by_row(struct api *api, int64_t id);
int peer_of_path(struct api *api, struct api_call *call, struct peer **ret); /* which has an empty body: 0 · ANSWERED · negative */
bool peer_shares_name(const struct api *api, const struct peer *peer);
void peer_claims(struct api *api, struct peer *peer, const char *instance); /* does it share its name? instance: the claim's, empty = unknown */
void peer_heard(struct api *api, struct peer *peer); /* is there now; only in memory */
void peer_seen(struct api *api, struct peer *peer);  /* the same, written to the store now and then */
enum worker_state peer_state(const struct api *api, const struct peer *peer);
void peer_remove(struct api *api, struct peer *peer); /* from memory; claims of it that wait are answered */
int reply_worker(struct api *api, struct api_call *call, int status, const struct peer *peer);
/* NULL when the worker may have trials of the sweep; else why not, in text. */
const char *peer_excluded(const struct peer *peer, const struct live *live, char text[static 256]);

/* --- whether they are in order (health.c) ------------------------------------------------------------------ */

int health_load(struct api *api, struct peer *peer); /* what is held against it, from the store */
/* An attempt of a trial ended at this worker. May bring it, or another one, into quarantine. */
int health_note_end(struct api *api, int64_t worker, const struct ending *ending);
int health_judge(struct api *api, struct peer *peer); /* quarantine, if what failed at it is its own fault */
int health_forget_old(struct api *api); /* workers that nobody has seen for FORGET_WORKERS_S */
/* 0 · STORE_NONE: there are LIMIT_WORKERS of them, and all are there. Forgets the one that is gone for longest. */
int health_make_room(struct api *api);
/* A trial that failed here at once is better tried elsewhere: at how many other workers it could be, as far as that matters. */
unsigned health_elsewhere(const struct api *api, const struct peer *peer, const struct live *live);

/* --- claims (claims.c) ------------------------------------------------------------------------------------ */

int claims_wake(struct api *api); /* hands out what there is to parked claims, ends those whose time is over */
uint64_t claims_deadline(const struct api *api);
void claims_refuse_all(struct api *api, const char *detail); /* 503 */
void claims_forget(struct api *api, const struct api_call *call); /* it is parked no more, and somebody else answers it */
void claims_release_worker(struct api *api, int64_t worker); /* 204: its process is gone */

/* --- the turn (api.c) ------------------------------------------------------------------------------------- */

void api_answer(struct api *api, struct api_call *call); /* after the commit */
/* Runs `what` inside a savepoint; when it fails it alone is undone, the failure is logged, and the caches are stale.
 * 0 · UNIT_FAILED · negative errno when the whole transaction is lost. */
#define UNIT_FAILED 1
int api_unit(struct api *api, int (*what)(struct api *api, void *data), void *data);
int api_load(struct api *api); /* reads what is not in memory, or stale */
