/* First answers, so that a retried write gets the same one: claims by (worker, claim_id), creates by idempotency key. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

int store_claim_find(struct store *store, int64_t worker, const char *claim_id, char **ret_answer) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT answer FROM claims WHERE worker = ?1 AND claim_id = ?2", &s, bind_i(worker), bind_t(claim_id));
        if (r == 0)
                r = store_step(store, s);
        if (r != STORE_ROW)
                return r == STORE_DONE ? STORE_NONE : r;
        r = 0;
        char *answer = store_column_text(s, 0, &r);
        store_reset(s);
        if (r == 0)
                *ret_answer = answer;
        return r;
}

int store_claim_insert(struct store *store, int64_t worker, const char *claim_id, uint64_t now_ms, int64_t *ret_id) {
        int r = store_execute(store, "INSERT INTO claims (worker, claim_id, answer, created_ms) VALUES (?1, ?2, '', ?3)", bind_i(worker),
                              bind_t(claim_id), bind_i(now_ms));
        if (r == 0)
                *ret_id = sqlite3_last_insert_rowid(store->db);
        return r;
}

int store_claim_set_answer(struct store *store, int64_t id, const char *answer) {
        return store_execute(store, "UPDATE claims SET answer = ?2 WHERE id = ?1", bind_i(id), bind_t(answer));
}

void key_row_fini(struct key_row *row) {
        free(row->body_sha256);
        free(row->answer);
        *row = (struct key_row){0};
}

static int read_key(sqlite3_stmt *s, struct key_row *ret) {
        int r = 0;
        struct key_row row = {
                .body_sha256 = store_column_text(s, 0, &r),
                .answer = store_column_text(s, 1, &r),
                .status = sqlite3_column_int(s, 2),
        };
        if (r < 0)
                key_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(key)

int store_key_find(struct store *store, const char *path, const char *token, const char *key, struct key_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store, "SELECT body_sha256, answer, status FROM idempotency_keys WHERE path = ?1 AND token = ?2 AND key = ?3",
                            &s, bind_t(path), bind_t(token), bind_t(key));
        return r < 0 ? r : one_key(store, s, ret);
}

int store_key_insert(struct store *store, const char *path, const char *token, const char *key, const struct key_row *row,
                     uint64_t now_ms) {
        return store_execute(store,
                             "INSERT INTO idempotency_keys (path, token, key, body_sha256, status, answer, created_ms) "
                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                             bind_t(path), bind_t(token), bind_t(key), bind_t(row->body_sha256), bind_i(row->status), bind_t(row->answer),
                             bind_i(now_ms));
}

int store_keys_prune(struct store *store, uint64_t before_ms) {
        int r = store_execute(store, "DELETE FROM idempotency_keys WHERE created_ms < ?1", bind_i(before_ms));
        if (r == 0)
                r = store_execute(store,
                                  "DELETE FROM claims WHERE created_ms < ?1 AND NOT EXISTS (SELECT 1 FROM attempts a "
                                  "JOIN trials t ON t.id = a.trial WHERE a.claim = claims.id AND t.finished_ms IS NULL)",
                                  bind_i(before_ms));
        return r;
}
