/* Tokens: hashes of secrets, never secrets. Written by `sweepd token`, read by the server's HTTP thread through a store of
 * its own (store_open_beside). */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

int store_token_insert(struct store *store, const struct token_row *row) {
        int64_t n = 0;
        int r = store_integer(store, "SELECT count(*) FROM tokens", &n);
        if (r < 0)
                return r;
        if (n >= STORE_TOKENS_MAX)
                return -E2BIG;
        return store_execute(store, "INSERT INTO tokens (name, role, hash, sweep, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                             bind_t(row->name), bind_t(row->role), bind_t(row->hash), bind_t(row->sweep), bind_i(row->created_ms),
                             bind_if(row->expires_ms > 0, bind_i(row->expires_ms)));
}

int store_token_delete(struct store *store, const char *name) {
        int r = store_execute(store, "DELETE FROM tokens WHERE name = ?1", bind_t(name));
        if (r < 0)
                return r;
        return sqlite3_changes(store->db) > 0 ? 0 : STORE_NONE;
}

int store_token_each(struct store *store, int (*visit)(void *data, const struct token_row *row), void *data) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT name, role, hash, sweep, created_ms, expires_ms FROM tokens ORDER BY id", &s);
        if (r < 0)
                return r;
        while ((r = store_step(store, s)) == STORE_ROW) {
                const struct token_row row = {
                        .name = (const char *)sqlite3_column_text(s, 0),
                        .role = (const char *)sqlite3_column_text(s, 1),
                        .hash = (const char *)sqlite3_column_text(s, 2),
                        .sweep = (const char *)sqlite3_column_text(s, 3),
                        .created_ms = (uint64_t)sqlite3_column_int64(s, 4),
                        .expires_ms = (uint64_t)sqlite3_column_int64(s, 5),
                };
                r = row.name && row.role && row.hash ? visit(data, &row) : -ENOMEM;
                if (r != 0)
                        break;
        }
        store_reset(s);
        return r < 0 ? r : 0;
}

int store_token_changes(struct store *store, int64_t *ret) {
        int r = store_integer(store, "SELECT n FROM token_changes", ret);
        return r == STORE_ROW ? 0 : r < 0 ? r : -EIO;
}
