/* Workers as they registered. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

#define SELECT_WORKER \
        "SELECT id, public_id, name, instance, slots, trainers, model, data, facts, model_sha256, data_sha256, draining, registered_ms, " \
        "last_seen_ms FROM workers"

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
        };
        if (r < 0)
                worker_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(worker)

int store_worker_insert(struct store *store, const struct worker_row *row, int64_t *ret_id) {
        int r = store_execute(
                store,
                "INSERT INTO workers (public_id, name, instance, slots, trainers, model, data, facts, model_sha256, data_sha256, "
                "registered_ms, last_seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                bind_t(row->public_id), bind_t(row->name), bind_t(row->instance), bind_i(row->slots), bind_t(row->trainers),
                bind_t(row->model), bind_t(row->data), bind_t(row->facts), bind_t(row->model_sha256), bind_t(row->data_sha256),
                bind_i(row->registered_ms), bind_i(row->last_seen_ms));
        if (r == 0)
                *ret_id = sqlite3_last_insert_rowid(store->db);
        return r;
}

int store_worker_update(struct store *store, const struct worker_row *row) {
        return store_execute(store,
                             "UPDATE workers SET instance = ?2, slots = ?3, trainers = ?4, model = ?5, data = ?6, facts = ?7, "
                             "model_sha256 = ?8, data_sha256 = ?9, draining = ?10, registered_ms = ?11, last_seen_ms = ?12 WHERE id = ?1",
                             bind_i(row->id), bind_t(row->instance), bind_i(row->slots), bind_t(row->trainers), bind_t(row->model),
                             bind_t(row->data), bind_t(row->facts), bind_t(row->model_sha256), bind_t(row->data_sha256),
                             bind_i(row->draining), bind_i(row->registered_ms), bind_i(row->last_seen_ms));
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
        int r = store_query(store, SELECT_WORKER " WHERE id > ?1 ORDER BY id LIMIT ?2", &s, bind_i(after), bind_i(max));
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
