/* What webhooks are to be told is written in the unit of the change itself: it is told if and only if it is true. */
#include "api/core.h"

static json_t *describe_trial(const struct trial_row *row) {
        return json_pack("{s:s, s:I, s:s?, s:s?}", "id", row->public_id, "number", (json_int_t)row->number, "reason",
                         row->reason >= 0 ? failure_reason_name((enum failure_reason)row->reason) : NULL, "detail", row->detail);
}

/* {"event","time","sweep":{…without its spec},"trial"} */
static int describe(struct api *api, const struct live *live, enum webhook_event event, const struct trial_row *trial, char **ret) {
        json_t *sweep = NULL;
        int r = encode_sweep(api, &live->row, &sweep);
        if (r < 0)
                return r;
        json_object_del(sweep, "spec");
        json_object_del(sweep, "history");
        _cleanup_json_ json_t *body = json_pack("{s:s, s:o, s:o, s:o*}", "event", webhook_event_name(event), "time", encode_time(api_wall(api)), "sweep", sweep, "trial",
                                                trial ? describe_trial(trial) : NULL);
        *ret = body ? json_text(body) : NULL;
        return *ret ? 0 : -ENOMEM;
}

/* Of failed trials one message waits at a time. */
static int add(struct api *api, const struct live *live, enum webhook_event event, const char *url, char *body) {
        bool is_pending = false;
        int r = event == WEBHOOK_TRIAL_FAILED ? store_webhook_is_pending(api->store, live->row.id, webhook_event_name(event), url, &is_pending) : 0;
        if (r < 0 || is_pending)
                return r;
        r = store_webhook_add(api->store, &(struct webhook_row){.sweep = live->row.id, .event = (char *)webhook_event_name(event), .url = (char *)url, .body = body}, api_wall(api));
        if (r == STORE_FULL) {
                api->counts.webhooks_refused++;
                log_warning("webhook not told: too many messages wait", log_s("sweep", live->row.public_id), log_s("event", webhook_event_name(event)));
        }
        return r < 0 ? r : 0;
}

int webhook_note(struct api *api, const struct live *live, enum webhook_event event, const struct trial_row *trial) {
        const struct api_webhooks *webhooks = &api->config.webhooks;
        _cleanup_free_ char *body = NULL;
        unsigned wanted = live->spec->has_notify ? live->spec->notify : webhooks->events;
        if (webhooks->n_urls == 0 || !(wanted & 1u << event))
                return 0;
        int r = describe(api, live, event, trial, &body);
        for (size_t i = 0; i < webhooks->n_urls && r == 0; i++)
                r = add(api, live, event, webhooks->urls[i], body);
        return r;
}
