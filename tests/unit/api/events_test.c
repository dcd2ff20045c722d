/* What watchers are told: what was committed, once, in order; nothing else. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#include "store/statement.h"

#define SPEC "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':1.0}}}"

static size_t count(const struct house *house, const char *what) {
        size_t n = 0;
        for (const char *at = house->events.data; at && (at = strstr(at, what)); at += strlen(what))
                n++;
        return n;
}

static void told(struct house *house) {
        buf_clear(&house->events);
}

static void nothing_is_told_while_nobody_watches(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC);
        json_decref(house_claim(house, worker, "c"));
        assert_int_equal(house->events.len, 0);
        house->is_watched = true;
        house_turn(house);
        assert_int_equal(house->events.len, 0); /* nor is what happened before */
        free(worker);
        free(sweep);
}

static void a_report_tells_its_points_then_its_trial(void **state) {
        struct house *house = *state;
        house->is_watched = true;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC);
        json_t *trial = house_claim(house, worker, "c");
        assert_int_equal(count(house, "trial s"), 1);
        told(house);
        const char *rest = ",'metrics':[{'name':'acc','step':1,'value':0.5},{'name':'acc','step':2,'value':0.75}],'progress':0.5";
        json_decref(house_report(house, 200, trial, 1, rest));
        assert_int_equal(count(house, "metric s"), 2);
        assert_int_equal(count(house, "trial s"), 1);
        assert_true(strstr(house->events.data, "metric s") < strstr(house->events.data, "trial s"));
        told(house);
        json_decref(house_report(house, 200, trial, 1, rest)); /* a retry changes nothing */
        assert_int_equal(house->events.len, 0);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void what_is_refused_is_not_told(void **state) {
        struct house *house = *state;
        house->is_watched = true;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC);
        json_t *trial = house_claim(house, worker, "c");
        house_wait(house, 1);
        told(house);
        json_decref(house_must(house, 422, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':7}}"));
        json_decref(house_report(house, 422, trial, 1, ",'metrics':[{'name':'acc','step':1,'value':'x'}]"));
        assert_int_equal(house->events.len, 0);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_sweep_is_shown_now_and_then_and_its_state_at_once(void **state) {
        struct house *house = *state;
        house->is_watched = true;
        char *sweep = house_sweep(house, SPEC);
        assert_int_equal(count(house, "sweep s"), 1);
        told(house);
        for (int i = 0; i < 5; i++)
                json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.5}}"));
        assert_int_equal(count(house, "trial s"), 5);
        assert_int_equal(count(house, "sweep s"), 0);
        house_wait(house, 0.6);
        assert_int_equal(count(house, "sweep s"), 1);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        assert_int_equal(count(house, "sweep s"), 2);
        free(sweep);
}

static void a_silent_worker_is_told_gone(void **state) {
        struct house *house = *state;
        house->is_watched = true;
        char *worker = house_worker(house, "w");
        told(house);
        assert_true(api_next_deadline(house->api) <= house->now_ms + 120001);
        house_wait(house, 121);
        assert_int_equal(count(house, "\"state\":\"gone\""), 1);
        free(worker);
}

static int refuse_commit(void *unused) {
        (void)unused;
        return 1;
}

static void what_could_not_be_committed_is_not_told_and_all_is_to_be_loaded_again(void **state) {
        struct house *house = *state;
        house->is_watched = true;
        char *sweep = house_sweep(house, SPEC);
        told(house);
        sqlite3_commit_hook(house->store->db, refuse_commit, NULL);
        json_decref(house_must(house, 503, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.5}}"));
        assert_int_equal(house->events.len, 0);
        sqlite3_commit_hook(house->store->db, NULL, NULL);
        house_wait(house, 2);
        assert_int_equal(count(house, "trial s"), 0);
        assert_int_equal(count(house, "reset  {}"), 1);
        free(sweep);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(nothing_is_told_while_nobody_watches, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_report_tells_its_points_then_its_trial, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(what_is_refused_is_not_told, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_sweep_is_shown_now_and_then_and_its_state_at_once, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(what_could_not_be_committed_is_not_told_and_all_is_to_be_loaded_again, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_silent_worker_is_told_gone, house_setup, house_teardown),
        };
        return cmocka_run_group_tests_name("api/events", tests, NULL, NULL);
}
