/* A disk that fills up: no new work, but whatever runs is reported, and it all goes on when there is room again. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define SPEC "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':1.0}}}"
#define MIB (UINT64_C(1) << 20)

/* As the contract wants a refusal: 503, when to come back, and why. */
static void assert_refused(struct house *house, enum route route, const char *id, const char *body) {
        struct ask *ask = house_ask(house, route, id, body);
        assert_int_equal(ask->status, 503);
        assert_int_equal(ask->retry_after_s, 30);
        assert_non_null(strstr(text_of(ask->body, "detail"), "nearly full (99 MiB are free, 100 MiB are kept"));
        ask_free(ask);
}

static void set_free(struct house *house, uint64_t free_bytes) {
        house->free_bytes = free_bytes;
        house_wait(house, 1.5);
}

static void new_work_is_refused_before_the_disk_is_full(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC);
        json_t *ended = house_claim(house, worker, "c1"), *running = house_claim(house, worker, "c2");
        house_complete(house, ended, 1);
        struct ask *keyed = house_ask_keyed(house, ROUTE_SWEEP_CREATE, "", SPEC, "k");
        assert_int_equal(keyed->status, 201);
        assert_false(api_is_room_short(house->api));

        set_free(house, 99 * MIB);
        assert_true(api_is_room_short(house->api));
        assert_refused(house, ROUTE_SWEEP_CREATE, "", SPEC);
        assert_refused(house, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.5}}");
        assert_refused(house, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.5},'value':1}");
        assert_refused(house, ROUTE_TRIAL_RETRY, text_of(ended, "id"), NULL);
        assert_null(house_claim(house, worker, "c3"));
        struct ask *again = house_ask_keyed(house, ROUTE_SWEEP_CREATE, "", SPEC, "k"); /* it was done before */
        assert_int_equal(again->status, 201);
        assert_string_equal(again->text, keyed->text);
        json_t *repeated = house_claim(house, worker, "c2");
        assert_string_equal(text_of(repeated, "id"), text_of(running, "id"));
        json_decref(house_report(house, 200, running, 1, ",'progress':0.5"));
        house_complete(house, running, 2);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));

        set_free(house, 105 * MIB); /* more than the limit, but not by a tenth */
        assert_true(api_is_room_short(house->api));
        set_free(house, 111 * MIB);
        assert_false(api_is_room_short(house->api));
        json_t *next = house_claim(house, worker, "c4");
        assert_non_null(next);
        json_decref(house_must(house, 200, ROUTE_TRIAL_RETRY, text_of(ended, "id"), NULL));
        json_decref(next);
        json_decref(repeated);
        json_decref(ended);
        json_decref(running);
        ask_free(keyed);
        ask_free(again);
        free(worker);
        free(sweep);
}

/* Nobody asks for anything meanwhile: the coordinator looks by itself. */
static void a_claim_that_waits_is_served_once_there_is_room(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC), body[160];
        house->free_bytes = 1;
        house_wait(house, 1.5);
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'c','wait_s':60}", worker);
        struct ask *claim = house_ask(house, ROUTE_CLAIM, "", body);
        assert_false(claim->is_done);
        assert_true(api_next_deadline(house->api) <= house->now_ms + 1000);
        house->free_bytes = 200 * MIB;
        house_wait(house, 1.5);
        assert_true(claim->is_done);
        assert_int_equal(claim->status, 200);
        ask_free(claim);
        free(worker);
        free(sweep);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(new_work_is_refused_before_the_disk_is_full, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_claim_that_waits_is_served_once_there_is_room, house_setup, house_teardown),
        };
        return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
