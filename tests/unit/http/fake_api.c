#include "fake_api.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/api.h"
#include "api/export.h"
#include "plan/plan.h"

struct fake_api fake;

struct plan_job {
        int dummy;
};

struct api {
        struct api_config config;
        const struct world *world;
        struct api_call *parked, *computing;
        bool draining;
};

void api_call_fini(struct api_call *call) {
        json_decref(call->request.body);
        json_decref(call->request.query);
        free(call->request.idempotency_key);
        free(call->request.body_sha256);
        json_decref(call->response.body);
        free(call->response.text);
        api_export_free(call->response.export);
}

/* An export of n lines, one a piece; of a negative n the last one fails. */
struct api_export {
        int n, at;
};

int api_export_read(struct api_export *export, struct store *store, size_t enough, struct buf *out) {
        (void)store;
        (void)enough;
        fake.n_export_reads++;
        export->at++;
        if (export->at == -export->n)
                return -EIO;
        int r = buf_printf(out, "line %d %01000d\n", export->at, 0);
        return r < 0 ? r : export->at == export->n;
}

void api_export_free(struct api_export *export) {
        fake.n_exports_freed += export != NULL;
        free(export);
}

int api_new(const struct api_config *config, struct store *store, const struct world *world, struct api **ret, struct error *err) {
        (void)store;
        (void)err;
        *ret = calloc(1, sizeof **ret);
        (*ret)->config = *config;
        (*ret)->world = world;
        return 0;
}

void api_free(struct api *api) {
        free(api);
}

static void answer(struct api_call *call, int status, json_t *body) {
        call->response.status = status;
        call->response.body = body;
        call->done(call);
}

static void create(struct api_call *call) {
        struct api_request *request = &call->request;
        answer(call, 201,
               json_pack("{s:O?, s:s?, s:s?, s:s}", "body", request->body, "key", request->idempotency_key, "sha256", request->body_sha256,
                         "token", request->token));
}

static void claim(struct api *api, struct api_call *call) {
        if (!call->request.body) {
                call->next = api->computing;
                api->computing = call;
                api->config.submit_job(api->config.job_data, calloc(1, sizeof(struct plan_job)));
                return;
        }
        double wait_s = json_number_value(json_object_get(call->request.body, "wait_s"));
        call->deadline_ms = world_mono_ms(api->world) + (uint64_t)(wait_s * 1000);
        call->next = api->parked;
        api->parked = call;
}

static void run_call(struct api *api, struct api_call *call) {
        switch (call->request.route) {
        case ROUTE_SWEEP_LIST:
                answer(call, 200, json_incref(call->request.query));
                return;
        case ROUTE_SWEEP_CREATE:
                create(call);
                return;
        case ROUTE_SWEEP_GET:
                if (strcmp(call->request.id, "finished") == 0)
                        memcpy(call->response.sweep_state, "finished", 9);
                answer(call, call->response.sweep_state[0] ? 204 : 404, NULL);
                return;
        case ROUTE_SWEEP_EXPORT:
                call->response.export = calloc(1, sizeof *call->response.export);
                call->response.export->n = atoi(call->request.id);
                call->response.content_type = "text/csv";
                answer(call, 200, NULL);
                return;
        case ROUTE_CLAIM:
                claim(api, call);
                return;
        default:
                answer(call, 200, json_pack("{s:s}", "id", call->request.id));
        }
}

/* Parked claims that are due, abandoned or drained. */
static void end_parked(struct api *api) {
        struct api_call **link = &api->parked;
        while (*link) {
                struct api_call *call = *link;
                if (!api->draining && call->deadline_ms > world_mono_ms(api->world) && call->is_waiting(call)) {
                        link = &call->next;
                        continue;
                }
                *link = call->next;
                answer(call, api->draining ? 503 : 204, NULL);
        }
}

void api_turn(struct api *api, struct api_call *calls) {
        size_t n = 0;
        if (fake.slow_turns)
                nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        for (struct api_call *call = calls, *next; call; call = next, n++) {
                next = call->next;
                run_call(api, call);
        }
        end_parked(api);
        fake.n_turns++;
        fake.n_calls += n;
        if (n > fake.largest_turn)
                fake.largest_turn = n;
}

uint64_t api_next_deadline(const struct api *api) {
        uint64_t deadline = UINT64_MAX;
        for (const struct api_call *call = api->parked; call; call = call->next)
                if (call->deadline_ms < deadline)
                        deadline = call->deadline_ms;
        return deadline;
}

void api_job_done(struct api *api, struct plan_job *job) {
        fake.n_jobs_done++;
        free(job);
        struct api_call *call = api->computing;
        api->computing = call->next;
        answer(call, 200, json_object());
}

void api_drain(struct api *api) {
        api->draining = true;
}

bool api_is_healthy(const struct api *api) {
        (void)api;
        return !fake.unhealthy;
}

bool api_is_room_short(const struct api *api) {
        (void)api;
        return false;
}

void plan_job_compute(struct plan_job *job) {
        (void)job;
        fake.n_jobs_computed++;
}

bool plan_job_is_question(const struct plan_job *job) {
        (void)job;
        return false;
}

void plan_job_free(struct plan_job *job) {
        fake.n_jobs_freed++;
        free(job);
}
