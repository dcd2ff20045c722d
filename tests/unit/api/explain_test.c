/* best, importance and slice: parked while the model computes, one computation for all that ask the same. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

#define SPEC \
        "{'method':'random','trainer':'external','seed':5,'metric':{'name':'loss'}," \
        "'parameters':{'x':{'min':0.0,'max':1.0},'y':{'min':0.0,'max':1.0},'c':{'values':['a','b']}}}"

struct sweep {
        struct house *house;
        char *id, *worker;
        int n;
};

static void sweep_open(struct sweep *sweep, void **state) {
        *sweep = (struct sweep){.house = *state};
        sweep->id = house_sweep(sweep->house, SPEC);
        sweep->worker = house_worker(sweep->house, "w");
}

static void sweep_close(struct sweep *sweep) {
        free(sweep->id);
        free(sweep->worker);
}

/* loss = (x − 0.4)². */
static void run_trials(struct sweep *sweep, int n) {
        for (int i = 0; i < n; i++) {
                char claim[16];
                snprintf(claim, sizeof claim, "c%d", ++sweep->n);
                json_t *trial = house_claim(sweep->house, sweep->worker, claim);
                assert_non_null(trial);
                house_complete(sweep->house, trial, pow(json_real_value(json_object_get(json_object_get(trial, "params"), "x")) - 0.4, 2));
                json_decref(trial);
        }
}

static void best_tells_what_the_model_knows(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        json_t *body = house_must(sweep.house, 200, ROUTE_SWEEP_BEST, sweep.id, NULL);
        assert_true(json_is_null(json_object_get(body, "trial")) && json_is_null(json_object_get(body, "recommended")));
        assert_true(json_is_null(json_object_get(body, "posterior")));
        json_decref(body);
        run_trials(&sweep, 20);
        body = house_must(sweep.house, 200, ROUTE_SWEEP_BEST, sweep.id, NULL);
        json_t *posterior = json_object_get(body, "posterior"), *recommended = json_object_get(body, "recommended");
        double mean = json_number_value(json_object_get(posterior, "mean")), low = json_number_value(json_object_get(posterior, "low"));
        assert_true(low <= mean && mean <= json_number_value(json_object_get(posterior, "high")));
        assert_true(fabs(mean - json_number_value(json_object_get(recommended, "value"))) < 0.01);
        assert_true(json_is_boolean(json_object_get(body, "recommend_repeats")) && json_is_integer(json_object_get(body, "within_noise")));
        json_decref(body);
        sweep_close(&sweep);
}

static void importance_finds_the_parameter_that_matters(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        run_trials(&sweep, 30);
        json_t *body = house_must(sweep.house, 200, ROUTE_SWEEP_IMPORTANCE, sweep.id, NULL);
        json_t *parameters = json_object_get(body, "parameters"), *first = json_array_get(parameters, 0);
        assert_int_equal(json_array_size(parameters), 3);
        assert_string_equal(json_string_value(json_object_get(first, "parameter")), "x");
        assert_true(json_is_true(json_object_get(first, "distinguishable")) && json_number_value(json_object_get(first, "share")) > 0.8);
        for (size_t i = 1; i < 3; i++)
                assert_true(json_is_false(json_object_get(json_array_get(parameters, i), "distinguishable")));
        assert_true(json_is_null(json_object_get(body, "ofat")));
        assert_int_equal(number_of(body, "n"), 30);
        json_decref(body);
        sweep_close(&sweep);
}

static void a_slice_follows_the_function(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        run_trials(&sweep, 25);
        struct ask *ask = house_query(sweep.house, ROUTE_SWEEP_SLICE, sweep.id, "parameter", "x", NULL, NULL);
        assert_int_equal(ask->status, 200);
        json_t *points = json_object_get(ask->body, "points");
        assert_int_equal(json_array_size(points), 51);
        for (size_t i = 0; i < 51; i++) {
                json_t *point = json_array_get(points, i);
                double x = json_number_value(json_object_get(json_object_get(point, "params"), "x"));
                double miss = fabs(json_number_value(json_object_get(point, "mean")) - pow(x - 0.4, 2));
                assert_true(fabs(x - (double)i / 50) < 1e-9);
                assert_true(miss < 0.05 + 3 * json_number_value(json_object_get(point, "sd")));
        }
        ask_free(ask);
        ask = house_query(sweep.house, ROUTE_SWEEP_SLICE, sweep.id, "parameter", "c", "parameter2", "y");
        assert_int_equal(ask->status, 200);
        assert_int_equal(json_array_size(json_object_get(ask->body, "points")), 2 * 21);
        ask_free(ask);
        ask = house_query(sweep.house, ROUTE_SWEEP_SLICE, sweep.id, "parameter", "x", "parameter2", "nobody");
        assert_int_equal(ask->status, 422);
        assert_string_equal(text_of(json_array_get(json_object_get(ask->body, "errors"), 0), "pointer"), "/parameter2");
        ask_free(ask);
        ask = house_query(sweep.house, ROUTE_SWEEP_SLICE, sweep.id, NULL, NULL, NULL, NULL);
        assert_int_equal(ask->status, 422);
        ask_free(ask);
        sweep_close(&sweep);
}

static void questions_wait_without_holding_up_others(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        run_trials(&sweep, 10);
        sweep.house->hold_jobs = true;
        struct ask *first = house_ask(sweep.house, ROUTE_SWEEP_BEST, sweep.id, NULL);
        struct ask *second = house_ask(sweep.house, ROUTE_SWEEP_BEST, sweep.id, NULL);
        struct ask *third = house_ask(sweep.house, ROUTE_SWEEP_IMPORTANCE, sweep.id, NULL);
        assert_false(first->is_done || second->is_done || third->is_done);
        assert_int_equal(sweep.house->n_jobs, 2); /* both of the first kind share one */
        run_trials(&sweep, 1);
        sweep.house->hold_jobs = false;
        house_turn(sweep.house);
        assert_true(first->is_done && second->is_done && third->is_done);
        assert_int_equal(first->status, 200);
        assert_int_equal(second->status, 200);
        assert_int_equal(number_of(third->body, "n"), 10); /* as things stood when it was asked */
        ask_free(first);
        ask_free(second);
        ask_free(third);
        sweep.house->hold_jobs = true; /* known from now on, until there is new evidence */
        first = house_ask(sweep.house, ROUTE_SWEEP_IMPORTANCE, sweep.id, NULL);
        assert_false(first->is_done);
        sweep.house->hold_jobs = false;
        house_turn(sweep.house);
        assert_int_equal(number_of(first->body, "n"), 11);
        ask_free(first);
        sweep.house->hold_jobs = true;
        first = house_ask(sweep.house, ROUTE_SWEEP_IMPORTANCE, sweep.id, NULL);
        assert_true(first->is_done);
        ask_free(first);
        sweep_close(&sweep);
}

static void shutting_down_refuses_those_that_wait(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        run_trials(&sweep, 5);
        sweep.house->hold_jobs = true;
        struct ask *ask = house_ask(sweep.house, ROUTE_SWEEP_BEST, sweep.id, NULL);
        api_drain(sweep.house->api);
        assert_true(ask->is_done);
        assert_int_equal(ask->status, 503);
        ask_free(ask);
        sweep_close(&sweep);
}

static void a_deleted_sweep_has_no_answer(void **state) {
        struct sweep sweep;
        sweep_open(&sweep, state);
        run_trials(&sweep, 5);
        json_decref(house_must(sweep.house, 200, ROUTE_SWEEP_PATCH, sweep.id, "{'state':'paused'}"));
        sweep.house->hold_jobs = true;
        struct ask *ask = house_ask(sweep.house, ROUTE_SWEEP_BEST, sweep.id, NULL);
        json_decref(house_must(sweep.house, 204, ROUTE_SWEEP_DELETE, sweep.id, NULL));
        sweep.house->hold_jobs = false;
        house_turn(sweep.house);
        assert_int_equal(ask->status, 404);
        ask_free(ask);
        sweep_close(&sweep);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(best_tells_what_the_model_knows, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(importance_finds_the_parameter_that_matters, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_slice_follows_the_function, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(questions_wait_without_holding_up_others, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(shutting_down_refuses_those_that_wait, house_setup, house_teardown),
                cmocka_unit_test_setup_teardown(a_deleted_sweep_has_no_answer, house_setup, house_teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
