/* What webhooks are still to be told. */
#include <stdlib.h>

#include "store/statement.h"
#include "store/store.h"

void webhook_row_fini(struct webhook_row *row) {
        free(row->event);
        free(row->url);
        free(row->body);
        *row = (struct webhook_row){0};
}

static int read_webhook(sqlite3_stmt *s, struct webhook_row *ret) {
        int r = 0;
        struct webhook_row row = {
                .id = sqlite3_column_int64(s, 0),
                .sweep = sqlite3_column_int64(s, 1),
                .event = store_column_text(s, 2, &r),
                .url = store_column_text(s, 3, &r),
                .body = store_column_text(s, 4, &r),
                .attempts = (unsigned)sqlite3_column_int64(s, 5),
        };
        if (r < 0)
                webhook_row_fini(&row);
        else
                *ret = row;
        return r;
}

STORE_DEFINE_READERS(webhook)

int store_webhook_count(struct store *store, uint64_t *ret) {
        int64_t n = 0;
        int r = store_integer(store, "SELECT count(*) FROM (SELECT 1 FROM webhooks LIMIT ?1)", &n, bind_i(STORE_WEBHOOKS_MAX));
        if (r >= 0)
                *ret = (uint64_t)n;
        return r < 0 ? r : 0;
}

int store_webhook_add(struct store *store, const struct webhook_row *row, uint64_t now_ms) {
        uint64_t n = 0;
        int r = store_webhook_count(store, &n);
        if (r < 0)
                return r;
        if (n >= STORE_WEBHOOKS_MAX)
                return STORE_FULL;
        return store_execute(store, "INSERT INTO webhooks (sweep, event, url, body, created_ms, due_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?5)", bind_i(row->sweep),
                             bind_t(row->event), bind_t(row->url), bind_t(row->body), bind_i(now_ms));
}

int store_webhook_is_pending(struct store *store, int64_t sweep, const char *event, const char *url, bool *ret) {
        int64_t one = 0;
        int r = store_integer(store, "SELECT 1 FROM webhooks WHERE sweep = ?1 AND event = ?2 AND url = ?3 LIMIT 1", &one, bind_i(sweep), bind_t(event), bind_t(url));
        if (r >= 0)
                *ret = r == STORE_ROW;
        return r < 0 ? r : 0;
}

int store_webhook_next(struct store *store, uint64_t now_ms, struct webhook_row *ret) {
        sqlite3_stmt *s = NULL;
        int r = store_query(store,
                            "SELECT id, sweep, event, url, body, attempts FROM webhooks WHERE id = "
                            "(SELECT id FROM webhooks WHERE due_ms <= ?1 ORDER BY attempts, due_ms, id LIMIT 1)",
                            &s, bind_i(now_ms));
        return r < 0 ? r : one_webhook(store, s, ret);
}

int store_webhook_put_off(struct store *store, int64_t id, unsigned attempts, uint64_t due_ms) {
        return store_execute(store, "UPDATE webhooks SET attempts = ?2, due_ms = ?3 WHERE id = ?1", bind_i(id), bind_i(attempts), bind_i(due_ms));
}

int store_webhook_delete(struct store *store, int64_t id) {
        return store_execute(store, "DELETE FROM webhooks WHERE id = ?1", bind_i(id));
}
