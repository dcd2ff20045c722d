/* Room on the disk. Before it is full the coordinator takes no new work (sweeps, trials, retries; claims get nothing), so that
 * what runs can still be reported, and what people want to see, pause, cancel or delete still works. Asked once a second at
 * most; there must be a tenth more room than the limit before work is taken again, so that it does not flap. */
#include "api/core.h"

#define LOOK_EVERY_MS 1000
#define RETRY_AFTER_S 30

void room_look(struct api *api) {
        uint64_t limit = api->config.min_free_bytes, free_bytes = 0;
        if (limit == 0 || !api->config.free_bytes || api_now(api) < api->room_ms)
                return;
        api->room_ms = api_now(api) + LOOK_EVERY_MS;
        if (api->config.free_bytes(api->config.free_data, &free_bytes) < 0)
                return; /* the next commit will tell */
        bool was_short = api->is_room_short;
        api->free_bytes = free_bytes;
        api->is_room_short = free_bytes < (was_short ? limit + limit / 10 : limit);
        if (api->is_room_short && !was_short)
                log_warning("the disk is nearly full: new work is refused", log_i("free_mib", free_bytes >> 20), log_i("limit_mib", limit >> 20));
        if (was_short && !api->is_room_short) {
                log_info("there is room on the disk again: new work is taken", log_i("free_mib", free_bytes >> 20));
                api->wake = true;
        }
}

uint64_t room_deadline(const struct api *api) {
        return api->is_room_short ? api->room_ms : API_NEVER;
}

int room_refuse(struct api *api, struct api_call *call) {
        char detail[200];
        snprintf(detail, sizeof detail,
                 "the coordinator's disk is nearly full (%llu MiB are free, %llu MiB are kept for what runs): new work is refused until there is room",
                 (unsigned long long)(api->free_bytes >> 20), (unsigned long long)(api->config.min_free_bytes >> 20));
        reply_unavailable(call, detail);
        call->response.retry_after_s = RETRY_AFTER_S;
        return 0;
}
