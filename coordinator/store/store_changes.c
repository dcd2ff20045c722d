/* What happened to sweeps, for people. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

void change_row_fini(struct change_row *row) {
        free(row->who);
        free(row->what);
        free(row->detail);
        *row = (struct change_row){0};
}

static int read_change(sqlite3_stmt *s, struct change_row *ret) {
        int r = 0;
        struct change_row row = {
                .id = sqlite3_column_int64(s, 0),
                .sweep = sqlite3_column_int64(s, 1),
                .at_ms = (uint64_t)sqlite3_column_int64(s, 2),
                .who = store_column_text(s, 3, &r),
                .what = store_column_text(s, 4, &r),
                .last_number = (uint64_t)sqlite3_column_int64(s, 5),
                .detail = store_column_text(s, 6, &r),
        };
        if (r < 0)
                change_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(change)

int store_change_add(struct store *store, const struct change_row *row) {
        return store_execute(store,
                             "INSERT INTO changes (sweep, at_ms, who, what, last_number, detail) "
                             "SELECT ?1, ?2, ?3, ?4, next_number - 1, ?5 FROM sweeps WHERE id = ?1",
                             bind_i(row->sweep), bind_i(row->at_ms), bind_t(row->who), bind_t(row->what), bind_t(row->detail));
}

int store_change_last(struct store *store, int64_t sweep, struct change_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT id, sweep, at_ms, who, what, last_number, detail FROM changes WHERE sweep = ?1 "
                            "ORDER BY id DESC LIMIT 1",
                            &s, bind_i(sweep));
        return r < 0 ? r : one_change(store, s, ret);
}

int store_change_update(struct store *store, const struct change_row *row) {
        return store_execute(store,
                             "UPDATE changes SET at_ms = ?2, detail = ?3, "
                             "last_number = (SELECT next_number - 1 FROM sweeps WHERE id = changes.sweep) WHERE id = ?1",
                             bind_i(row->id), bind_i(row->at_ms), bind_t(row->detail));
}

int store_change_list(struct store *store, int64_t sweep, int64_t after, size_t max, struct change_row *rows, size_t *ret_n) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT id, sweep, at_ms, who, what, last_number, detail FROM changes WHERE sweep = ?1 AND id > ?2 "
                            "ORDER BY id LIMIT ?3",
                            &s, bind_i(sweep), bind_i(after), bind_i(max));
        return r < 0 ? r : all_change(store, s, max, rows, ret_n);
}
