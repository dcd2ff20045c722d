/* For whoever looks inside a running coordinator: what it keeps in memory, what a sweep's model has seen, and a lease that
 * ends at a word. Admins only; shapes may change. */
#include <string.h>

#include "api/core.h"

#define SHOWN_MAX 1000 /* of each list */

static json_t *seconds_until(const struct api *api, uint64_t at_ms) {
        return at_ms == API_NEVER ? json_null() : json_real((double)((int64_t)at_ms - (int64_t)api_now(api)) / 1000);
}

static json_t *list_lives(const struct api *api) {
        json_t *list = json_array();
        for (size_t i = 0; i < api->n_lives && i < SHOWN_MAX; i++) {
                const struct live *live = api->lives[i];
                json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:I}", "id", live->row.public_id, "state",
                                                      sweep_state_name(live->row.state), "priority", live->row.priority, "queued",
                                                      (json_int_t)live->n_queued, "running", (json_int_t)live->n_running, "served",
                                                      (json_int_t)live->n_served, "idle", live->is_idle, "unsettled", live->is_unsettled,
                                                      "closed", live->is_closed, "computing", live->job != NULL, "used",
                                                      (json_int_t)live->used));
        }
        return list;
}

static json_t *list_leases(struct api *api) {
        json_t *list = json_array();
        for (size_t i = 0; i < api->leases.n && i < SHOWN_MAX; i++) {
                const struct lease *lease = &api->leases.items[i];
                const struct peer *peer = peer_by_row(api, lease->worker);
                struct trial_row row = {0};
                if (store_trial_load(api->store, lease->trial, &row) != 0)
                        continue;
                json_array_append_new(list, json_pack("{s:s, s:i, s:s?, s:o, s:o, s:o}", "trial", row.public_id, "attempt", (int)lease->attempt,
                                                      "worker", peer ? peer->row.public_id : NULL, "expires_s",
                                                      seconds_until(api, lease->expires_ms), "timeout_s", seconds_until(api, lease->timeout_ms),
                                                      "stall_s", seconds_until(api, lease->stall_ms)));
                trial_row_fini(&row);
        }
        return list;
}

static json_t *list_parked(struct api *api) {
        json_t *list = json_array();
        for (size_t i = 0; i < api->n_parked && i < SHOWN_MAX; i++) {
                const struct parked *claim = &api->parked[i];
                const struct peer *peer = peer_by_row(api, claim->worker);
                json_array_append_new(list, json_pack("{s:s?, s:s, s:s?, s:i, s:o, s:b}", "worker", peer ? peer->row.public_id : NULL, "claim_id",
                                                      claim->message.claim_id, "sweep", claim->message.sweep, "slots", (int)claim->message.slots,
                                                      "until_s", seconds_until(api, claim->deadline_ms), "computing", claim->is_computing));
        }
        return list;
}

int debug_state(struct api *api, struct api_call *call) {
        struct list_query query;
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        return reply_json(call, 200,
                          json_pack("{s:I, s:b, s:b, s:b, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "turn", (json_int_t)api->turn, "healthy",
                                    api->is_healthy, "wake", api->wake, "watched", api->changes.is_watched, "next_turn_s",
                                    seconds_until(api, api_next_deadline(api)), "workers", (json_int_t)api->n_peers, "leases_total",
                                    (json_int_t)api->leases.n, "parked_total", (json_int_t)api->n_parked, "questions",
                                    (json_int_t)api->n_asked, "sweeps", list_lives(api), "leases", list_leases(api), "parked",
                                    list_parked(api)));
}

int debug_snapshot(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        struct live *live = NULL;
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == 0)
                r = live_get(api, row.id, &live);
        sweep_row_fini(&row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        if (r < 0)
                return r;
        return reply_json(call, 200,
                          json_pack("{s:s, s:I, s:o, s:o}", "sweep", live->row.public_id, "seed", (json_int_t)live->row.seed, "stage",
                                    plan_describe_stage(live->plan), "plan", plan_snapshot(live->plan, SHOWN_MAX)));
}

int debug_expire(struct api *api, struct api_call *call) {
        struct faults faults = {0};
        struct trial_row row = {0};
        json_t *body = NULL;
        int r = reply_decoded(call, empty_decode(call->request.body, &faults), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_trial_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no trial '%s'", call->request.id);
        const struct lease *lease = r == 0 ? lease_table_find(&api->leases, row.id) : NULL;
        if (r == 0 && !lease) {
                trial_row_fini(&row);
                return reply_problem(call, 409, "the trial is not running: nobody has a lease");
        }
        if (r == 0) {
                const struct lease over = *lease; /* the move takes it out of the table */
                r = move_lease_over(api, &over, LEASE_EXPIRED);
        }
        trial_row_fini(&row);
        if (r == 0)
                r = store_trial_get(api->store, call->request.id, &row);
        if (r == 0)
                r = encode_trial(api, &row, &body);
        trial_row_fini(&row);
        return r < 0 ? r : reply_json(call, 200, body);
}
