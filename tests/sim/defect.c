/* Deliberate defects: what the oracle must find. The linker sends a few of the store's functions here (--wrap). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "store/store.h"

int __real_store_begin(struct store *store);
int __real_store_commit(struct store *store);
int __real_store_attempt_find(struct store *store, int64_t trial, const char *lease, struct attempt_row *ret);
int __real_store_attempt_set_answer(struct store *store, int64_t trial, unsigned attempt, int64_t seq, const char *answer, bool abort_told);
int __real_store_claim_find(struct store *store, int64_t worker, const char *claim_id, char **ret_answer);
int __real_store_claim_insert(struct store *store, int64_t worker, const char *claim_id, uint64_t now_ms, int64_t *ret_id);
int __real_store_key_find(struct store *store, const char *path, const char *token, const char *key, struct key_row *ret);
int __real_store_key_insert(struct store *store, const char *path, const char *token, const char *key, const struct key_row *row,
                            uint64_t now_ms);
int __real_store_history_add(struct store *store, int64_t sweep, int64_t trial, bool added, enum trial_state state, bool has_value,
                             double value);
int __wrap_store_begin(struct store *store);
int __wrap_store_commit(struct store *store);
int __wrap_store_attempt_find(struct store *store, int64_t trial, const char *lease, struct attempt_row *ret);
int __wrap_store_attempt_set_answer(struct store *store, int64_t trial, unsigned attempt, int64_t seq, const char *answer, bool abort_told);
int __wrap_store_claim_find(struct store *store, int64_t worker, const char *claim_id, char **ret_answer);
int __wrap_store_claim_insert(struct store *store, int64_t worker, const char *claim_id, uint64_t now_ms, int64_t *ret_id);
int __wrap_store_key_find(struct store *store, const char *path, const char *token, const char *key, struct key_row *ret);
int __wrap_store_key_insert(struct store *store, const char *path, const char *token, const char *key, const struct key_row *row,
                            uint64_t now_ms);
int __wrap_store_history_add(struct store *store, int64_t sweep, int64_t trial, bool added, enum trial_state state, bool has_value,
                             double value);

void __real_events_note_trial(struct api *api, int64_t trial);
void __wrap_events_note_trial(struct api *api, int64_t trial);

static enum defect active;

void defect_set(enum defect defect) {
        active = defect;
}

/* The commit is left for the beginning of the next transaction. */
int __wrap_store_begin(struct store *store) {
        if (active == DEFECT_EARLY_ANSWER && store_in_transaction(store)) {
                int r = __real_store_commit(store);
                if (r < 0)
                        return r;
        }
        return __real_store_begin(store);
}

int __wrap_store_commit(struct store *store) {
        return active == DEFECT_EARLY_ANSWER ? 0 : __real_store_commit(store);
}

int __wrap_store_attempt_find(struct store *store, int64_t trial, const char *lease, struct attempt_row *ret) {
        int r = __real_store_attempt_find(store, trial, lease, ret);
        if (active != DEFECT_NO_FENCING || r != 0 || ret->ended_ms == 0)
                return r;
        struct attempt_row last = {0};
        if (store_attempt_last(store, trial, &last) == 0 && last.ended_ms == 0) {
                last.last_seq = 0;
                attempt_row_fini(ret);
                *ret = last;
        } else
                attempt_row_fini(&last);
        return 0;
}

int __wrap_store_attempt_set_answer(struct store *store, int64_t trial, unsigned attempt, int64_t seq, const char *answer, bool abort_told) {
        return __real_store_attempt_set_answer(store, trial, attempt, active == DEFECT_FORGETS_SEQ ? 0 : seq, answer, abort_told);
}

int __wrap_store_claim_find(struct store *store, int64_t worker, const char *claim_id, char **ret_answer) {
        return active == DEFECT_FORGETS_CLAIMS ? STORE_NONE : __real_store_claim_find(store, worker, claim_id, ret_answer);
}

int __wrap_store_claim_insert(struct store *store, int64_t worker, const char *claim_id, uint64_t now_ms, int64_t *ret_id) {
        static unsigned n;
        char other[320];
        snprintf(other, sizeof other, "%s-%u", claim_id, n++);
        return __real_store_claim_insert(store, worker, active == DEFECT_FORGETS_CLAIMS ? other : claim_id, now_ms, ret_id);
}

int __wrap_store_key_find(struct store *store, const char *path, const char *token, const char *key, struct key_row *ret) {
        return active == DEFECT_FORGETS_KEYS ? STORE_NONE : __real_store_key_find(store, path, token, key, ret);
}

int __wrap_store_key_insert(struct store *store, const char *path, const char *token, const char *key, const struct key_row *row,
                            uint64_t now_ms) {
        return active == DEFECT_FORGETS_KEYS ? 0 : __real_store_key_insert(store, path, token, key, row, now_ms);
}

int __wrap_store_history_add(struct store *store, int64_t sweep, int64_t trial, bool added, enum trial_state state, bool has_value,
                             double value) {
        return active == DEFECT_LOSES_ENDS && !added ? 0 : __real_store_history_add(store, sweep, trial, added, state, has_value, value);
}

void __wrap_events_note_trial(struct api *api, int64_t trial) {
        if (active != DEFECT_LOSES_EVENTS || trial % 5 != 0)
                __real_events_note_trial(api, trial);
}
