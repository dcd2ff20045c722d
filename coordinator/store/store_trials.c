/* Trials, and the history that plans are made from. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

#define TRIAL_COLUMNS \
        "t.id, t.sweep, t.public_id, s.public_id, t.number, t.state, t.origin, t.stage, t.params, t.proposal, t.value, t.reason, " \
        "t.detail, " \
        "t.resume, t.progress, t.attempt, t.failures, t.place, t.worker, w.public_id, t.released_by, t.released_ms, t.created_ms, " \
        "t.started_ms, t.finished_ms, s.seed"
#define N_TRIAL_COLUMNS 26
#define TRIAL_TABLES "trials t JOIN sweeps s ON s.id = t.sweep LEFT JOIN workers w ON w.id = t.worker"
#define SELECT_TRIAL "SELECT " TRIAL_COLUMNS " FROM " TRIAL_TABLES

static const char *const origins[] = {"proposed", "enqueued", "imported"};

void trial_row_fini(struct trial_row *row) {
        free(row->public_id);
        free(row->sweep_public_id);
        free(row->params);
        free(row->proposal);
        free(row->detail);
        free(row->resume);
        free(row->worker_public_id);
        *row = (struct trial_row){0};
}

static int read_origin(sqlite3_stmt *s, int column) {
        switch (sqlite3_column_text(s, column)[0]) {
        case 'e':
                return 1;
        case 'i':
                return 2;
        default:
                return 0;
        }
}

static enum trial_state read_state(sqlite3_stmt *s, int column) {
        return (enum trial_state)trial_state_from_name((const char *)sqlite3_column_text(s, column));
}

static bool is_set(sqlite3_stmt *s, int column) {
        return sqlite3_column_type(s, column) != SQLITE_NULL;
}

static int read_trial(sqlite3_stmt *s, struct trial_row *ret) {
        int r = 0;
        struct trial_row row = {
                .id = sqlite3_column_int64(s, 0),
                .sweep = sqlite3_column_int64(s, 1),
                .public_id = store_column_text(s, 2, &r),
                .sweep_public_id = store_column_text(s, 3, &r),
                .number = (uint64_t)sqlite3_column_int64(s, 4),
                .state = read_state(s, 5),
                .origin = read_origin(s, 6),
                .stage = (unsigned)sqlite3_column_int(s, 7),
                .params = store_column_text(s, 8, &r),
                .proposal = store_column_text(s, 9, &r),
                .has_value = is_set(s, 10),
                .value = sqlite3_column_double(s, 10),
                .reason = is_set(s, 11) ? failure_reason_from_name((const char *)sqlite3_column_text(s, 11)) : -1,
                .detail = store_column_text(s, 12, &r),
                .resume = store_column_text(s, 13, &r),
                .has_progress = is_set(s, 14),
                .progress = sqlite3_column_double(s, 14),
                .attempt = (unsigned)sqlite3_column_int(s, 15),
                .failures = (unsigned)sqlite3_column_int(s, 16),
                .place = (enum queue_place)sqlite3_column_int(s, 17),
                .worker = sqlite3_column_int64(s, 18),
                .worker_public_id = store_column_text(s, 19, &r),
                .released_by = sqlite3_column_int64(s, 20),
                .released_ms = (uint64_t)sqlite3_column_int64(s, 21),
                .created_ms = (uint64_t)sqlite3_column_int64(s, 22),
                .started_ms = (uint64_t)sqlite3_column_int64(s, 23),
                .finished_ms = (uint64_t)sqlite3_column_int64(s, 24),
                .sweep_seed = (uint64_t)sqlite3_column_int64(s, 25),
        };
        if (r < 0)
                trial_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(trial)

int store_trial_insert(struct store *store, const struct trial_row *row, int64_t *ret_id) {
        int r = store_execute(
                store,
                "INSERT INTO trials (public_id, sweep, number, state, origin, stage, params, proposal, value, place, created_ms, "
                "started_ms, finished_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                bind_t(row->public_id), bind_i(row->sweep), bind_i(row->number), bind_t(trial_state_name(row->state)),
                bind_t(origins[row->origin]), bind_i(row->stage), bind_t(row->params), bind_t(row->proposal),
                bind_if(row->has_value, bind_r(row->value)), bind_i(row->place), bind_i(row->created_ms),
                bind_if(row->started_ms, bind_i(row->started_ms)), bind_if(row->finished_ms, bind_i(row->finished_ms)));
        if (r == 0)
                *ret_id = sqlite3_last_insert_rowid(store->db);
        return r;
}

int store_trial_update(struct store *store, const struct trial_row *row) {
        return store_execute(
                store,
                "UPDATE trials SET state = ?2, value = ?3, reason = ?4, detail = ?5, resume = ?6, progress = ?7, attempt = ?8, "
                "failures = ?9, place = ?10, worker = ?11, released_by = ?12, released_ms = ?13, started_ms = ?14, "
                "finished_ms = ?15 WHERE id = ?1",
                bind_i(row->id), bind_t(trial_state_name(row->state)), bind_if(row->has_value, bind_r(row->value)),
                bind_if(row->reason >= 0, bind_t(failure_reason_name((enum failure_reason)row->reason))), bind_t(row->detail),
                bind_t(row->resume), bind_if(row->has_progress, bind_r(row->progress)), bind_i(row->attempt), bind_i(row->failures),
                bind_i(row->place), bind_if(row->worker, bind_i(row->worker)), bind_if(row->released_by, bind_i(row->released_by)),
                bind_if(row->released_ms, bind_i(row->released_ms)), bind_if(row->started_ms, bind_i(row->started_ms)),
                bind_if(row->finished_ms, bind_i(row->finished_ms)));
}

int store_trial_get(struct store *store, const char *public_id, struct trial_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_TRIAL " WHERE t.public_id = ?1", &s, bind_t(public_id));
        return r < 0 ? r : one_trial(store, s, ret);
}

int store_trial_load(struct store *store, int64_t id, struct trial_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_TRIAL " WHERE t.id = ?1", &s, bind_i(id));
        return r < 0 ? r : one_trial(store, s, ret);
}

#define FAILED_AT_ONCE "a.trial = t.id AND a.reason <> 'lease_lost' AND a.ended_ms > ?4 - ?6 AND a.ended_ms <= ?4 AND a.ended_ms - a.started_ms < ?7"

/* A release or a failure that lies in the future (the clock was set back) holds nothing back. */
int store_trial_next_queued(struct store *store, int64_t sweep, int64_t worker, uint64_t reserved_since_ms, uint64_t now_ms,
                            unsigned n_others, struct trial_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            SELECT_TRIAL " WHERE t.sweep = ?1 AND t.state = 'queued' AND (t.place <> 0 OR t.released_by IS ?2 "
                                         "OR t.released_ms <= ?3 OR t.released_ms > ?4) AND (t.failures = 0 OR ?5 = 0 OR NOT EXISTS "
                                         "(SELECT 1 FROM attempts a WHERE " FAILED_AT_ONCE " AND a.worker = ?2) OR "
                                         "(SELECT count(DISTINCT a.worker) FROM attempts a WHERE " FAILED_AT_ONCE ") > ?5) "
                                         "ORDER BY t.place, t.number LIMIT 1",
                            &s, bind_i(sweep), bind_i(worker), bind_i(reserved_since_ms), bind_i(now_ms), bind_i(n_others),
                            bind_i(ELSEWHERE_MS), bind_i(FAILED_AT_ONCE_MS));
        return r < 0 ? r : one_trial(store, s, ret);
}

int store_trial_first_release(struct store *store, uint64_t since_ms, uint64_t *ret_ms) {
        int64_t first = 0;
        int r = store_integer(store,
                              "SELECT coalesce(min(released_ms), 0) FROM trials WHERE state = 'queued' AND place = 0 AND released_ms > ?1",
                              &first, bind_i(since_ms));
        if (r < 0)
                return r;
        if (first == 0)
                return STORE_NONE;
        *ret_ms = (uint64_t)first;
        return 0;
}

/* Two steps down an index, however many trials share the best value. */
#define BEST(aggregate) \
        SELECT_TRIAL " WHERE t.id = (SELECT id FROM trials WHERE sweep = ?1 AND value = (SELECT " aggregate "(value) FROM trials " \
                     "WHERE sweep = ?1 AND value IS NOT NULL) ORDER BY number LIMIT 1)"

int store_trial_best(struct store *store, int64_t sweep, bool maximize, struct trial_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = maximize ? store_query(store, BEST("max"), &s, bind_i(sweep)) : store_query(store, BEST("min"), &s, bind_i(sweep));
        return r < 0 ? r : one_trial(store, s, ret);
}

int store_trial_counts(struct store *store, int64_t sweep, uint64_t ret[static N_TRIAL_STATES]) {
        uint64_t counts[N_TRIAL_STATES] = {0};
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT state, sum(n) FROM trial_counts WHERE sweep = ?1 GROUP BY state", &s, bind_i(sweep));
        if (r < 0)
                return r;
        while ((r = store_step(store, s)) == STORE_ROW)
                counts[read_state(s, 0)] = (uint64_t)sqlite3_column_int64(s, 1);
        if (r < 0)
                return r;
        for (int i = 0; i < N_TRIAL_STATES; i++)
                ret[i] = counts[i];
        return 0;
}

int store_count_all(struct store *store, uint64_t ret_trials[static N_TRIAL_STATES], uint64_t ret_sweeps[static N_SWEEP_STATES]) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT state, sum(n) FROM trial_counts GROUP BY state", &s);
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                ret_trials[read_state(s, 0)] = (uint64_t)sqlite3_column_int64(s, 1);
                r = 0;
        }
        if (r == STORE_DONE)
                r = store_query(store, "SELECT state, count(*) FROM sweeps GROUP BY state", &s);
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                int state = sweep_state_from_name((const char *)sqlite3_column_text(s, 0));
                if (state >= 0)
                        ret_sweeps[state] = (uint64_t)sqlite3_column_int64(s, 1);
                r = 0;
        }
        return r == STORE_DONE ? 0 : r;
}

int store_trial_tallies(struct store *store, int64_t sweep, int (*visit)(void *data, const struct trial_tally *tally), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT stage, origin, state, n FROM trial_counts WHERE sweep = ?1 AND n > 0", &s, bind_i(sweep));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                const struct trial_tally tally = {
                        .stage = (unsigned)sqlite3_column_int(s, 0),
                        .origin = read_origin(s, 1),
                        .state = read_state(s, 2),
                        .n = (uint64_t)sqlite3_column_int64(s, 3),
                };
                r = visit(data, &tally);
        }
        if (r < 0)
                store_reset(s);
        return r;
}

int store_trial_mean_seconds(struct store *store, int64_t sweep, double *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(
                store,
                "SELECT avg(finished_ms - started_ms) / 1000.0 FROM (SELECT finished_ms, started_ms FROM trials WHERE sweep = ?1 "
                "AND value IS NOT NULL AND started_ms IS NOT NULL ORDER BY number DESC LIMIT 100)",
                &s, bind_i(sweep));
        if (r == 0)
                r = store_step(store, s);
        if (r < 0)
                return r;
        *ret = sqlite3_column_double(s, 0);
        store_reset(s);
        return 0;
}

int store_trial_list(struct store *store, int64_t sweep, int state, uint64_t after, size_t max, struct trial_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = state < 0 ? store_query(store, SELECT_TRIAL " WHERE t.sweep = ?1 AND t.number > ?2 ORDER BY t.number LIMIT ?3", &s,
                                        bind_i(sweep), bind_i(after), bind_i(max))
                          : store_query(store,
                                        SELECT_TRIAL " WHERE t.sweep = ?1 AND t.state = ?4 AND t.number > ?2 ORDER BY t.number LIMIT ?3",
                                        &s, bind_i(sweep), bind_i(after), bind_i(max), bind_t(trial_state_name((enum trial_state)state)));
        return r < 0 ? r : all_trial(store, s, max, rows, ret_n);
}

int store_trial_last_number(struct store *store, int64_t sweep, uint64_t *ret) {
        int64_t number = 0;
        int r = store_integer(store, "SELECT coalesce(max(number), 0) FROM trials WHERE sweep = ?1", &number, bind_i(sweep));
        if (r >= 0)
                *ret = (uint64_t)number;
        return r < 0 ? r : 0;
}

int store_trial_each_params(struct store *store, int64_t sweep, uint64_t after, uint64_t last, size_t max,
                            int (*visit)(void *data, uint64_t number, const char *params), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT number, params FROM trials WHERE sweep = ?1 AND number > ?2 AND number <= ?3 ORDER BY number LIMIT ?4", &s,
                            bind_i(sweep), bind_i(after), bind_i(last), bind_i(max));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                const char *params = (const char *)sqlite3_column_text(s, 1);
                r = params ? visit(data, (uint64_t)sqlite3_column_int64(s, 0), params) : -ENOMEM;
        }
        store_reset(s);
        return r;
}

/* A list by value as of a history position: nearly all trials are still as they were then and come by an index; the few of
 * which later history tells are looked up one by one and merged in.
 * ?1 sweep, ?2 state or NULL, ?3 history position, ?4 the value before, ?5 the number before, ?6 limit */
#define OF_STATE "(?2 IS NULL OR state = ?2)"
#define UNCHANGED "NOT EXISTS (SELECT 1 FROM history h WHERE h.trial = trials.id AND h.seq > ?3)"
#define CHANGED \
        "(SELECT id, number, (SELECT h.value FROM history h WHERE h.trial = trials.id AND h.seq <= ?3 ORDER BY h.seq DESC LIMIT 1) AS value " \
        "FROM trials WHERE id IN (SELECT trial FROM history WHERE sweep = ?1 AND seq > ?3) AND " OF_STATE ")"
#define PAGE_OF(unchanged, condition, order, outer_order) \
        "WITH page AS (SELECT id, value, number FROM trials INDEXED BY " unchanged " AND " UNCHANGED " AND " condition \
        " UNION ALL SELECT id, value, number FROM " CHANGED " WHERE " condition " ORDER BY " order " LIMIT ?6) " \
        "SELECT " TRIAL_COLUMNS ", page.value FROM page JOIN " TRIAL_TABLES " WHERE t.id = page.id ORDER BY " outer_order
#define WITH_VALUE "trials_by_value WHERE sweep = ?1 AND value IS NOT NULL AND (?2 IS NULL OR ?2 IN ('completed', 'stopped')) AND " OF_STATE
#define WITHOUT_VALUE "trials_without_value WHERE sweep = ?1 AND value IS NULL AND " OF_STATE
#define AFTER(compare) "value " compare "= ?4 AND (value " compare " ?4 OR number > ?5)"

static int read_page(struct store *store, sqlite3_stmt *s, size_t max, struct trial_row *rows, size_t *n, struct value_position *last) {
        int r = 0;
        while (*n < max && (r = store_step(store, s)) == STORE_ROW) {
                r = read_trial(s, &rows[*n]);
                if (r < 0)
                        break;
                *last = (struct value_position){is_set(s, N_TRIAL_COLUMNS), sqlite3_column_double(s, N_TRIAL_COLUMNS), rows[*n].number};
                ++*n;
        }
        store_reset(s);
        return r < 0 ? r : 0;
}

int store_trial_list_by_value(struct store *store, int64_t sweep, int state, bool descending, int64_t as_of,
                              const struct value_position *after, size_t max, struct trial_row *rows, size_t *ret_n,
                              struct value_position *ret_last) {
        struct value_position from = after ? *after : (struct value_position){true, descending ? INFINITY : -INFINITY, 0}, last = {0};
        const struct bind binds[] = {
                bind_i(sweep),    bind_t(state < 0 ? NULL : trial_state_name((enum trial_state)state)),
                bind_i(as_of),    bind_if(from.has_value, bind_r(from.value)),
                bind_i(from.has_value ? from.number : 0), bind_i(max), {.kind = BIND_END},
        };
        sqlite3_stmt *s = NULL;
        size_t n = 0;
        int r = 0;
        if (from.has_value) {
                r = store_query_binds(store,
                                      descending ? PAGE_OF(WITH_VALUE, AFTER("<"), "value DESC, number", "page.value DESC, page.number")
                                                 : PAGE_OF(WITH_VALUE, AFTER(">"), "value, number", "page.value, page.number"),
                                      &s, binds);
                if (r == 0)
                        r = read_page(store, s, max, rows, &n, &last);
        }
        if (r == 0 && n < max) {
                const struct bind rest[] = {
                        binds[0], binds[1], binds[2], bind_n(), bind_i(from.has_value ? 0 : from.number), bind_i(max - n), {.kind = BIND_END},
                };
                r = store_query_binds(store, PAGE_OF(WITHOUT_VALUE, "value IS ?4 AND number > ?5", "number", "page.number"), &s, rest);
                if (r == 0)
                        r = read_page(store, s, max, rows, &n, &last);
        }
        if (r < 0) {
                while (n > 0)
                        trial_row_fini(&rows[--n]);
                return r;
        }
        *ret_n = n;
        *ret_last = last;
        return 0;
}

int store_trial_each_running(struct store *store, int64_t worker, int (*visit)(void *data, int64_t id, const char *public_id), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT id, public_id FROM trials WHERE worker = ?1 AND state = 'running' ORDER BY id", &s,
                            bind_i(worker));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW)
                r = visit(data, sqlite3_column_int64(s, 0), (const char *)sqlite3_column_text(s, 1));
        if (r < 0)
                store_reset(s);
        return r;
}

int store_trial_cancel_all(struct store *store, int64_t sweep, uint64_t now_ms) {
        int r = store_execute(store,
                              "INSERT INTO history (sweep, trial, added, state) SELECT sweep, id, 0, 'cancelled' FROM trials "
                              "WHERE sweep = ?1 AND state IN ('queued', 'running') ORDER BY number",
                              bind_i(sweep));
        if (r == 0)
                r = store_execute(store,
                                  "UPDATE attempts SET ended_ms = ?2, ended_as = 'cancelled' WHERE ended_ms IS NULL AND trial IN "
                                  "(SELECT id FROM trials WHERE sweep = ?1 AND state = 'running')",
                                  bind_i(sweep), bind_i(now_ms));
        if (r == 0)
                r = store_execute(
                        store,
                        "UPDATE trials SET state = 'cancelled', finished_ms = ?2 WHERE sweep = ?1 AND state IN ('queued', 'running')",
                        bind_i(sweep), bind_i(now_ms));
        return r;
}

/* --- history ----------------------------------------------------------------------------------------------- */

int store_history_add(struct store *store, int64_t sweep, int64_t trial, bool added, enum trial_state state, bool has_value, double value) {
        return store_execute(store, "INSERT INTO history (sweep, trial, added, state, value) VALUES (?1, ?2, ?3, ?4, ?5)", bind_i(sweep),
                             bind_i(trial), bind_i(added), bind_t(trial_state_name(state)), bind_if(has_value, bind_r(value)));
}

int store_history_each(struct store *store, int64_t sweep, int (*visit)(void *data, const struct history_row *row), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT h.added, t.number, t.stage, t.origin, t.params, h.state, h.value, "
                            "t.origin = 'imported' AND json_extract(t.proposal, '$.sweep') IS NOT NULL "
                            "FROM history h JOIN trials t ON t.id = h.trial WHERE h.sweep = ?1 ORDER BY h.seq",
                            &s, bind_i(sweep));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW) {
                const struct history_row row = {
                        .added = sqlite3_column_int(s, 0) != 0,
                        .number = (uint64_t)sqlite3_column_int64(s, 1),
                        .stage = (unsigned)sqlite3_column_int(s, 2),
                        .origin = read_origin(s, 3),
                        .params = (const char *)sqlite3_column_text(s, 4), /* NULL without memory */
                        .state = read_state(s, 5),
                        .has_value = is_set(s, 6),
                        .value = sqlite3_column_double(s, 6),
                        .is_foreign = sqlite3_column_int(s, 7) != 0,
                };
                r = row.params ? visit(data, &row) : -ENOMEM;
        }
        if (r < 0)
                store_reset(s);
        return r;
}

int store_history_position(struct store *store, int64_t *ret) {
        int r = store_integer(store, "SELECT coalesce(max(seq), 0) FROM history", ret);
        return r < 0 ? r : 0;
}
