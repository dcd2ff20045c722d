/* Workers as they registered. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

#define SELECT_WORKER \
        "SELECT id, public_id, name, instance, slots, trainers, model, data, facts, model_sha256, data_sha256, draining, registered_ms, " \
        "last_seen_ms, quarantine, quarantined_ms, unfit, trusted_ms, served, forgotten FROM workers"

void worker_row_fini(struct worker_row *row) {
        free(row->public_id);
        free(row->name);
        free(row->instance);
        free(row->trainers);
        free(row->model);
        free(row->data);
        free(row->facts);
        free(row->model_sha256);
        free(row->data_sha256);
        free(row->quarantine);
        *row = (struct worker_row){0};
}

static int read_worker(sqlite3_stmt *s, struct worker_row *ret) {
        int r = 0;
        struct worker_row row = {
                .id = sqlite3_column_int64(s, 0),
                .public_id = store_column_text(s, 1, &r),
                .name = store_column_text(s, 2, &r),
                .instance = store_column_text(s, 3, &r),
                .slots = (unsigned)sqlite3_column_int(s, 4),
                .trainers = store_column_text(s, 5, &r),
                .model = store_column_text(s, 6, &r),
                .data = store_column_text(s, 7, &r),
                .facts = store_column_text(s, 8, &r),
                .model_sha256 = store_column_text(s, 9, &r),
                .data_sha256 = store_column_text(s, 10, &r),
                .draining = sqlite3_column_int(s, 11) != 0,
                .registered_ms = (uint64_t)sqlite3_column_int64(s, 12),
                .last_seen_ms = (uint64_t)sqlite3_column_int64(s, 13),
                .quarantine = store_column_text(s, 14, &r),
                .quarantined_ms = (uint64_t)sqlite3_column_int64(s, 15),
                .unfit = sqlite3_column_int(s, 16) != 0,
                .trusted_ms = (uint64_t)sqlite3_column_int64(s, 17),
                .served = sqlite3_column_int(s, 18) != 0,
                .forgotten = sqlite3_column_int(s, 19) != 0,
        };
        if (r < 0)
                worker_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(worker)

int store_worker_update(struct store *store, const struct worker_row *row) {
        return store_execute(store,
                             "UPDATE workers SET instance = ?2, slots = ?3, trainers = ?4, model = ?5, data = ?6, facts = ?7, "
                             "model_sha256 = ?8, data_sha256 = ?9, draining = ?10, registered_ms = ?11, last_seen_ms = ?12, quarantine = ?13, "
                             "quarantined_ms = ?14, unfit = ?15, trusted_ms = ?16, served = ?17, forgotten = ?18 WHERE id = ?1",
                             bind_i(row->id), bind_t(row->instance), bind_i(row->slots), bind_t(row->trainers), bind_t(row->model),
                             bind_t(row->data), bind_t(row->facts), bind_t(row->model_sha256), bind_t(row->data_sha256),
                             bind_i(row->draining), bind_i(row->registered_ms), bind_i(row->last_seen_ms), bind_t(row->quarantine),
                             bind_if(row->quarantine != NULL, bind_i(row->quarantined_ms)), bind_i(row->unfit), bind_i(row->trusted_ms),
                             bind_i(row->served), bind_i(row->forgotten));
}

/* 0 · positive: there is none to be used again. */
static int reuse(struct store *store, const struct worker_row *row, int64_t *ret_id) {
        int64_t id = 0;
        int r = store_integer(store, "SELECT id FROM workers WHERE forgotten = 1 AND served = 0 ORDER BY id LIMIT 1", &id);
        if (r != STORE_ROW)
                return r < 0 ? r : 1;
        r = store_execute(store, "UPDATE workers SET public_id = ?2, name = ?3 WHERE id = ?1", bind_i(id), bind_t(row->public_id), bind_t(row->name));
        struct worker_row copy = *row;
        copy.id = id;
        if (r == 0)
                r = store_worker_update(store, &copy);
        if (r == 0)
                *ret_id = id;
        return r;
}

int store_worker_insert(struct store *store, const struct worker_row *row, int64_t *ret_id) {
        int r = reuse(store, row, ret_id);
        if (r <= 0)
                return r;
        r = store_execute(
                store,
                "INSERT INTO workers (public_id, name, instance, slots, trainers, model, data, facts, model_sha256, data_sha256, "
                "registered_ms, last_seen_ms, quarantine, quarantined_ms, unfit, trusted_ms) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
                bind_t(row->public_id), bind_t(row->name), bind_t(row->instance), bind_i(row->slots), bind_t(row->trainers),
                bind_t(row->model), bind_t(row->data), bind_t(row->facts), bind_t(row->model_sha256), bind_t(row->data_sha256),
                bind_i(row->registered_ms), bind_i(row->last_seen_ms), bind_t(row->quarantine),
                bind_if(row->quarantine != NULL, bind_i(row->quarantined_ms)), bind_i(row->unfit), bind_i(row->trusted_ms));
        if (r == 0)
                *ret_id = sqlite3_last_insert_rowid(store->db);
        return r;
}

int store_worker_get(struct store *store, const char *public_id, struct worker_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_WORKER " WHERE public_id = ?1", &s, bind_t(public_id));
        return r < 0 ? r : one_worker(store, s, ret);
}

int store_worker_find_name(struct store *store, const char *name, struct worker_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_WORKER " WHERE name = ?1", &s, bind_t(name));
        return r < 0 ? r : one_worker(store, s, ret);
}

int store_worker_list(struct store *store, int64_t after, size_t max, struct worker_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, SELECT_WORKER " WHERE id > ?1 AND forgotten = 0 ORDER BY id LIMIT ?2", &s, bind_i(after), bind_i(max));
        return r < 0 ? r : all_worker(store, s, max, rows, ret_n);
}

int store_worker_touch(struct store *store, int64_t worker, uint64_t now_ms) {
        return store_execute(store, "UPDATE workers SET last_seen_ms = ?2 WHERE id = ?1", bind_i(worker), bind_i(now_ms));
}

int store_worker_last_seen(struct store *store, uint64_t *ret_ms) {
        int64_t last = 0;
        int r = store_integer(store, "SELECT coalesce(max(last_seen_ms), 0) FROM workers", &last);
        if (r < 0)
                return r;
        *ret_ms = (uint64_t)last;
        return 0;
}

int store_worker_forget(struct store *store, int64_t worker) {
        int r = store_execute(store, "DELETE FROM claims WHERE worker = ?1", bind_i(worker));
        if (r == 0)
                r = store_execute(store, "UPDATE trials SET released_by = NULL WHERE state = 'queued' AND released_by = ?1", bind_i(worker));
        if (r == 0)
                r = store_execute(store,
                                  "UPDATE workers SET forgotten = 1, draining = 0, unfit = 0, quarantine = NULL, quarantined_ms = NULL, "
                                  "trusted_ms = last_seen_ms WHERE id = ?1",
                                  bind_i(worker));
        return r;
}

/* Of so many attempts at most, however many there are: this is asked again whenever one more has failed. */
int store_worker_failures(struct store *store, int64_t worker, uint64_t since_ms, size_t max, struct failed_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT a.trial, t.sweep, a.reason, max(a.ended_ms), EXISTS (SELECT 1 FROM attempts b WHERE b.trial = a.trial AND "
                            "b.worker <> a.worker AND b.reason IS NOT NULL AND b.reason <> 'lease_lost'), EXISTS (SELECT 1 FROM attempts b "
                            "WHERE b.trial = a.trial AND b.worker <> a.worker AND b.ended_as IN ('completed', 'stopped')) "
                            "FROM (SELECT * FROM attempts WHERE worker = ?1 AND reason IS NOT NULL AND ended_ms > ?2 ORDER BY ended_ms LIMIT 2 * ?3) a "
                            "JOIN trials t ON t.id = a.trial GROUP BY a.trial ORDER BY 4 LIMIT ?3",
                            &s, bind_i(worker), bind_i(since_ms), bind_i(max));
        size_t n = 0;
        while (r == 0 && n < max && (r = store_step(store, s)) == STORE_ROW) {
                int reason = failure_reason_from_name((const char *)sqlite3_column_text(s, 2));
                if (reason >= 0)
                        rows[n++] = (struct failed_row){
                                .trial = sqlite3_column_int64(s, 0),
                                .sweep = sqlite3_column_int64(s, 1),
                                .reason = (enum failure_reason)reason,
                                .ended_ms = (uint64_t)sqlite3_column_int64(s, 3),
                                .failed_elsewhere = sqlite3_column_int(s, 4) != 0,
                                .succeeded_elsewhere = sqlite3_column_int(s, 5) != 0,
                        };
                r = 0;
        }
        store_reset(s);
        if (r < 0)
                return r;
        *ret_n = n;
        return 0;
}

int store_worker_last_failure(struct store *store, int64_t worker, uint64_t since_ms, char **ret_detail) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT detail FROM attempts WHERE worker = ?1 AND reason IS NOT NULL AND reason <> 'lease_lost' AND ended_ms > ?2 "
                            "ORDER BY ended_ms DESC LIMIT 1",
                            &s, bind_i(worker), bind_i(since_ms));
        if (r == 0)
                r = store_step(store, s);
        if (r != STORE_ROW)
                return r == STORE_DONE ? STORE_NONE : r;
        r = 0;
        char *detail = store_column_text(s, 0, &r);
        store_reset(s);
        if (r == 0)
                *ret_detail = detail;
        return r;
}

/* Only the newest trials are looked at: older ones began before. One that was queued again for long is missed. */
int store_worker_others_succeed(struct store *store, int64_t worker, int64_t sweep, uint64_t since_ms, bool *ret) {
        int64_t found = 0;
        int r = store_integer(store,
                              "SELECT EXISTS (SELECT 1 FROM (SELECT worker, started_ms FROM (SELECT * FROM trials WHERE sweep = ?2 AND "
                              "state = 'completed' ORDER BY number DESC LIMIT 256) UNION ALL SELECT worker, started_ms FROM (SELECT * FROM "
                              "trials WHERE sweep = ?2 AND state = 'stopped' ORDER BY number DESC LIMIT 256)) t JOIN workers w ON w.id = t.worker "
                              "WHERE t.worker <> ?1 AND t.started_ms >= ?3 AND w.quarantine IS NULL)",
                              &found, bind_i(worker), bind_i(sweep), bind_i(since_ms));
        if (r < 0)
                return r;
        *ret = found != 0;
        return 0;
}
