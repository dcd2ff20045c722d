/* Conditions, constraints and ties through a plan, for every method. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bench.h"
#include "common/cleanup.h"
#include "common/json.h"

#define SPACE \
        "\"trainer\":\"external\",\"metric\":{\"name\":\"m\"}," \
        "\"parameters\":{\"opt\":{\"values\":[\"sgd\",\"adam\"]},\"sgd\":{\"parameters\":{\"momentum\":{\"values\":[0.1,0.5,0.9]}}}," \
        "\"beta\":{\"values\":[0.9,0.99]},\"a\":{\"values\":[1,2]},\"b\":{\"values\":[1,2]}}," \
        "\"conditions\":[{\"parameter\":\"sgd.momentum\",\"when\":{\"opt\":[\"sgd\"]}},{\"parameter\":\"beta\",\"when\":{\"opt\":[\"adam\"]}}]," \
        "\"tie\":[[\"a\",\"b\"]]"

/* Has the configuration exactly what its optimizer calls for, and one value for both tied parameters? */
static void assert_settled(const json_t *params) {
        bool is_sgd = strcmp(json_string_value(json_object_get(params, "opt")), "sgd") == 0;
        assert_true(is_sgd == (json_get_dotted(params, "sgd.momentum") != NULL));
        assert_true(is_sgd == (json_object_get(params, "sgd") != NULL)); /* no empty group stays */
        assert_true(is_sgd == (json_object_get(params, "beta") == NULL));
        assert_int_equal(json_integer_value(json_object_get(params, "a")), json_integer_value(json_object_get(params, "b")));
}

static double objective(const json_t *params) {
        const json_t *momentum = json_get_dotted(params, "sgd.momentum");
        return fabs((momentum ? json_number_value(momentum) : 0) - 0.5) + json_number_value(json_object_get(params, "a"));
}

static size_t run(struct bench *b, size_t max, enum plan_answer *ret_answer) {
        size_t n = 0;
        for (; n < max; n++) {
                _cleanup_json_ json_t *params = propose(b, ret_answer, NULL, NULL);
                if (!params)
                        break;
                assert_settled(params);
                plan_trial_state(b->plan, b->n, TRIAL_COMPLETED, true, objective(params));
        }
        return n;
}

static void a_grid_runs_each_settled_configuration_once(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"grid\"," SPACE "}");
        enum plan_answer answer;
        assert_int_equal(run(&b, 100, &answer), (3 + 2) * 2); /* momenta or betas, times a */
        assert_int_equal(answer, PLAN_EXHAUSTED);
        close_bench(&b);
}

static void drawn_and_modelled_configurations_are_settled(void **state) {
        (void)state;
        static const char *const methods[] = {"random", "sobol", "bayes"};
        for (size_t i = 0; i < 3; i++) {
                struct bench b;
                char text[1024];
                snprintf(text, sizeof text, "{\"method\":\"%s\",%s}", methods[i], SPACE);
                open_bench(&b, text);
                enum plan_answer answer;
                bool is_modelled = i == 2; /* the model tries each of the ten configurations once, and says that there are no more */
                assert_int_equal(run(&b, 12, &answer), is_modelled ? 10 : 12);
                assert_int_equal(answer, is_modelled ? PLAN_EXHAUSTED : PLAN_TRIAL);
                close_bench(&b);
        }
}

static void the_model_tries_every_settled_configuration_before_any_again(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"bayes\"," SPACE "}");
        _cleanup_json_ json_t *seen = json_object();
        for (int i = 0; i < 10; i++) {
                enum plan_answer answer;
                _cleanup_json_ json_t *params = propose(&b, &answer, NULL, NULL);
                _cleanup_free_ char *key = json_canonical(params);
                assert_null(json_object_get(seen, key));
                json_object_set_new(seen, key, json_true());
                plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, objective(params));
        }
        close_bench(&b);
}

static void constraints_hold_for_every_method(void **state) {
        (void)state;
        static const char *const methods[] = {"random", "sobol", "bayes", "grid"};
        for (size_t i = 0; i < 4; i++) {
                struct bench b;
                char text[1024];
                snprintf(text, sizeof text,
                         "{\"method\":\"%s\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{\"x\":{\"min\":0,\"max\":9},"
                         "\"y\":{\"min\":0,\"max\":9},\"c\":{\"value\":3}},\"constraints\":[{\"terms\":{\"x\":1,\"y\":2,\"c\":1},\"min\":8,\"max\":12}]}",
                         methods[i]);
                open_bench(&b, text);
                for (int k = 0; k < 15; k++) {
                        enum plan_answer answer;
                        _cleanup_json_ json_t *params = propose(&b, &answer, NULL, NULL);
                        assert_non_null(params);
                        int sum = (int)json_integer_value(json_object_get(params, "x")) + 2 * (int)json_integer_value(json_object_get(params, "y")) + 3;
                        assert_in_range(sum, 8, 12);
                        plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, sum);
                }
                close_bench(&b);
        }
}

static void a_held_parameter_counts_in_a_constraint_only_where_it_is_there(void **state) {
        (void)state;
        static const char *const methods[] = {"random", "sobol", "bayes"};
        for (size_t i = 0; i < 3; i++) {
                struct bench b;
                char text[1024];
                snprintf(text, sizeof text,
                         "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"baseline\":{\"momentum\":0.5},"
                         "\"parameters\":{\"opt\":{\"values\":[\"sgd\",\"adam\"]},\"momentum\":{\"min\":0.0,\"max\":1},\"lr\":{\"min\":0.0,\"max\":1}},"
                         "\"conditions\":[{\"parameter\":\"momentum\",\"when\":{\"opt\":[\"sgd\"]}}],"
                         "\"constraints\":[{\"terms\":{\"lr\":1,\"momentum\":1},\"min\":0.7,\"max\":1}],"
                         "\"stages\":[{\"method\":\"%s\",\"run_cap\":24,\"parameters\":{\"opt\":{\"values\":[\"sgd\",\"adam\"]},\"lr\":{\"min\":0.0,\"max\":1}}}]}",
                         methods[i]);
                open_bench(&b, text);
                size_t n_adam = 0;
                for (int k = 0; k < 24; k++) {
                        enum plan_answer answer;
                        _cleanup_json_ json_t *params = propose(&b, &answer, NULL, NULL);
                        assert_non_null(params);
                        double lr = json_number_value(json_object_get(params, "lr"));
                        bool is_adam = !json_object_get(params, "momentum");
                        n_adam += is_adam;
                        assert_true(lr + (is_adam ? 0 : 0.5) >= 0.7 - 1e-6 && lr + (is_adam ? 0 : 0.5) <= 1 + 1e-6);
                        plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, is_adam ? lr : lr + 0.1);
                }
                assert_true(n_adam > 0);
                close_bench(&b);
        }
}

static void a_constraint_that_nothing_meets_is_a_fault(void **state) {
        (void)state;
        struct bench b;
        struct faults faults = {0};
        open_bench(&b, "{\"method\":\"random\",\"trainer\":\"external\",\"parameters\":{\"x\":{\"min\":0,\"max\":9}},"
                       "\"constraints\":[{\"terms\":{\"x\":2},\"min\":7,\"max\":7}]}");
        assert_int_equal(plan_check(b.plan, "/constraints", &faults), SPEC_FAULTY);
        assert_string_equal(faults.items[0].pointer, "/constraints");
        faults_fini(&faults);
        enum plan_answer answer;
        assert_null(propose(&b, &answer, NULL, NULL)); /* and it ends rather than turns round for ever */
        assert_int_equal(answer, PLAN_EXHAUSTED);
        close_bench(&b);
}

static int complete(struct bench *b, const char *given_text, bool imported, struct faults *faults, json_t **ret) {
        struct error err;
        _cleanup_json_ json_t *given = NULL;
        assert_int_equal(json_read(given_text, strlen(given_text), &given, &err), 0);
        *faults = (struct faults){0};
        *ret = NULL;
        return plan_complete_params(b->plan, given, imported, "/params", faults, ret);
}

static void what_people_give_is_settled_or_refused(void **state) {
        (void)state;
        struct bench b;
        struct faults faults;
        json_t *params;
        open_bench(&b, "{\"method\":\"random\"," SPACE ",\"constraints\":[{\"terms\":{\"size\":1},\"max\":8}],\"baseline\":{\"size\":4}}");
        assert_int_equal(complete(&b, "{\"opt\":\"adam\",\"beta\":0.9,\"b\":2}", false, &faults, &params), 0);
        assert_settled(params);
        assert_int_equal(json_integer_value(json_object_get(params, "a")), 2);
        json_decref(params);

        assert_int_equal(complete(&b, "{\"opt\":\"adam\",\"a\":1}", false, &faults, &params), SPEC_FAULTY);
        assert_string_equal(faults.items[0].pointer, "/params/beta");
        faults_fini(&faults);
        assert_int_equal(complete(&b, "{\"opt\":\"sgd\",\"sgd\":{\"momentum\":0.5},\"a\":1,\"beta\":0.9}", false, &faults, &params), SPEC_FAULTY);
        assert_non_null(strstr(faults.items[0].detail, "inactive"));
        faults_fini(&faults);
        assert_int_equal(complete(&b, "{\"opt\":\"adam\",\"beta\":0.9,\"a\":1,\"b\":2}", false, &faults, &params), SPEC_FAULTY);
        assert_non_null(strstr(faults.items[0].detail, "same as 'a'"));
        faults_fini(&faults);
        assert_int_equal(complete(&b, "{\"opt\":\"adam\",\"beta\":0.9,\"a\":1,\"size\":9}", false, &faults, &params), SPEC_FAULTY);
        assert_non_null(strstr(faults.items[0].detail, "at most 8"));
        faults_fini(&faults);
        /* what was evaluated elsewhere stays evidence */
        assert_int_equal(complete(&b, "{\"opt\":\"sgd\",\"sgd\":{\"momentum\":0.5},\"a\":1,\"beta\":0.9,\"size\":9}", true, &faults, &params), 0);
        assert_null(json_object_get(params, "beta"));
        json_decref(params);
        close_bench(&b);
}

static void another_sweeps_configuration_is_adopted_where_it_fits(void **state) {
        (void)state;
        struct bench b;
        json_t *ours = NULL;
        open_bench(&b, "{\"method\":\"random\"," SPACE ",\"baseline\":{\"size\":4}}");
        _cleanup_json_ json_t *theirs = json_pack("{s:s, s:f, s:i, s:s}", "opt", "adam", "beta", 0.95, "a", 1, "colour", "blue");
        assert_int_equal(plan_adopt_params(b.plan, theirs, &ours), 0);
        assert_settled(ours);
        assert_int_equal(json_integer_value(json_object_get(ours, "size")), 4);
        assert_null(json_object_get(ours, "colour"));
        json_decref(ours);
        ours = NULL;
        json_object_del(theirs, "a");
        assert_int_equal(plan_adopt_params(b.plan, theirs, &ours), 0);
        assert_null(ours);
        close_bench(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_grid_runs_each_settled_configuration_once),
                cmocka_unit_test(drawn_and_modelled_configurations_are_settled),
                cmocka_unit_test(the_model_tries_every_settled_configuration_before_any_again),
                cmocka_unit_test(constraints_hold_for_every_method),
                cmocka_unit_test(a_held_parameter_counts_in_a_constraint_only_where_it_is_there),
                cmocka_unit_test(a_constraint_that_nothing_meets_is_a_fault),
                cmocka_unit_test(what_people_give_is_settled_or_refused),
                cmocka_unit_test(another_sweeps_configuration_is_adopted_where_it_fits),
        };
        return cmocka_run_group_tests_name("plan/relations", tests, NULL, NULL);
}
