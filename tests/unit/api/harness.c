#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/export.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "common/rng.h"
#include "plan/plan.h"
#include "store/store.h"

#define START_MS UINT64_C(1800000000000)

static uint64_t wall(void *data) {
        return START_MS + ((struct house *)data)->now_ms;
}

static uint64_t mono(void *data) {
        return ((struct house *)data)->now_ms;
}

static void random_bytes(void *data, void *ret, size_t len) {
        struct house *house = data;
        for (size_t i = 0; i < len; i++)
                ((unsigned char *)ret)[i] = (unsigned char)rng_mix(house->random++);
}

static void submit(void *data, struct plan_job *job) {
        struct house *house = data;
        assert_true(house->n_jobs < 64);
        house->jobs[house->n_jobs++] = job;
}

static int free_bytes(void *data, uint64_t *ret) {
        *ret = ((struct house *)data)->free_bytes;
        return 0;
}

static void publish(void *data, const char *name, const char *sweep, const char *text) {
        struct house *house = data;
        assert_int_equal(buf_printf(&house->events, "%s %s %s\n", name, sweep, text), 0);
}

static bool is_watched(void *data) {
        return ((struct house *)data)->is_watched;
}

static void open_api(struct house *house) {
        struct error err = {0};
        if (store_open(house->path, &house->store, &err) < 0)
                fail_msg("%s", err.text);
        const struct api_config config = {.lease_s = house->lease_s, .submit_job = submit, .job_data = house,
                                          .publish = publish,
                                          .is_watched = is_watched,
                                          .publish_data = house,
                                          .min_free_bytes = 100 << 20, .free_bytes = free_bytes, .free_data = house};
        if (api_new(&config, house->store, &house->world, &house->api, &err) < 0)
                fail_msg("%s", err.text);
}

int house_setup(void **state) {
        struct house *house = calloc(1, sizeof *house);
        log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1);
        snprintf(house->folder, sizeof house->folder, "/tmp/api-test-XXXXXX");
        if (!mkdtemp(house->folder))
                return -1;
        snprintf(house->path, sizeof house->path, "%s/sweepd.db", house->folder);
        house->world = (struct world){wall, mono, random_bytes, house};
        house->now_ms = 1000;
        house->free_bytes = UINT64_C(1) << 40;
        house->lease_s = 60;
        open_api(house);
        *state = house;
        return 0;
}

static void free_jobs(struct house *house) {
        while (house->n_jobs > 0)
                plan_job_free(house->jobs[--house->n_jobs]);
}

int house_teardown(void **state) {
        struct house *house = *state;
        api_free(house->api);
        free_jobs(house);
        store_close(house->store);
        fs_remove_tree(house->folder, NULL);
        buf_fini(&house->events);
        free(house);
        return 0;
}

void house_reopen(struct house *house) {
        api_free(house->api);
        free_jobs(house);
        store_close(house->store);
        open_api(house);
}

/* --- requests -------------------------------------------------------------------------------------------------- */

static void done(struct api_call *call) {
        struct ask *ask = call->transport;
        const struct api_response *response = &call->response;
        assert_false(ask->is_done);
        ask->is_done = true;
        ask->status = response->status;
        ask->retry_after_s = response->retry_after_s;
        memcpy(ask->sweep_state, response->sweep_state, sizeof ask->sweep_state);
        memcpy(ask->worker_state, response->worker_state, sizeof ask->worker_state);
        ask->name_shared = response->name_shared;
        ask->text = response->text ? strndup(response->text, response->text_len) : response->body ? json_text(response->body) : strdup("");
        if (ask->text[0])
                json_read(ask->text, strlen(ask->text), &ask->body, NULL);
}

static bool is_waiting(const struct api_call *call) {
        return !((struct ask *)call->transport)->is_gone;
}

static void turn(struct house *house, struct api_call *calls) {
        api_turn(house->api, calls);
        for (int i = 0; i < 1000 && (api_next_deadline(house->api) <= house->now_ms || (house->n_jobs > 0 && !house->hold_jobs)); i++) {
                while (house->n_jobs > 0 && !house->hold_jobs) {
                        struct plan_job *job = house->jobs[--house->n_jobs];
                        plan_job_compute(job);
                        api_job_done(house->api, job);
                }
                api_turn(house->api, NULL);
        }
}

void house_turn(struct house *house) {
        turn(house, NULL);
}

void house_wait(struct house *house, double seconds) {
        house->now_ms += (uint64_t)(seconds * 1000);
        turn(house, NULL);
}

static json_t *from_text(const char *text) {
        char *copy = strdup(text);
        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        json_t *value = NULL;
        struct error err = {0};
        if (json_read(copy, strlen(copy), &value, &err) < 0)
                fail_msg("%s: %s", copy, err.text);
        free(copy);
        return value;
}

static struct ask *ask_new(enum route route, const char *id, const char *body, const char *key) {
        struct ask *ask = calloc(1, sizeof *ask);
        ask->call = (struct api_call){.done = done, .is_waiting = is_waiting, .transport = ask};
        struct api_request *request = &ask->call.request;
        request->route = route;
        snprintf(request->id, sizeof request->id, "%s", id ? id : "");
        request->body = body ? from_text(body) : NULL;
        request->query = json_object();
        request->token = "";
        if (key) {
                char digest[DIGEST_HEX_SIZE];
                digest_bytes(body ? body : "", body ? strlen(body) : 0, digest);
                request->idempotency_key = strdup(key);
                request->body_sha256 = strdup(digest);
        }
        return ask;
}

/* What the transport would send of an export. */
static void take_export(struct house *house, struct ask *ask) {
        struct api_export *export = ask->call.response.export;
        if (!export)
                return;
        struct buf text = BUF_INIT(0);
        int r = 0;
        while (r == 0)
                r = api_export_read(export, house->store, 100, &text);
        assert_int_equal(r, 1);
        free(ask->text);
        ask->text = text.data ? text.data : strdup("");
        json_read(ask->text, strlen(ask->text), &ask->body, NULL);
}

struct ask *house_ask_keyed(struct house *house, enum route route, const char *id, const char *body, const char *key) {
        struct ask *ask = ask_new(route, id, body, key);
        turn(house, &ask->call);
        take_export(house, ask);
        return ask;
}

struct ask *house_ask(struct house *house, enum route route, const char *id, const char *body) {
        return house_ask_keyed(house, route, id, body, NULL);
}

struct ask *house_ask_as(struct house *house, enum route route, const char *body, const char *instance) {
        struct ask *ask = ask_new(route, NULL, body, NULL);
        snprintf(ask->call.request.instance, sizeof ask->call.request.instance, "%s", instance);
        turn(house, &ask->call);
        return ask;
}

struct ask *house_query(struct house *house, enum route route, const char *id, const char *key, const char *value, const char *key2,
                        const char *value2) {
        struct ask *ask = ask_new(route, id, NULL, NULL);
        if (key && value)
                json_object_set_new(ask->call.request.query, key, json_string(value));
        if (key2 && value2)
                json_object_set_new(ask->call.request.query, key2, json_string(value2));
        turn(house, &ask->call);
        take_export(house, ask);
        return ask;
}

void ask_free(struct ask *ask) {
        if (!ask)
                return;
        api_call_fini(&ask->call);
        json_decref(ask->body);
        free(ask->text);
        free(ask);
}

json_t *house_must(struct house *house, int status, enum route route, const char *id, const char *body) {
        struct ask *ask = house_ask(house, route, id, body);
        if (!ask->is_done)
                fail_msg("no answer");
        if (ask->status != status)
                fail_msg("%s %s: status %d, wanted %d: %s", route_info(route)->path, body ? body : "", ask->status, status, ask->text);
        json_t *answer = json_incref(ask->body);
        ask_free(ask);
        return answer;
}

/* --- short forms ------------------------------------------------------------------------------------------------ */

const char *text_of(const json_t *object, const char *path) {
        const char *text = json_string_value(json_get_dotted(object, path));
        return text ? text : "(none)";
}

int64_t number_of(const json_t *object, const char *path) {
        const json_t *value = json_get_dotted(object, path);
        return json_is_integer(value) ? json_integer_value(value) : -999;
}

static char *take_id(json_t *answer) {
        char *id = strdup(text_of(answer, "id"));
        json_decref(answer);
        return id;
}

char *house_worker(struct house *house, const char *name) {
        char body[256];
        snprintf(body, sizeof body, "{'name':'%s','instance':'i1','slots':1,'trainers':['external']}", name);
        return take_id(house_must(house, 201, ROUTE_WORKER_REGISTER, NULL, body));
}

char *house_sweep(struct house *house, const char *spec) {
        return take_id(house_must(house, 201, ROUTE_SWEEP_CREATE, NULL, spec));
}

json_t *house_claim(struct house *house, const char *worker, const char *claim_id) {
        char body[256];
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'%s'}", worker, claim_id);
        struct ask *ask = house_ask(house, ROUTE_CLAIM, NULL, body);
        if (!ask->is_done || (ask->status != 200 && ask->status != 204))
                fail_msg("claim: %d %s", ask->status, ask->text);
        json_t *trial = json_incref(json_array_get(json_object_get(ask->body, "trials"), 0));
        ask_free(ask);
        return trial;
}

json_t *house_report(struct house *house, int status, const json_t *trial, int seq, const char *rest) {
        char body[1024];
        snprintf(body, sizeof body, "{'lease':'%s','seq':%d%s}", text_of(trial, "lease"), seq, rest);
        return house_must(house, status, ROUTE_TRIAL_REPORT, text_of(trial, "id"), body);
}

void house_complete(struct house *house, const json_t *trial, double value) {
        char rest[128];
        snprintf(rest, sizeof rest, ",'outcome':{'state':'completed','value':%.17g}", value);
        json_decref(house_report(house, 200, trial, 1000, rest));
}

json_t *house_get(struct house *house, enum route route, const char *id) {
        return house_must(house, 200, route, id, NULL);
}

void house_expect_worker(struct house *house, const char *state) {
        json_t *workers = house_get(house, ROUTE_WORKER_LIST, NULL);
        assert_string_equal(text_of(json_array_get(json_object_get(workers, "items"), 0), "state"), state);
        json_decref(workers);
}
