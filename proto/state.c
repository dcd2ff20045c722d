/* The tables of state.h as functions. */
#include "proto/state.h"

#include <string.h>

#define STATE_NAME(id, name, final) name,
static const char *const trial_names[] = {TRIAL_STATES(STATE_NAME)};
static const char *const sweep_names[] = {SWEEP_STATES(STATE_NAME)};
static const char *const worker_names[] = {WORKER_STATES(STATE_NAME)};
#define STATE_FINAL(id, name, final) final,
static const bool trial_ended[] = {TRIAL_STATES(STATE_FINAL)};

#define REASON_NAME(id, name, retryable, by_trainer) name,
static const char *const reason_names[] = {FAILURE_REASONS(REASON_NAME)};
#define REASON_RETRYABLE(id, name, retryable, by_trainer) retryable,
static const bool reason_retryable[] = {FAILURE_REASONS(REASON_RETRYABLE)};
#define REASON_REPORTABLE(id, name, retryable, by_trainer) by_trainer,
static const bool reason_reportable[] = {FAILURE_REASONS(REASON_REPORTABLE)};

#define EVENT_NAME(id, name) name,
static const char *const webhook_names[] = {WEBHOOK_EVENTS(EVENT_NAME)};

/* Allowed next states as bit sets, in the order of the tables. */
#define TO(state) (1u << (state))
static const unsigned trial_moves[N_TRIAL_STATES] = {
        [TRIAL_QUEUED] = TO(TRIAL_RUNNING) | TO(TRIAL_CANCELLED),
        [TRIAL_RUNNING] =
                TO(TRIAL_QUEUED) | TO(TRIAL_COMPLETED) | TO(TRIAL_STOPPED) | TO(TRIAL_FAILED) | TO(TRIAL_CANCELLED),
        [TRIAL_COMPLETED] = TO(TRIAL_QUEUED),
        [TRIAL_STOPPED] = TO(TRIAL_QUEUED),
        [TRIAL_FAILED] = TO(TRIAL_QUEUED),
        [TRIAL_CANCELLED] = TO(TRIAL_QUEUED),
};
static const unsigned sweep_moves[N_SWEEP_STATES] = {
        [SWEEP_RUNNING] = TO(SWEEP_PAUSED) | TO(SWEEP_FINISHED) | TO(SWEEP_CANCELLED),
        [SWEEP_PAUSED] = TO(SWEEP_RUNNING) | TO(SWEEP_FINISHED) | TO(SWEEP_CANCELLED),
        [SWEEP_FINISHED] = TO(SWEEP_RUNNING) | TO(SWEEP_CANCELLED),
        [SWEEP_CANCELLED] = 0,
};

static int find(const char *const *names, int n, const char *name) {
        for (int i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        return -1;
}

const char *trial_state_name(enum trial_state state) {
        return trial_names[state];
}

const char *sweep_state_name(enum sweep_state state) {
        return sweep_names[state];
}

const char *worker_state_name(enum worker_state state) {
        return worker_names[state];
}

const char *failure_reason_name(enum failure_reason reason) {
        return reason_names[reason];
}

const char *webhook_event_name(enum webhook_event event) {
        return webhook_names[event];
}

int trial_state_from_name(const char *name) {
        return find(trial_names, N_TRIAL_STATES, name);
}

int sweep_state_from_name(const char *name) {
        return find(sweep_names, N_SWEEP_STATES, name);
}

int worker_state_from_name(const char *name) {
        return find(worker_names, N_WORKER_STATES, name);
}

int failure_reason_from_name(const char *name) {
        return find(reason_names, N_FAILURE_REASONS, name);
}

int webhook_event_from_name(const char *name) {
        return find(webhook_names, N_WEBHOOK_EVENTS, name);
}

bool trial_state_ended(enum trial_state state) {
        return trial_ended[state];
}

bool failure_reason_retryable(enum failure_reason reason) {
        return reason_retryable[reason];
}

bool failure_reason_reportable(enum failure_reason reason) {
        return reason_reportable[reason];
}

bool trial_may_move(enum trial_state from, enum trial_state to) {
        return trial_moves[from] & TO(to);
}

bool sweep_may_move(enum sweep_state from, enum sweep_state to) {
        return sweep_moves[from] & TO(to);
}

/* Each item is written with a leading comma; the functions skip the first one. */
#define STATE_SQL(id, name, final) ",'" name "'"
#define REASON_SQL(id, name, retryable, by_trainer) ",'" name "'"

const char *trial_states_sql(void) {
        return &(TRIAL_STATES(STATE_SQL))[1];
}

const char *sweep_states_sql(void) {
        return &(SWEEP_STATES(STATE_SQL))[1];
}

const char *failure_reasons_sql(void) {
        return &(FAILURE_REASONS(REASON_SQL))[1];
}
