/* Durable truth of the coordinator: one SQLite database, owned by one server process.
 *
 * Thread rule: one thread (the core thread). Calls block on the disk; only store_commit waits for an fsync.
 * Rows come as structs that own their strings (free with the *_fini of their kind) and go back by value: a caller loads
 * a row, changes it and stores it. Every function returns 0 or a negative errno (-ENOSPC, -EROFS, -EIO, -ENOMEM, -EBUSY)
 * unless it says more; store_error tells what SQLite said. ret_ arguments are untouched on failure.
 *
 * Writes happen between store_begin and store_commit. A statement that fails, a query too, may have ended the transaction
 * (store_in_transaction): then all of it is gone, which is the caller's signal to forget what it cached. Whatever is tried after
 * that and before store_commit (which fails) or store_rollback fails as well: nothing is kept outside of the transaction. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "proto/state.h"

struct store;

#define STORE_NONE 1 /* documented outcome of the finders: no such row */

/* --- lifecycle (store.c) ------------------------------------------------------------------------------- */

/* Opens or creates FILE, takes FILE.lock (freed by the kernel when the process dies), backs up and migrates an older
 * database; refuses a newer one, a foreign one, and one that another server has open. */
int store_open(const char *path, struct store **ret, struct error *err);
/* Opens a database that exists and has this program's version, beside a server that may have it open: takes no lock, creates
 * and migrates nothing. -ENOENT when there is no such file. For short reads and writes. */
int store_open_beside(const char *path, struct store **ret, struct error *err);
/* From now on a thread takes the log of commits back into the database, and no commit waits for that. For a server: if the
 * database cannot be synced then, the process ends at once. */
int store_checkpoint_aside(struct store *store, struct error *err);
void store_close(struct store *store);

/* Takes the write lock, so that nobody who works beside us (sweepd token) can come between our reads and our writes. */
int store_begin(struct store *store);
int store_begin_read(struct store *store); /* for reads alone; end it with store_rollback */
int store_commit(struct store *store); /* on failure everything since store_begin is rolled back */
void store_rollback(struct store *store);
bool store_in_transaction(const struct store *store);

/* One nested unit inside a transaction: savepoint, then release or undo. A unit for which that fails takes the transaction with it. */
int store_savepoint(struct store *store);
int store_savepoint_release(struct store *store);
int store_savepoint_undo(struct store *store);

/* Writes something that leaves no trace: whether writing works again is known when the transaction is committed. */
int store_probe(struct store *store);

const char *store_error(const struct store *store);

/* --- sweeps (store_sweeps.c) --------------------------------------------------------------------------- */

struct sweep_row {
        int64_t id;
        char *public_id, *name, *method, *spec; /* spec: JSON as given */
        enum sweep_state state;
        uint64_t seed, run_cap;
        int priority;
        unsigned first_allowed_stage;
        char *model_sha256, *data_sha256; /* NULL while not fixed */
        char *stage;                      /* JSON, NULL while the sweep is live */
        uint64_t created_ms;
        unsigned spec_version; /* read only: 1 as created, one more with every edit */
};
void sweep_row_fini(struct sweep_row *row);

int store_sweep_insert(struct store *store, const struct sweep_row *row, int64_t *ret_id);
int store_sweep_update(struct store *store, const struct sweep_row *row); /* all that can change */
/* The spec was edited: its version goes up by one. */
int store_sweep_set_spec(struct store *store, int64_t id, const char *name, const char *spec);
int store_sweep_delete(struct store *store, int64_t id);                  /* with its trials, attempts, metrics and history */
int store_sweep_get(struct store *store, const char *public_id, struct sweep_row *ret); /* or STORE_NONE */
int store_sweep_load(struct store *store, int64_t id, struct sweep_row *ret);           /* or STORE_NONE */

/* Up to max rows of a state (-1 = all) with id > after, oldest first. Fills rows; *ret_n of them. */
int store_sweep_list(struct store *store, int state, int64_t after, size_t max, struct sweep_row *rows, size_t *ret_n);

/* The next trial number of a sweep, counted up in the same stroke. */
int store_sweep_take_number(struct store *store, int64_t sweep, uint64_t *ret);

/* --- trials (store_trials.c) --------------------------------------------------------------------------- */

enum queue_place { PLACE_RELEASED, PLACE_REQUEUED, PLACE_ENQUEUED };

struct trial_row {
        int64_t id, sweep;
        char *public_id;
        char *sweep_public_id; /* read only */
        uint64_t sweep_seed;   /* read only */
        uint64_t number;
        enum trial_state state;
        int origin; /* enum trial_origin of plan.h: 0 proposed, 1 enqueued, 2 imported */
        unsigned stage;
        char *params, *proposal; /* JSON */
        bool has_value;
        double value;
        int reason; /* enum failure_reason, -1 = none */
        char *detail;
        char *resume; /* JSON */
        bool has_progress;
        double progress;
        unsigned attempt, failures;
        enum queue_place place;
        int64_t worker;                                            /* 0 = none */
        char *worker_public_id;                                    /* read only */
        int64_t released_by;                                       /* 0 = nobody */
        uint64_t released_ms, created_ms, started_ms, finished_ms; /* 0 = not */
};
void trial_row_fini(struct trial_row *row);

int store_trial_insert(struct store *store, const struct trial_row *row, int64_t *ret_id);
int store_trial_update(struct store *store, const struct trial_row *row);               /* all that can change */
int store_trial_get(struct store *store, const char *public_id, struct trial_row *ret); /* or STORE_NONE */
int store_trial_load(struct store *store, int64_t id, struct trial_row *ret);           /* or STORE_NONE */

/* First in line for this worker; a trial released after reserved_since_ms is only for the worker that released it. One that failed here
 * at once is passed over for a while if it has not failed so at all of the n_others that may have it, too. Or STORE_NONE. */
#define FAILED_AT_ONCE_MS 60000
#define ELSEWHERE_MS 3600000 /* how long it waits for them */
int store_trial_next_queued(struct store *store, int64_t sweep, int64_t worker, uint64_t reserved_since_ms, uint64_t now_ms,
                            unsigned n_others, struct trial_row *ret);

/* When the first of the trials that were released after since_ms, and still wait, was released. Or STORE_NONE. */
int store_trial_first_release(struct store *store, uint64_t since_ms, uint64_t *ret_ms);

/* Best value, ties to the lower number. Or STORE_NONE. */
int store_trial_best(struct store *store, int64_t sweep, bool maximize, struct trial_row *ret);

/* The whole database. */
int store_count_all(struct store *store, uint64_t ret_trials[static N_TRIAL_STATES], uint64_t ret_sweeps[static N_SWEEP_STATES]);

int store_trial_counts(struct store *store, int64_t sweep, uint64_t ret[static N_TRIAL_STATES]);

/* The same by stage and origin; kinds without trials are left out. visit returns 0 to go on. */
struct trial_tally {
        unsigned stage;
        int origin; /* as in trial_row */
        enum trial_state state;
        uint64_t n;
};
int store_trial_tallies(struct store *store, int64_t sweep, int (*visit)(void *data, const struct trial_tally *tally), void *data);

/* Mean seconds of the last hundred completed and stopped attempts; 0 with none. */
int store_trial_mean_seconds(struct store *store, int64_t sweep, double *ret);

int store_trial_last_number(struct store *store, int64_t sweep, uint64_t *ret); /* 0 without trials */
/* The parameters of trials with after < number <= last, at most max, in order; visit returns 0 to go on. */
int store_trial_each_params(struct store *store, int64_t sweep, uint64_t after, uint64_t last, size_t max,
                            int (*visit)(void *data, uint64_t number, const char *params), void *data);

/* Up to max trials of a sweep after `after` (a trial number), in order of number; state -1 = all. */
int store_trial_list(struct store *store, int64_t sweep, int state, uint64_t after, size_t max, struct trial_row *rows, size_t *ret_n);

/* The same in order of value as it was at history position `as_of`; without a value last; ties by number.
 * `after` is the last item of the page before, NULL for the first page; ret_last describes the last row given. */
struct value_position {
        bool has_value;
        double value;
        uint64_t number;
};
int store_trial_list_by_value(struct store *store, int64_t sweep, int state, bool descending, int64_t as_of,
                              const struct value_position *after, size_t max, struct trial_row *rows, size_t *ret_n,
                              struct value_position *ret_last);

/* Public ids and row ids of a worker's running trials, in order. visit returns 0 to go on. */
int store_trial_each_running(struct store *store, int64_t worker, int (*visit)(void *data, int64_t id, const char *public_id), void *data);

/* Queued and running trials of a sweep become cancelled, their leases end, history is written. */
int store_trial_cancel_all(struct store *store, int64_t sweep, uint64_t now_ms);

/* --- attempts (store_attempts.c) ----------------------------------------------------------------------- */

struct attempt_row {
        int64_t trial, worker, claim;
        char *worker_public_id; /* read only */
        unsigned attempt;
        char *lease;
        char *evaluator; /* JSON */
        int64_t last_seq;
        char *last_answer;             /* JSON or NULL */
        uint64_t started_ms, ended_ms; /* ended_ms 0 = running */
        char *ended_as;                /* a trial state, "released" or "lost"; NULL = running */
        int reason;                    /* enum failure_reason, -1 = none */
        char *detail;
        bool abort_told;
};
void attempt_row_fini(struct attempt_row *row);

int store_attempt_insert(struct store *store, const struct attempt_row *row);
int store_attempt_find(struct store *store, int64_t trial, const char *lease, struct attempt_row *ret); /* or STORE_NONE */
int store_attempt_last(struct store *store, int64_t trial, struct attempt_row *ret);                    /* or STORE_NONE */
int store_attempt_set_answer(struct store *store, int64_t trial, unsigned attempt, int64_t seq, const char *answer, bool abort_told);
/* Ends a running attempt; one that has ended stays as it is. reason -1 and detail NULL = none. */
int store_attempt_end(struct store *store, int64_t trial, unsigned attempt, const char *ended_as, int reason, const char *detail,
                      uint64_t now_ms);
/* Attempts of one trial in order, at most max. */
int store_attempt_list(struct store *store, int64_t trial, size_t max, struct attempt_row *rows, size_t *ret_n);

/* Has an attempt of the trial ended as stopped? */
int store_attempt_was_stopped(struct store *store, int64_t trial, bool *ret);

/* Every lease that is good, of one worker or (0) of all. */
struct lease_row {
        int64_t trial, sweep, worker;
        unsigned attempt;
        uint64_t started_ms;
};
int store_attempt_each_running(struct store *store, int64_t worker, int (*visit)(void *data, const struct lease_row *row), void *data);

/* --- history (store_trials.c) -------------------------------------------------------------------------- */

struct history_row {
        bool added; /* the trial came to exist; else it ended or was requeued by a retry */
        uint64_t number;
        unsigned stage;
        int origin;
        const char *params; /* of an addition; valid during the visit */
        enum trial_state state;
        bool has_value;
        bool is_foreign; /* its proposal names another sweep */
        double value;
};
int store_history_add(struct store *store, int64_t sweep, int64_t trial, bool added, enum trial_state state, bool has_value, double value);
int store_history_each(struct store *store, int64_t sweep, int (*visit)(void *data, const struct history_row *row), void *data);
int store_history_position(struct store *store, int64_t *ret); /* the last event's number, 0 with none */

/* --- workers (store_workers.c) ------------------------------------------------------------------------- */

struct worker_row {
        int64_t id;
        char *public_id, *name, *instance;
        unsigned slots;
        char *trainers, *model, *data, *facts; /* JSON; the last three may be NULL */
        char *model_sha256, *data_sha256;
        bool draining, unfit;     /* unfit: it said so itself, and quarantine is what it said */
        bool served, forgotten;   /* trials name it · not listed, but here for them and for its name */
        char *quarantine;                /* why it gets no trials; NULL = it does */
        uint64_t registered_ms, last_seen_ms, quarantined_ms, trusted_ms;
};
void worker_row_fini(struct worker_row *row);

int store_worker_insert(struct store *store, const struct worker_row *row, int64_t *ret_id); /* in the place of a forgotten one that never served */
int store_worker_update(struct store *store, const struct worker_row *row);
int store_worker_get(struct store *store, const char *public_id, struct worker_row *ret);  /* or STORE_NONE */
int store_worker_find_name(struct store *store, const char *name, struct worker_row *ret); /* or STORE_NONE */
int store_worker_list(struct store *store, int64_t after, size_t max, struct worker_row *rows, size_t *ret_n); /* not forgotten ones */
int store_worker_touch(struct store *store, int64_t worker, uint64_t now_ms);
int store_worker_last_seen(struct store *store, uint64_t *ret_ms); /* of any worker: when this coordinator was last used */
/* It is not listed any more. What it claimed is forgotten, and why it got no trials. */
int store_worker_forget(struct store *store, int64_t worker);

/* A trial whose attempt at a worker failed: how that attempt ended, and what became of the trial's attempts elsewhere. */
struct failed_row {
        int64_t trial, sweep;
        enum failure_reason reason;
        uint64_t ended_ms;
        bool failed_elsewhere, succeeded_elsewhere;
};
/* Those that ended after since_ms, oldest first, each trial once. */
int store_worker_failures(struct store *store, int64_t worker, uint64_t since_ms, size_t max, struct failed_row *rows, size_t *ret_n);
/* What was said of the latest of them; owned, may be NULL. 0 · STORE_NONE · negative. */
int store_worker_last_failure(struct store *store, int64_t worker, uint64_t since_ms, char **ret_detail);
/* Has another worker, not a quarantined one, begun one of the sweep's trials since then and ended it with a value? */
int store_worker_others_succeed(struct store *store, int64_t worker, int64_t sweep, uint64_t since_ms, bool *ret);

/* --- metrics (store_metrics.c) ------------------------------------------------------------------------- */

struct metric_row {
        char *name;
        int64_t step;
        bool has_epoch;
        double epoch, value;
        uint64_t time_ms;
};
void metric_row_fini(struct metric_row *row);

int store_metric_put(struct store *store, int64_t trial, const struct metric_row *row); /* a point of that step and name is replaced */
/* In order of step, then name; after (step, name) of the page before, after_name NULL for the first page; name NULL = all. */
int store_metric_list(struct store *store, int64_t trial, const char *name, int64_t after_step, const char *after_name, size_t max,
                      struct metric_row *rows, size_t *ret_n);
/* Best point by goal, or the last one. Or STORE_NONE. */
enum metric_summary { SUMMARY_MINIMUM, SUMMARY_MAXIMUM, SUMMARY_LAST };
int store_metric_summary(struct store *store, int64_t trial, const char *name, enum metric_summary summary, double *ret);

/* At most max + 1 points of a trial's metric by step, evenly over its steps, the first and the last among them. visit returns 0 to go on. */
int store_metric_curve(struct store *store, int64_t trial, const char *name, unsigned max, int (*visit)(void *data, int64_t step, double value), void *data);

/* All points of one name of a sweep's trials, by trial number, then step. is_complete: the trial is completed. visit returns 0 to go on. */
int store_metric_each(struct store *store, int64_t sweep, const char *name,
                      int (*visit)(void *data, uint64_t number, bool is_complete, int64_t step, double value), void *data);

/* --- what makes writes retryable (store_keys.c) -------------------------------------------------------- */

int store_claim_find(struct store *store, int64_t worker, const char *claim_id, char **ret_answer); /* or STORE_NONE */
int store_claim_insert(struct store *store, int64_t worker, const char *claim_id, uint64_t now_ms, int64_t *ret_id);
int store_claim_set_answer(struct store *store, int64_t id, const char *answer);

struct key_row {
        char *body_sha256, *answer;
        int status;
};
void key_row_fini(struct key_row *row);
int store_key_find(struct store *store, const char *path, const char *token, const char *key, struct key_row *ret); /* or STORE_NONE */
int store_key_insert(struct store *store, const char *path, const char *token, const char *key, const struct key_row *row, uint64_t now_ms);

/* Forgets keys older than before_ms, and such claims without an unfinished trial. */
int store_keys_prune(struct store *store, uint64_t before_ms);

/* --- what happened to a sweep, for people (store_changes.c) --------------------------------------------- */

struct change_row {
        int64_t id, sweep;
        uint64_t at_ms;
        char *who;  /* NULL = the coordinator */
        char *what; /* a word */
        uint64_t last_number; /* of the trials before it; written by store_change_add */
        char *detail; /* JSON */
};
void change_row_fini(struct change_row *row);
int store_change_add(struct store *store, const struct change_row *row);
int store_change_last(struct store *store, int64_t sweep, struct change_row *ret); /* or STORE_NONE */
int store_change_update(struct store *store, const struct change_row *row); /* at_ms, detail and, as store_change_add writes it, last_number */
/* Oldest first, up to max after the row id `after`. */
int store_change_list(struct store *store, int64_t sweep, int64_t after, size_t max, struct change_row *rows, size_t *ret_n);

/* --- what webhooks are to be told (store_webhooks.c) ---------------------------------------------------- */

#define STORE_WEBHOOKS_MAX 10000
#define STORE_FULL 2 /* documented outcome of store_webhook_add: so many wait, nothing was added */

struct webhook_row {
        int64_t id, sweep;
        char *event, *url, *body;
        unsigned attempts;
};
void webhook_row_fini(struct webhook_row *row);
int store_webhook_count(struct store *store, uint64_t *ret); /* that wait */
int store_webhook_add(struct store *store, const struct webhook_row *row, uint64_t now_ms); /* due at once; or STORE_FULL */
int store_webhook_is_pending(struct store *store, int64_t sweep, const char *event, const char *url, bool *ret);
/* One that is due, or STORE_NONE. What was tried less often comes first: a receiver that is away holds up what is new only once. */
int store_webhook_next(struct store *store, uint64_t now_ms, struct webhook_row *ret);
int store_webhook_put_off(struct store *store, int64_t id, unsigned attempts, uint64_t due_ms);
int store_webhook_delete(struct store *store, int64_t id); /* told, or given up */

/* --- tokens (store_tokens.c) --------------------------------------------------------------------------- */

#define STORE_TOKENS_MAX 1000

struct token_row {
        const char *name, *role, *hash; /* hash: 64 hex digits */
        const char *sweep;              /* public id, NULL = no limit */
        uint64_t created_ms, expires_ms; /* expires_ms 0 = never */
};
int store_token_insert(struct store *store, const struct token_row *row); /* -EEXIST: the name is taken; -E2BIG: too many */
int store_token_delete(struct store *store, const char *name);            /* or STORE_NONE */
/* In order of creation; the row is valid during the visit, which returns 0 to go on. */
int store_token_each(struct store *store, int (*visit)(void *data, const struct token_row *row), void *data);
int store_token_changes(struct store *store, int64_t *ret); /* another number after every change */
