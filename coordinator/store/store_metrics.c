/* Metric points, keyed by (trial, step, name): a later attempt overwrites. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

void metric_row_fini(struct metric_row *row) {
        free(row->name);
        *row = (struct metric_row){0};
}

static int read_metric(sqlite3_stmt *s, struct metric_row *ret) {
        int r = 0;
        struct metric_row row = {
                .name = store_column_text(s, 0, &r),
                .step = sqlite3_column_int64(s, 1),
                .has_epoch = sqlite3_column_type(s, 2) != SQLITE_NULL,
                .epoch = sqlite3_column_double(s, 2),
                .value = sqlite3_column_double(s, 3),
                .time_ms = (uint64_t)sqlite3_column_int64(s, 4),
        };
        if (r == 0)
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(metric)

int store_metric_put(struct store *store, int64_t trial, const struct metric_row *row) {
        return store_execute(store,
                             "INSERT INTO metrics (trial, step, name, epoch, value, time_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                             "ON CONFLICT (trial, step, name) DO UPDATE SET epoch = excluded.epoch, value = excluded.value, "
                             "time_ms = excluded.time_ms",
                             bind_i(trial), bind_i(row->step), bind_t(row->name), bind_if(row->has_epoch, bind_r(row->epoch)),
                             bind_r(row->value), bind_i(row->time_ms));
}

int store_metric_list(struct store *store, int64_t trial, const char *name, int64_t after_step, const char *after_name, size_t max,
                      struct metric_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int64_t first = after_name ? after_step : INT64_MIN;
        const char *past = after_name ? after_name : "";
        int r = name ? store_query(store,
                                   "SELECT name, step, epoch, value, time_ms FROM metrics WHERE trial = ?1 AND name = ?5 "
                                   "AND (step, name) > (?2, ?3) ORDER BY step LIMIT ?4",
                                   &s, bind_i(trial), bind_i(first), bind_t(past), bind_i(max), bind_t(name))
                     : store_query(store,
                                   "SELECT name, step, epoch, value, time_ms FROM metrics WHERE trial = ?1 AND (step, name) > (?2, ?3) "
                                   "ORDER BY step, name LIMIT ?4",
                                   &s, bind_i(trial), bind_i(first), bind_t(past), bind_i(max));
        return r < 0 ? r : all_metric(store, s, max, rows, ret_n);
}

int store_metric_summary(struct store *store, int64_t trial, const char *name, enum metric_summary summary, double *ret) {
        sqlite3_stmt *s = NULL;
        int r;
        if (summary == SUMMARY_MINIMUM)
                r = store_query(store, "SELECT value FROM metrics WHERE trial = ?1 AND name = ?2 ORDER BY value LIMIT 1", &s, bind_i(trial),
                                bind_t(name));
        else if (summary == SUMMARY_MAXIMUM)
                r = store_query(store, "SELECT value FROM metrics WHERE trial = ?1 AND name = ?2 ORDER BY value DESC LIMIT 1", &s,
                                bind_i(trial), bind_t(name));
        else
                r = store_query(store, "SELECT value FROM metrics WHERE trial = ?1 AND name = ?2 ORDER BY step DESC LIMIT 1", &s,
                                bind_i(trial), bind_t(name));
        if (r == 0)
                r = store_step(store, s);
        if (r != STORE_ROW)
                return r == STORE_DONE ? STORE_NONE : r;
        *ret = sqlite3_column_double(s, 0);
        store_reset(s);
        return 0;
}

/* Each point is looked up by itself: a long curve costs no more than a short one. */
int store_metric_curve(struct store *store, int64_t trial, const char *name, unsigned max, int (*visit)(void *data, int64_t step, double value), void *data) {
        int64_t first = 0, last = 0, step = INT64_MIN;
        int r = store_integer(store, "SELECT max(step) FROM metrics WHERE trial = ?1 AND name = ?2", &last, bind_i(trial), bind_t(name));
        for (unsigned i = 0; i <= max && r >= 0 && (i == 0 || step < last); i++) {
                sqlite3_stmt *s = NULL;
                double wanted = (double)first + ((double)last - (double)first) * i / max;
                int64_t from = i == 0 ? INT64_MIN : i == max || wanted >= (double)last ? last : (int64_t)wanted > step ? (int64_t)wanted : step + 1;
                r = store_query(store, "SELECT step, value FROM metrics WHERE trial = ?1 AND name = ?2 AND step >= ?3 ORDER BY step LIMIT 1", &s, bind_i(trial),
                                bind_t(name), bind_i(from));
                if (r == 0)
                        r = store_step(store, s);
                if (r != STORE_ROW)
                        return r < 0 ? r : 0;
                step = sqlite3_column_int64(s, 0);
                double value = sqlite3_column_double(s, 1);
                store_reset(s);
                first = i == 0 ? step : first;
                r = visit(data, step, value);
        }
        return r < 0 ? r : 0;
}

int store_metric_each(struct store *store, int64_t sweep, const char *name,
                      int (*visit)(void *data, uint64_t number, bool is_complete, int64_t step, double value), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT t.number, t.state = 'completed', m.step, m.value FROM trials t JOIN metrics m ON m.trial = t.id "
                            "AND m.name = ?2 WHERE t.sweep = ?1 ORDER BY t.number, m.step",
                            &s, bind_i(sweep), bind_t(name));
        while (r == 0 && (r = store_step(store, s)) == STORE_ROW)
                r = visit(data, (uint64_t)sqlite3_column_int64(s, 0), sqlite3_column_int(s, 1) != 0, sqlite3_column_int64(s, 2),
                          sqlite3_column_double(s, 3));
        if (r < 0)
                store_reset(s);
        return r;
}
