#include "outbox.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/world.h"
#include "store/store.h"

static int next(void *data, struct notify_message *ret) {
        struct outbox *outbox = data;
        struct webhook_row row;
        int r = store_webhook_next(outbox->store, world_wall_ms(world_real()), &row);
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

static int write_result(struct store *store, const struct notify_message *message, const struct notify_result *result) {
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

static int tell(void *data, const struct notify_message *message, const struct notify_result *result) {
        struct outbox *outbox = data;
        int r = write_result(outbox->store, message, result);
        if (r == 0)
                atomic_fetch_add(result->is_delivered ? &outbox->n_delivered : result->is_over ? &outbox->n_given_up : &outbox->n_put_off, 1);
        return r;
}

struct notify_outbox outbox_for_notifier(struct outbox *outbox) {
        return (struct notify_outbox){.next = next, .tell = tell, .data = outbox};
}

void outbox_measure(void *data, struct buf *buf) {
        const struct outbox *outbox = data;
        const char *name = "sweepd_webhook_attempts";
        metrics_family(buf, name, "counter", NULL, "Webhook messages sent, by what came of it; put_off is sent again later.");
        metrics_sample(buf, name, "_total", "result=\"delivered\"", (double)atomic_load(&outbox->n_delivered));
        metrics_sample(buf, name, "_total", "result=\"put_off\"", (double)atomic_load(&outbox->n_put_off));
        metrics_sample(buf, name, "_total", "result=\"given_up\"", (double)atomic_load(&outbox->n_given_up));
}
