#include "outbox.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/world.h"
#include "store/store.h"

static int next(void *data, struct notify_message *ret) {
        struct webhook_row row;
        int r = store_webhook_next(data, world_wall_ms(world_real()), &row);
        if (r == STORE_NONE)
                return NOTIFY_NONE;
        if (r == 0)
                *ret = (struct notify_message){.id = row.id, .sweep = row.sweep, .event = row.event, .url = row.url, .body = row.body, .attempts = row.attempts};
        return r;
}

/* The end of a message stands in the sweep's history, too. */
static int note(struct store *store, const struct notify_message *message, const struct notify_result *result, uint64_t now_ms) {
        _cleanup_json_ json_t *detail =
                json_pack("{s:o}", "why", json_sprintf("%s: %s%s (attempt %u)", message->event, result->text, result->is_delivered ? "" : ", given up", result->attempts));
        _cleanup_free_ char *text = detail ? json_text(detail) : NULL;
        if (!text)
                return -ENOMEM;
        return store_change_add(store, &(struct change_row){.sweep = message->sweep, .at_ms = now_ms, .what = "notified", .detail = text});
}

static int tell(void *data, const struct notify_message *message, const struct notify_result *result) {
        struct store *store = data;
        uint64_t now_ms = world_wall_ms(world_real());
        int r = store_begin(store);
        if (r == 0)
                r = result->is_over ? store_webhook_delete(store, message->id)
                                    : store_webhook_put_off(store, message->id, result->attempts, now_ms + result->wait_ms);
        if (r == 0 && result->is_over)
                r = note(store, message, result, now_ms);
        if (r < 0)
                store_rollback(store);
        return r < 0 ? r : store_commit(store);
}

struct notify_outbox outbox_of(struct store *store) {
        return (struct notify_outbox){.next = next, .tell = tell, .data = store};
}
