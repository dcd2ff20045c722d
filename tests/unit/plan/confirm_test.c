/* Repeats of configurations, confirm stages, and when a stage has begun. */
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

static void every_configuration_gets_its_repeats(void **state) {
        (void)state;
        static const char *const methods[] = {"random", "sobol", "bayes", "grid"};
        for (size_t m = 0; m < 4; m++) {
                struct bench b;
                char text[256], source[32];
                snprintf(text, sizeof text,
                         "{\"method\":\"%s\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"repeats\":3,"
                         "\"parameters\":{\"a\":{\"values\":[1,2,3,4,5]},\"b\":{\"values\":[\"x\",\"y\"]}}}",
                         methods[m]);
                open_bench(&b, text);
                json_t *before = NULL;
                for (int i = 0; i < 24; i++) {
                        enum plan_answer answer;
                        json_t *params = propose(&b, &answer, source, NULL);
                        assert_non_null(params);
                        assert_int_equal(strcmp(source, "repeat") == 0, i % 3 != 0);
                        if (before && i % 3 != 0)
                                assert_true(json_equal(params, before));
                        json_decref(before);
                        before = params;
                        if (i % 2) /* results come late */
                                plan_trial_state(b.plan, b.n - 1, TRIAL_COMPLETED, true, number(params, "a"));
                }
                json_decref(before);
                close_bench(&b);
        }
}

static const char confirm_spec[] =
        "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\",\"goal\":\"maximize\"},\"seed\":3,"
        "\"parameters\":{\"x\":{\"min\":0.0,\"max\":1.0}},"
        "\"stages\":[{\"method\":\"sobol\",\"run_cap\":12},{\"method\":\"confirm\",\"top_k\":2,\"repeats\":3}]}";

/* Best near 0.7; the trial's number gives some noise. */
static double noisy_peak(const json_t *params, uint64_t n) {
        return 1 - pow(number(params, "x") - 0.7, 2) + 0.001 * (double)(n * 7 % 5);
}

static void run_confirm(struct bench *b, uint64_t restart_at, json_t *list) {
        enum plan_answer answer;
        char source[32];
        for (;;) {
                if (b->n == restart_at) { /* the same events to a new plan */
                        struct error err;
                        struct plan *old = b->plan;
                        assert_int_equal(plan_new(b->spec, 7, b->spec->run_cap, &b->plan, &err), 0);
                        for (uint64_t i = 1; i <= b->n; i++) {
                                const json_t *params = json_array_get(list, (size_t)i - 1);
                                assert_int_equal(plan_trial_added(b->plan, i, i > 12, ORIGIN_PROPOSED, params), 0);
                                plan_trial_state(b->plan, i, TRIAL_COMPLETED, true, noisy_peak(params, i));
                        }
                        plan_free(old);
                        restart_at = 0;
                }
                json_t *params = propose(b, &answer, source, NULL);
                if (!params)
                        break;
                assert_int_equal(strcmp(source, "confirm") == 0, b->n > 12);
                plan_trial_state(b->plan, b->n, TRIAL_COMPLETED, true, noisy_peak(params, b->n));
                json_array_append_new(list, params);
        }
        assert_int_equal(answer, PLAN_EXHAUSTED);
}

static void a_confirm_stage_repeats_the_best_and_names_a_winner(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, confirm_spec);
        _cleanup_json_ json_t *list = json_array();
        run_confirm(&b, 0, list);
        assert_int_equal(json_array_size(list), 18);
        for (size_t i = 12; i < 18; i++) { /* in turns */
                assert_true(json_equal(json_array_get(list, i), json_array_get(list, 12 + i % 2)));
                assert_true(fabs(number(json_array_get(list, i), "x") - 0.7) < 0.25);
        }
        _cleanup_json_ json_t *stage = plan_describe_stage(b.plan);
        const json_t *confirmation = json_object_get(stage, "confirmation"), *finalists = json_object_get(confirmation, "finalists");
        assert_int_equal(json_array_size(finalists), 2);
        double confidence = json_number_value(json_object_get(confirmation, "confidence"));
        assert_true(confidence >= 0.5 && confidence <= 1);
        assert_true(json_is_integer(json_object_get(confirmation, "winner")));
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(json_integer_value(json_object_get(json_array_get(finalists, i), "n")), 3);
        close_bench(&b);
}

/* What the next proposal would be, as text; NULL when there is none. Nothing is added. */
static char *peek(struct plan *plan, enum plan_answer *ret_answer) {
        json_t *params = NULL, *proposal = NULL;
        unsigned stage;
        struct plan_job *job = NULL;
        struct error err;
        for (*ret_answer = PLAN_JOB; *ret_answer == PLAN_JOB;) {
                assert_int_equal(plan_next(plan, ret_answer, &params, &proposal, &stage, &job, &err), 0);
                if (*ret_answer == PLAN_JOB) {
                        plan_job_compute(job);
                        plan_job_finish(plan, job);
                }
        }
        char *text = *ret_answer == PLAN_TRIAL ? json_canonical(params) : NULL;
        json_decref(params);
        json_decref(proposal);
        return text;
}

static const char reopened_spec[] =
        "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\",\"goal\":\"maximize\"},\"seed\":3,\"baseline\":{\"a\":0.5,\"b\":0.5},"
        "\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0},\"b\":{\"min\":0.0,\"max\":1.0}},\"stages\":["
        "{\"method\":\"ofat\",\"levels\":{\"a\":[0.1],\"b\":[0.1]}},"
        "{\"method\":\"grid\",\"select_top\":1,\"values\":{\"a\":[0.7],\"b\":[0.7]}}]}";

/* A stage that has begun and has no trial yet: a retry of one before it makes it wait, and its beginning is another one then. */
static void a_stage_without_a_trial_begins_anew_after_a_retry(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, reopened_spec);
        struct plan *rebuilt;
        struct error err;
        enum plan_answer answer;
        char source[32];
        static const double values[] = {0.5, 0.9, 0.6}; /* baseline, a, b: a has the higher impact */
        assert_int_equal(plan_new(b.spec, 7, 0, &rebuilt, &err), 0);
        for (uint64_t i = 1; i <= 3; i++) {
                _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
                assert_int_equal(plan_trial_added(rebuilt, i, 0, ORIGIN_PROPOSED, params), 0);
                plan_trial_state(b.plan, i, TRIAL_COMPLETED, true, values[i - 1]);
                plan_trial_state(rebuilt, i, TRIAL_COMPLETED, true, values[i - 1]);
        }
        _cleanup_free_ char *first = peek(b.plan, &answer);
        assert_string_equal(first, "{\"a\":0.7,\"b\":0.5}");
        assert_int_equal(plan_stage(b.plan), 1);
        plan_trial_state(b.plan, 3, TRIAL_QUEUED, false, 0);
        plan_trial_state(rebuilt, 3, TRIAL_QUEUED, false, 0);
        assert_null(peek(b.plan, &answer));
        assert_int_equal(answer, PLAN_WAIT);
        assert_null(peek(rebuilt, &answer));
        assert_int_equal(answer, PLAN_WAIT);
        plan_trial_state(b.plan, 3, TRIAL_COMPLETED, true, 0.1);
        plan_trial_state(rebuilt, 3, TRIAL_COMPLETED, true, 0.1);
        _cleanup_free_ char *second = peek(b.plan, &answer), *theirs = peek(rebuilt, &answer);
        assert_string_equal(second, "{\"a\":0.7,\"b\":0.5}");
        assert_string_equal(theirs, second);
        plan_trial_state(b.plan, 3, TRIAL_COMPLETED, true, -0.9); /* now it is b */
        _cleanup_free_ char *third = peek(b.plan, &answer);
        assert_string_equal(third, "{\"a\":0.5,\"b\":0.7}");
        _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
        plan_trial_state(b.plan, 3, TRIAL_QUEUED, false, 0); /* it has a trial: it goes on, as its first trial tells every plan */
        assert_int_equal(plan_stage(b.plan), 1);
        plan_free(rebuilt);
        close_bench(&b);
}

/* A retry of a trial from before the confirm stage changes its value: the finalists stay, also of a plan made anew. */
static void finalists_are_those_of_when_their_stage_began(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, confirm_spec);
        struct plan *rebuilt;
        struct error err;
        enum plan_answer answer;
        char source[32];
        _cleanup_json_ json_t *list = json_array();
        assert_int_equal(plan_new(b.spec, 7, 0, &rebuilt, &err), 0);
        for (uint64_t i = 1; i <= 13; i++) {
                json_t *params = propose(&b, &answer, source, NULL);
                json_array_append_new(list, params);
                assert_int_equal(plan_trial_added(rebuilt, i, i > 12, ORIGIN_PROPOSED, params), 0);
                plan_trial_state(b.plan, i, TRIAL_COMPLETED, true, noisy_peak(params, i));
                plan_trial_state(rebuilt, i, TRIAL_COMPLETED, true, noisy_peak(params, i));
        }
        for (uint64_t i = 1; i <= 12; i++)
                if (fabs(number(json_array_get(list, i - 1), "x") - 0.7) > 0.3) {
                        plan_trial_state(b.plan, i, TRIAL_COMPLETED, true, 100);
                        plan_trial_state(rebuilt, i, TRIAL_COMPLETED, true, 100);
                }
        _cleanup_free_ char *mine = peek(b.plan, &answer), *theirs = peek(rebuilt, &answer);
        assert_non_null(mine);
        assert_string_equal(mine, theirs);
        plan_free(rebuilt);
        close_bench(&b);
}

static void a_rebuilt_plan_confirms_the_same(void **state) {
        (void)state;
        struct bench b;
        _cleanup_json_ json_t *undisturbed = json_array();
        open_bench(&b, confirm_spec);
        run_confirm(&b, 0, undisturbed);
        close_bench(&b);
        for (uint64_t at = 12; at < 18; at += 2) {
                _cleanup_json_ json_t *list = json_array();
                open_bench(&b, confirm_spec);
                run_confirm(&b, at, list);
                assert_true(json_equal(list, undisturbed));
                close_bench(&b);
        }
}

static void nothing_is_confirmed_where_nothing_completed(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, confirm_spec);
        enum plan_answer answer;
        char source[32];
        for (int i = 0; i < 12; i++) {
                json_decref(propose(&b, &answer, source, NULL));
                plan_trial_state(b.plan, b.n, TRIAL_FAILED, false, 0);
        }
        assert_null(propose(&b, &answer, source, NULL));
        assert_int_equal(answer, PLAN_EXHAUSTED);
        close_bench(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_configuration_gets_its_repeats),
                cmocka_unit_test(a_confirm_stage_repeats_the_best_and_names_a_winner),
                cmocka_unit_test(a_stage_without_a_trial_begins_anew_after_a_retry),
                cmocka_unit_test(finalists_are_those_of_when_their_stage_began),
                cmocka_unit_test(a_rebuilt_plan_confirms_the_same),
                cmocka_unit_test(nothing_is_confirmed_where_nothing_completed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
