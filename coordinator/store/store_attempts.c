/* Attempts: the leases of trials, good and ended ones. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

#define SELECT_ATTEMPT \
        "SELECT a.trial, a.worker, a.claim, w.public_id, a.attempt, a.lease, a.evaluator, a.last_seq, a.last_answer, a.started_ms, " \
        "a.ended_ms, " \
        "a.ended_as, a.reason, a.detail, a.abort_told FROM attempts a JOIN workers w ON w.id = a.worker"

void attempt_row_fini(struct attempt_row *row) {
        free(row->worker_public_id);
        free(row->lease);
        free(row->evaluator);
        free(row->last_answer);
        free(row->ended_as);
        free(row->detail);
        *row = (struct attempt_row){0};
}

static int read_attempt(sqlite3_stmt *s, struct attempt_row *ret) {
        int r = 0;
        const char *reason = (const char *)sqlite3_column_text(s, 12);
        struct attempt_row row = {
                .trial = sqlite3_column_int64(s, 0),
                .worker = sqlite3_column_int64(s, 1),
                .claim = sqlite3_column_int64(s, 2),
                .worker_public_id = store_column_text(s, 3, &r),
                .attempt = (unsigned)sqlite3_column_int(s, 4),
                .lease = store_column_text(s, 5, &r),
                .evaluator = store_column_text(s, 6, &r),
                .last_seq = sqlite3_column_int64(s, 7),
                .last_answer = store_column_text(s, 8, &r),
                .started_ms = (uint64_t)sqlite3_column_int64(s, 9),
                .ended_ms = (uint64_t)sqlite3_column_int64(s, 10),
                .ended_as = store_column_text(s, 11, &r),
                .reason = reason ? failure_reason_from_name(reason) : -1,
                .detail = store_column_text(s, 13, &r),
                .abort_told = sqlite3_column_int(s, 14) != 0,
        };
        if (r < 0)
                attempt_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(attempt)

int store_attempt_insert(struct store *store, const struct attempt_row *row) {
        return store_execute(store,
                             "INSERT INTO attempts (trial, attempt, worker, claim, lease, evaluator, started_ms) "
                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                             bind_i(row->trial), bind_i(row->attempt), bind_i(row->worker), bind_if(row->claim, bind_i(row->claim)),
                             bind_t(row->lease), bind_t(row->evaluator), bind_i(row->started_ms));
}

int store_attempt_find(struct store *store, int64_t trial, const char *lease, struct attempt_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_ATTEMPT " WHERE a.lease = ?2 AND a.trial = ?1", &s, bind_i(trial), bind_t(lease));
        return r < 0 ? r : one_attempt(store, s, ret);
}

int store_attempt_last(struct store *store, int64_t trial, struct attempt_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_ATTEMPT " WHERE a.trial = ?1 ORDER BY a.attempt DESC LIMIT 1", &s, bind_i(trial));
        return r < 0 ? r : one_attempt(store, s, ret);
}

int store_attempt_set_answer(struct store *store, int64_t trial, unsigned attempt, int64_t seq, const char *answer, bool abort_told) {
        return store_execute(store,
                             "UPDATE attempts SET last_seq = ?3, last_answer = ?4, abort_told = ?5 WHERE trial = ?1 AND attempt = ?2",
                             bind_i(trial), bind_i(attempt), bind_i(seq), bind_t(answer), bind_i(abort_told));
}

int store_attempt_end(struct store *store, int64_t trial, unsigned attempt, const char *ended_as, int reason, const char *detail,
                      uint64_t now_ms) {
        return store_execute(store,
                             "UPDATE attempts SET ended_ms = ?3, ended_as = ?4, reason = ?5, detail = ?6 "
                             "WHERE trial = ?1 AND attempt = ?2 AND ended_ms IS NULL",
                             bind_i(trial), bind_i(attempt), bind_i(now_ms), bind_t(ended_as),
                             bind_if(reason >= 0, bind_t(failure_reason_name((enum failure_reason)reason))), bind_t(detail));
}

int store_attempt_list(struct store *store, int64_t trial, size_t max, struct attempt_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_ATTEMPT " WHERE a.trial = ?1 ORDER BY a.attempt LIMIT ?2", &s, bind_i(trial), bind_i(max));
        return r < 0 ? r : all_attempt(store, s, max, rows, ret_n);
}

int store_attempt_was_stopped(struct store *store, int64_t trial, bool *ret) {
        int64_t n = 0;
        int r = store_integer(store, "SELECT count(*) FROM attempts WHERE trial = ?1 AND ended_as = 'stopped'", &n, bind_i(trial));
        if (r < 0)
                return r;
        *ret = n > 0;
        return 0;
}

int store_attempt_each_running(struct store *store, int64_t worker, int (*visit)(void *data, const struct lease_row *row), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT a.trial, t.sweep, a.worker, a.attempt, a.started_ms FROM attempts a JOIN trials t ON t.id = a.trial "
                            "WHERE a.ended_ms IS NULL AND (?1 = 0 OR a.worker = ?1) ORDER BY a.trial",
                            &s, bind_i(worker));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                const struct lease_row row = {
                        .trial = sqlite3_column_int64(s, 0),
                        .sweep = sqlite3_column_int64(s, 1),
                        .worker = sqlite3_column_int64(s, 2),
                        .attempt = (unsigned)sqlite3_column_int(s, 3),
                        .started_ms = (uint64_t)sqlite3_column_int64(s, 4),
                };
                r = visit(data, &row);
        }
        if (r < 0)
                store_reset(s);
        return r;
}
