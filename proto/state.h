/* The state machines of the contract, each as one table. The same tables feed the SQL CHECKs of schema/.
 *
 *   trial    queued ⇄ running → completed | stopped | failed | cancelled
 *            (running → queued: lease lost, released, or a retryable end with attempts left;
 *             an ended trial → queued: retry)
 *   sweep    running ⇄ paused · running, paused → finished ⇄ running · any but cancelled → cancelled (final)
 */
#pragma once
#include <stdbool.h>

/* id, name, ended? */
#define TRIAL_STATES(X) \
        X(TRIAL_QUEUED, "queued", false) \
        X(TRIAL_RUNNING, "running", false) \
        X(TRIAL_COMPLETED, "completed", true) \
        X(TRIAL_STOPPED, "stopped", true) \
        X(TRIAL_FAILED, "failed", true) \
        X(TRIAL_CANCELLED, "cancelled", true)

#define SWEEP_STATES(X) \
        X(SWEEP_RUNNING, "running", false) \
        X(SWEEP_PAUSED, "paused", false) \
        X(SWEEP_FINISHED, "finished", false) \
        X(SWEEP_CANCELLED, "cancelled", true)

#define WORKER_STATES(X) \
        X(WORKER_ACTIVE, "active", false) \
        X(WORKER_DRAINING, "draining", false) \
        X(WORKER_GONE, "gone", false) \
        X(WORKER_QUARANTINED, "quarantined", false)

#define STATE_ENUM(id, name, final) id,
enum trial_state { TRIAL_STATES(STATE_ENUM) N_TRIAL_STATES };
enum sweep_state { SWEEP_STATES(STATE_ENUM) N_SWEEP_STATES };
enum worker_state { WORKER_STATES(STATE_ENUM) N_WORKER_STATES };
#undef STATE_ENUM

/* Why a trial failed. retryable: the trial is queued again until max_attempts such ends. by_trainer: a trainer may
 * give it. Clients may report every reason of the table. */
#define FAILURE_REASONS(X) \
        X(REASON_LEASE_LOST, "lease_lost", true, false) \
        X(REASON_CRASHED, "crashed", true, true) \
        X(REASON_OUT_OF_MEMORY, "out_of_memory", true, true) \
        X(REASON_IO, "io", true, true) \
        X(REASON_TIMEOUT, "timeout", true, true) \
        X(REASON_BAD_CHECKPOINT, "bad_checkpoint", true, true) \
        X(REASON_DIVERGED, "diverged", false, true) \
        X(REASON_BAD_CONFIG, "bad_config", false, true) \
        X(REASON_BAD_MODEL, "bad_model", false, true) \
        X(REASON_BAD_DATA, "bad_data", false, true) \
        X(REASON_NO_METRIC, "no_metric", false, true)

#define REASON_ENUM(id, name, retryable, by_trainer) id,
enum failure_reason { FAILURE_REASONS(REASON_ENUM) N_FAILURE_REASONS };
#undef REASON_ENUM

/* What webhooks may be told of. */
#define WEBHOOK_EVENTS(X) \
        X(WEBHOOK_FINISHED, "finished") \
        X(WEBHOOK_CANCELLED, "cancelled") \
        X(WEBHOOK_PAUSED, "paused") \
        X(WEBHOOK_TRIAL_FAILED, "trial_failed")

#define EVENT_ENUM(id, name) id,
enum webhook_event { WEBHOOK_EVENTS(EVENT_ENUM) N_WEBHOOK_EVENTS };
#undef EVENT_ENUM

const char *trial_state_name(enum trial_state state);
const char *sweep_state_name(enum sweep_state state);
const char *worker_state_name(enum worker_state state);
const char *failure_reason_name(enum failure_reason reason);
const char *webhook_event_name(enum webhook_event event);

/* The enum value, or -1 for a name that is not in the table. */
int trial_state_from_name(const char *name);
int sweep_state_from_name(const char *name);
int worker_state_from_name(const char *name);
int failure_reason_from_name(const char *name);
int webhook_event_from_name(const char *name);

bool trial_state_ended(enum trial_state state);
bool failure_reason_retryable(enum failure_reason reason);
bool failure_reason_reportable(enum failure_reason reason);

/* Is the move in the table? Every change of state asserts this. */
bool trial_may_move(enum trial_state from, enum trial_state to);
bool sweep_may_move(enum sweep_state from, enum sweep_state to);

/* "'queued','running',…" for a SQL CHECK; static strings. */
const char *trial_states_sql(void);
const char *sweep_states_sql(void);
const char *failure_reasons_sql(void);
