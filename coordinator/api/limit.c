/* A token may be good for one sweep only. What such a token reaches is decided here and nowhere else, by the shape of the
 * route: what is below its sweep, trials of its sweep, its events, claims of its sweep, and a worker's registration. Every other
 * route, also one that is yet to be written, is closed to it. */
#include <string.h>

#include "api/core.h"

static bool is_below(enum route route, const char *place) {
        return strncmp(route_info(route)->path, place, strlen(place)) == 0;
}

static int refuse(struct api_call *call) {
        int r = reply_problem(call, 403, "this token is good for sweep '%s' only", call->request.sweep_limit);
        return r < 0 ? r : ANSWERED;
}

/* A trial that does not exist is left to its handler's 404. */
static int check_trial(struct api *api, struct api_call *call) {
        struct trial_row trial = {0};
        struct sweep_row sweep = {0};
        int r = store_trial_get(api->store, call->request.id, &trial);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_load(api->store, trial.sweep, &sweep);
        trial_row_fini(&trial);
        if (r != 0)
                return r < 0 ? r : refuse(call);
        bool is_ours = strcmp(sweep.public_id, call->request.sweep_limit) == 0;
        sweep_row_fini(&sweep);
        return is_ours ? 0 : refuse(call);
}

static int narrow_claim(struct api_call *call) {
        json_t *body = call->request.body, *sweep = json_object_get(body, "sweep");
        if (json_is_string(sweep))
                return strcmp(json_string_value(sweep), call->request.sweep_limit) == 0 ? 0 : refuse(call);
        if (!json_is_object(body) || (sweep && !json_is_null(sweep)))
                return 0; /* not a claim at all: its handler says so */
        return json_object_set_new(body, "sweep", json_string(call->request.sweep_limit)) < 0 ? -ENOMEM : 0;
}

/* A name that runs trials of another sweep is somebody else's: a new instance of it would end those leases. */
static int check_registration(struct api *api, struct api_call *call) {
        const char *name = json_string_value(json_object_get(call->request.body, "name"));
        struct sweep_row row = {0};
        int r = store_sweep_get(api->store, call->request.sweep_limit, &row);
        int64_t ours = r == 0 ? row.id : 0;
        sweep_row_fini(&row);
        if (r < 0)
                return r;
        for (size_t i = 0; name && i < api->leases.n; i++) {
                const struct peer *peer = peer_by_row(api, api->leases.items[i].worker);
                if (api->leases.items[i].sweep != ours && peer && strcmp(peer->row.name, name) == 0)
                        return refuse(call);
        }
        return 0;
}

int limit_check(struct api *api, struct api_call *call) {
        enum route route = call->request.route;
        if (!call->request.sweep_limit)
                return 0;
        if (is_below(route, "/v1/sweeps/{id}"))
                return strcmp(call->request.id, call->request.sweep_limit) == 0 ? 0 : refuse(call);
        if (is_below(route, "/v1/trials/{id}"))
                return check_trial(api, call);
        if (route == ROUTE_CLAIM)
                return narrow_claim(call);
        if (route == ROUTE_EVENTS) {
                const char *sweep = json_string_value(json_object_get(call->request.query, "sweep"));
                return sweep && strcmp(sweep, call->request.sweep_limit) == 0 ? 0 : refuse(call);
        }
        return route == ROUTE_WORKER_REGISTER ? check_registration(api, call) : refuse(call);
}
