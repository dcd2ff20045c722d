/* Sweeps: one row each, the spec as it was given. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

#define SWEEP_COLUMNS \
        "id, public_id, name, method, spec, state, seed, run_cap, priority, first_allowed_stage, model_sha256, data_sha256, stage, " \
        "created_ms, spec_version"

void sweep_row_fini(struct sweep_row *row) {
        free(row->public_id);
        free(row->name);
        free(row->method);
        free(row->spec);
        free(row->model_sha256);
        free(row->data_sha256);
        free(row->stage);
        *row = (struct sweep_row){0};
}

static int read_sweep(sqlite3_stmt *s, struct sweep_row *ret) {
        int r = 0;
        struct sweep_row row = {
                .id = sqlite3_column_int64(s, 0),
                .public_id = store_column_text(s, 1, &r),
                .name = store_column_text(s, 2, &r),
                .method = store_column_text(s, 3, &r),
                .spec = store_column_text(s, 4, &r),
                .state = (enum sweep_state)sweep_state_from_name((const char *)sqlite3_column_text(s, 5)),
                .seed = (uint64_t)sqlite3_column_int64(s, 6),
                .run_cap = (uint64_t)sqlite3_column_int64(s, 7),
                .priority = sqlite3_column_int(s, 8),
                .first_allowed_stage = (unsigned)sqlite3_column_int(s, 9),
                .model_sha256 = store_column_text(s, 10, &r),
                .data_sha256 = store_column_text(s, 11, &r),
                .stage = store_column_text(s, 12, &r),
                .created_ms = (uint64_t)sqlite3_column_int64(s, 13),
                .spec_version = (unsigned)sqlite3_column_int(s, 14),
        };
        if (r < 0)
                sweep_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(sweep)

int store_sweep_insert(struct store *store, const struct sweep_row *row, int64_t *ret_id) {
        int r = store_execute(store,
                              "INSERT INTO sweeps (public_id, name, method, spec, state, seed, run_cap, priority, first_allowed_stage, "
                              "model_sha256, data_sha256, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                              bind_t(row->public_id), bind_t(row->name), bind_t(row->method), bind_t(row->spec),
                              bind_t(sweep_state_name(row->state)), bind_i(row->seed), bind_i(row->run_cap), bind_i(row->priority),
                              bind_i(row->first_allowed_stage), bind_t(row->model_sha256), bind_t(row->data_sha256),
                              bind_i(row->created_ms));
        if (r == 0)
                *ret_id = sqlite3_last_insert_rowid(store->db);
        return r;
}

int store_sweep_update(struct store *store, const struct sweep_row *row) {
        return store_execute(store,
                             "UPDATE sweeps SET state = ?2, run_cap = ?3, priority = ?4, first_allowed_stage = ?5, model_sha256 = ?6, "
                             "data_sha256 = ?7, stage = ?8 WHERE id = ?1",
                             bind_i(row->id), bind_t(sweep_state_name(row->state)), bind_i(row->run_cap), bind_i(row->priority),
                             bind_i(row->first_allowed_stage), bind_t(row->model_sha256), bind_t(row->data_sha256), bind_t(row->stage));
}

int store_sweep_set_spec(struct store *store, int64_t id, const char *name, const char *spec) {
        return store_execute(store, "UPDATE sweeps SET name = ?2, spec = ?3, spec_version = spec_version + 1 WHERE id = ?1", bind_i(id), bind_t(name),
                             bind_t(spec));
}

/* Claims stay until they are old: a late retry of one must get its first answer, not other trials. */
int store_sweep_delete(struct store *store, int64_t id) {
        return store_execute(store, "DELETE FROM sweeps WHERE id = ?1", bind_i(id));
}

int store_sweep_get(struct store *store, const char *public_id, struct sweep_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT " SWEEP_COLUMNS " FROM sweeps WHERE public_id = ?1", &s, bind_t(public_id));
        return r < 0 ? r : one_sweep(store, s, ret);
}

int store_sweep_load(struct store *store, int64_t id, struct sweep_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT " SWEEP_COLUMNS " FROM sweeps WHERE id = ?1", &s, bind_i(id));
        return r < 0 ? r : one_sweep(store, s, ret);
}

int store_sweep_list(struct store *store, int state, int64_t after, size_t max, struct sweep_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = state < 0 ? store_query(store, "SELECT " SWEEP_COLUMNS " FROM sweeps WHERE id > ?1 ORDER BY id LIMIT ?2", &s, bind_i(after),
                                        bind_i(max))
                          : store_query(store, "SELECT " SWEEP_COLUMNS " FROM sweeps WHERE state = ?3 AND id > ?1 ORDER BY id LIMIT ?2", &s,
                                        bind_i(after), bind_i(max), bind_t(sweep_state_name((enum sweep_state)state)));
        return r < 0 ? r : all_sweep(store, s, max, rows, ret_n);
}

int store_sweep_take_number(struct store *store, int64_t sweep, uint64_t *ret) {
        int64_t number = 0;
        int r = store_integer(store, "UPDATE sweeps SET next_number = next_number + 1 WHERE id = ?1 RETURNING next_number - 1", &number,
                              bind_i(sweep));
        if (r != STORE_ROW)
                return r < 0 ? r : -ENOENT;
        *ret = (uint64_t)number;
        return 0;
}
