/* A plan driven as the api drives it: ask, add, end, ask again. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "bench.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "plan/internal.h"

/* Proposes and ends trials until the answer is another one; value by a function of the params. */
static size_t run(struct bench *b, double (*objective)(const json_t *), enum plan_answer *ret_answer, unsigned until_stage) {
        size_t n = 0;
        char source[32];
        for (;; n++) {
                unsigned stage;
                json_t *params = propose(b, ret_answer, source, &stage);
                if (!params)
                        return n;
                plan_trial_state(b->plan, b->n, TRIAL_COMPLETED, true, objective(params));
                json_decref(params);
                if (stage >= until_stage)
                        return n + 1;
        }
}

static const char grid_spec[] = "{\"method\":\"grid\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{"
                                "\"b\":{\"values\":[\"x\",\"y\"]},\"a\":{\"min\":1,\"max\":3},\"c\":{\"value\":5}}}";

static void grid_sorts_by_name_and_varies_the_last_fastest(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, grid_spec);
        static const struct {
                int a;
                const char *b;
        } expected[] = {{1, "x"}, {1, "y"}, {2, "x"}, {2, "y"}, {3, "x"}, {3, "y"}};
        enum plan_answer answer;
        char source[32];
        for (size_t i = 0; i < 6; i++) {
                _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
                assert_non_null(params);
                assert_string_equal(source, "grid");
                assert_true(json_is_integer(json_object_get(params, "a")));
                assert_int_equal(json_integer_value(json_object_get(params, "a")), expected[i].a);
                assert_string_equal(json_string_value(json_object_get(params, "b")), expected[i].b);
                assert_int_equal(json_integer_value(json_object_get(params, "c")), 5);
        }
        assert_null(propose(&b, &answer, source, NULL));
        assert_int_equal(answer, PLAN_EXHAUSTED);
        assert_int_equal(plan_remaining(b.plan), 0);
        close_bench(&b);
}

static void grid_reuses_an_imported_configuration(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, grid_spec);
        json_t *import = json_pack("{s:f, s:s, s:i}", "a", 1.0, "b", "x", "c", 5);
        assert_int_equal(plan_trial_added(b.plan, ++b.n, 0, ORIGIN_IMPORTED, import), 0);
        json_decref(import);
        plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, 1);
        enum plan_answer answer;
        char source[32];
        _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
        assert_string_equal(json_string_value(json_object_get(params, "b")), "y");
        close_bench(&b);
}

static void run_cap_counts_proposals_and_enqueued_but_not_imports(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"random\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"run_cap\":3,"
                       "\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0}}}");
        json_t *params = json_pack("{s:f}", "a", 0.5);
        plan_trial_added(b.plan, ++b.n, 0, ORIGIN_IMPORTED, params);
        plan_trial_added(b.plan, ++b.n, 0, ORIGIN_ENQUEUED, params);
        json_decref(params);
        assert_int_equal(plan_remaining(b.plan), 2);
        enum plan_answer answer;
        char source[32];
        for (int i = 0; i < 2; i++)
                json_decref(propose(&b, &answer, source, NULL));
        assert_null(propose(&b, &answer, source, NULL));
        assert_int_equal(answer, PLAN_EXHAUSTED);
        plan_set_run_cap(b.plan, 4);
        params = propose(&b, &answer, source, NULL);
        assert_non_null(params);
        json_decref(params);
        close_bench(&b);
}

static const char staged_spec[] =
        "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\",\"goal\":\"maximize\"},"
        "\"baseline\":{\"lr\":5e-5,\"wd\":0.0,\"drop\":0.1,\"eps\":1e-8},"
        "\"parameters\":{\"lr\":{\"distribution\":\"log_uniform_values\",\"min\":1e-5,\"max\":5e-5},\"wd\":{\"min\":0.0,\"max\":0.1}},"
        "\"stages\":[{\"method\":\"ofat\",\"levels\":{\"lr\":[2e-5,2e-4],\"wd\":[0.0,0.1],\"drop\":[0.0,0.2],\"eps\":[1e-6]}},"
        "{\"method\":\"grid\",\"select_top\":2,\"values\":{\"lr\":[1e-5,5e-5],\"wd\":[0.0,0.05],\"drop\":[0.1,0.3]}},"
        "{\"method\":\"bayes\",\"select_top\":2,\"run_cap\":6,\"warm_start\":true}]}";

/* lr matters most, then drop, then wd; eps not at all. */
static double surface(const json_t *p) {
        double l = (number(p, "lr") - 3e-5) / 1e-4, d = number(p, "drop") - 0.15;
        return 1 - l * l - 2 * d * d - 0.1 * number(p, "wd");
}

static void ofat_runs_the_baseline_first_and_changes_one_factor_at_a_time(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        enum plan_answer answer;
        char source[32];
        _cleanup_json_ json_t *base = propose(&b, &answer, source, NULL);
        assert_string_equal(source, "baseline");
        assert_true(number(base, "lr") == 5e-5 && number(base, "eps") == 1e-8);
        static const char *const changed[] = {"lr", "lr", "wd", "drop", "drop", "eps"}; /* wd 0.0 is the baseline: reused */
        for (size_t i = 0; i < 6; i++) {
                _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
                assert_non_null(params);
                assert_string_equal(source, "ofat");
                const char *key;
                json_t *value;
                json_object_foreach(params, key, value)
                        assert_int_equal(json_equal(value, json_object_get(base, key)), strcmp(key, changed[i]) != 0);
        }
        assert_null(propose(&b, &answer, source, NULL));
        assert_int_equal(answer, PLAN_WAIT); /* the stage's trials have not ended */
        close_bench(&b);
}

static void stages_select_by_impact_and_keep_the_others_at_the_baseline(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        enum plan_answer answer;
        size_t n = run(&b, surface, &answer, 1); /* up to the first grid trial */
        assert_int_equal(n, 8);
        _cleanup_json_ json_t *stage = plan_describe_stage(b.plan);
        json_t *selected = json_object_get(stage, "selected");
        assert_int_equal(json_array_size(selected), 2);
        assert_string_equal(json_string_value(json_array_get(selected, 0)), "lr");
        assert_string_equal(json_string_value(json_array_get(selected, 1)), "drop");
        n += run(&b, surface, &answer, 2);
        /* The grid is drop × lr: {0.1,0.3} × {1e-5,5e-5}; (0.1, 5e-5) is the baseline and reused: 3 trials, then Bayes. */
        assert_int_equal(n, 8 + 2 + 1);
        json_t *again = plan_describe_stage(b.plan);
        /* Bayes can vary its parameters only: lr and wd. */
        assert_string_equal(json_string_value(json_array_get(json_object_get(again, "selected"), 0)), "lr");
        assert_string_equal(json_string_value(json_array_get(json_object_get(again, "selected"), 1)), "wd");
        json_decref(again);
        n = run(&b, surface, &answer, 9);
        assert_int_equal(n, 5);
        assert_int_equal(answer, PLAN_EXHAUSTED);
        close_bench(&b);
}

static void bayes_stage_holds_the_factors_it_does_not_vary(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        enum plan_answer answer;
        run(&b, surface, &answer, 2);
        char source[32];
        for (int i = 0; i < 3; i++) {
                unsigned stage;
                _cleanup_json_ json_t *params = propose(&b, &answer, source, &stage);
                assert_int_equal(stage, 2);
                assert_true(number(params, "drop") == 0.1 && number(params, "eps") == 1e-8);
                assert_in_range((unsigned)(number(params, "lr") * 1e6 + 0.5), 10, 50);
                assert_true(strcmp(source, "sobol") != 0 && strcmp(source, "random") != 0); /* warm-started: the model speaks at once */
        }
        close_bench(&b);
}

static double diverging(const json_t *p) {
        return number(p, "lr") > 1e-4 ? -1 : surface(p);
}

static void a_failed_level_counts_as_the_worst_seen(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        enum plan_answer answer;
        char source[32];
        for (;;) {
                _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
                if (!params)
                        break;
                if (diverging(params) == -1)
                        plan_trial_state(b.plan, b.n, TRIAL_FAILED, false, 0);
                else
                        plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, strcmp(source, "ofat") == 0 && number(params, "eps") > 1e-7 ? 0.2 : 0.9);
                if (json_number_value(json_object_get(params, "eps")) > 1e-7)
                        break;
        }
        _cleanup_json_ json_t *stage = plan_describe_stage(b.plan);
        json_t *first = json_array_get(json_object_get(stage, "impacts"), 0);
        /* Worst seen is eps' 0.2; lr's failed level takes it: both have impact 0.7, lr comes first in the spec. */
        assert_string_equal(json_string_value(json_object_get(first, "parameter")), "lr");
        assert_true(json_real_value(json_object_get(first, "impact")) > 0.69);
        close_bench(&b);
}

static void a_rebuilt_plan_proposes_the_same(void **state) {
        (void)state;
        struct bench a, b;
        open_bench(&a, staged_spec);
        open_bench(&b, staged_spec);
        char source[32];
        enum plan_answer answer;
        for (int i = 0; i < 14; i++) {
                unsigned stage;
                _cleanup_json_ json_t *params = propose(&a, &answer, source, &stage);
                assert_non_null(params);
                plan_trial_state(a.plan, a.n, TRIAL_COMPLETED, true, surface(params));
                assert_int_equal(plan_trial_added(b.plan, ++b.n, stage, ORIGIN_PROPOSED, params), 0);
                plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, surface(params));
        }
        _cleanup_json_ json_t *x = propose(&a, &answer, source, NULL), *y = propose(&b, &answer, source, NULL);
        assert_true(json_equal(x, y));
        close_bench(&a);
        close_bench(&b);
}

static void a_stale_job_is_computed_again(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"bayes\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0}}}");
        char source[32];
        enum plan_answer answer;
        _cleanup_json_ json_t *first = propose(&b, &answer, source, NULL);
        struct plan_job *job = NULL;
        json_t *params = NULL, *proposal = NULL;
        unsigned stage;
        struct error err;
        assert_int_equal(plan_next(b.plan, &answer, &params, &proposal, &stage, &job, &err), 0);
        assert_int_equal(answer, PLAN_JOB);
        enum plan_answer meanwhile;
        struct plan_job *other;
        assert_int_equal(plan_next(b.plan, &meanwhile, &params, &proposal, &stage, &other, &err), 0);
        assert_int_equal(meanwhile, PLAN_WAIT);
        plan_trial_state(b.plan, 1, TRIAL_COMPLETED, true, 0.5); /* new evidence overtakes the job */
        plan_job_compute(job);
        plan_job_finish(b.plan, job);
        assert_int_equal(plan_next(b.plan, &answer, &params, &proposal, &stage, &job, &err), 0);
        assert_int_equal(answer, PLAN_JOB);
        plan_job_free(job);
        close_bench(&b);
}

static enum plan_answer ask(struct bench *b, struct plan_job **ret_job) {
        json_t *params = NULL, *proposal = NULL;
        unsigned stage;
        enum plan_answer answer;
        struct error err;
        assert_int_equal(plan_next(b->plan, &answer, &params, &proposal, &stage, ret_job, &err), 0);
        json_decref(params);
        json_decref(proposal);
        return answer;
}

/* Two trials for the model, one that runs. */
static void open_modelled_bench(struct bench *b) {
        open_bench(b, "{\"method\":\"bayes\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0}}}");
        char source[32];
        enum plan_answer answer;
        for (uint64_t i = 1; i <= 40; i++) {
                json_decref(propose(b, &answer, source, NULL));
                if (i < 40)
                        plan_trial_state(b->plan, i, TRIAL_COMPLETED, true, (double)(i * 7 % 11));
        }
}

static void what_a_result_overtakes_gives_up(void **state) {
        (void)state;
        struct bench b, other;
        open_modelled_bench(&b);
        open_modelled_bench(&other);
        struct plan_job *job;
        for (int overtaken = 0; overtaken < 3; overtaken++) {
                assert_int_equal(ask(&b, &job), PLAN_JOB);
                assert_false(atomic_load(&job->stop));
                plan_trial_state(b.plan, 40, TRIAL_COMPLETED, true, overtaken);
                assert_true(atomic_load(&job->stop));
                plan_job_compute(job);
                assert_int_equal(job->result, -ECANCELED);
                plan_job_finish(b.plan, job);
        }
        assert_int_equal(ask(&b, &job), PLAN_TRIAL); /* that often in a row: computed at once, so that it comes to an end */
        plan_trial_state(other.plan, 40, TRIAL_COMPLETED, true, 2);
        char source[32];
        enum plan_answer answer;
        _cleanup_json_ json_t *one = propose(&b, &answer, source, NULL), *two = propose(&other, &answer, source, NULL);
        assert_true(one && json_equal(one, two));
        close_bench(&b);
        close_bench(&other);
}

static void what_is_prepared_between_results_changes_no_proposal(void **state) {
        (void)state;
        struct bench plain, prepared;
        open_modelled_bench(&plain);
        open_modelled_bench(&prepared);
        struct plan_job *job, *again;
        for (uint64_t i = 40; i < 46; i++) {
                char source[32];
                enum plan_answer answer;
                assert_int_equal(plan_prepare(prepared.plan, &job), 0);
                assert_non_null(job);
                assert_int_equal(plan_prepare(prepared.plan, &again), 0);
                assert_null(again);
                if (i == 44) { /* a proposal that is ready is given meanwhile */
                        assert_int_equal(ask(&prepared, &again), PLAN_WAIT);
                        plan_job_finish(prepared.plan, job);
                        assert_int_equal(plan_ahead(prepared.plan, &job), 0);
                        assert_null(job); /* no result since the last one was made */
                        assert_int_equal(ask(&prepared, &job), PLAN_JOB);
                        plan_job_compute(job);
                        plan_job_finish(prepared.plan, job);
                        plan_trial_state(prepared.plan, i - 1, TRIAL_COMPLETED, true, (double)((i - 1) * 5 % 11)); /* told again: nothing new */
                        assert_int_equal(ask(&prepared, &job), PLAN_TRIAL);
                } else {
                        if (i % 2)
                                plan_trial_state(prepared.plan, i, TRIAL_COMPLETED, true, (double)(i * 5 % 11)); /* while it computes: it still serves */
                        assert_false(atomic_load(&job->stop));
                        plan_job_compute(job);
                        assert_int_equal(job->result, 0);
                        plan_job_finish(prepared.plan, job);
                }
                plan_trial_state(prepared.plan, i, TRIAL_COMPLETED, true, (double)(i * 5 % 11));
                plan_trial_state(plain.plan, i, TRIAL_COMPLETED, true, (double)(i * 5 % 11));
                _cleanup_json_ json_t *one = propose(&plain, &answer, source, NULL), *other = propose(&prepared, &answer, source, NULL);
                assert_true(one && json_equal(one, other));
        }
        close_bench(&plain);
        close_bench(&prepared);
}

/* Five at a time, whose ends come out of order: a plan that is made anew from the same events, one that never prepares, and one that does, propose
 * the same; where somebody prepares nothing is left to find when a trial has ended. */
static void ends_out_of_order_are_prepared_for_and_survive_a_restart(void **state) {
        (void)state;
        static const char spec[] = "{\"method\":\"bayes\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},"
                                   "\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0},\"b\":{\"values\":[1,2,3]}}}";
        struct bench plain, prepared, anew;
        struct told {
                uint64_t number;
                json_t *params; /* NULL: it ended */
        } told[200];
        size_t n_told = 0, n_running = 0;
        uint64_t running[6], drawn = 1;
        open_bench(&plain, spec);
        open_bench(&prepared, spec);
        while (prepared.n < 60) {
                char source[32];
                enum plan_answer answer;
                struct plan_job *job;
                json_t *one = propose(&plain, &answer, source, NULL), *other = propose(&prepared, &answer, source, NULL);
                assert_true(one && json_equal(one, other));
                json_decref(other);
                if (prepared.n == 35 || prepared.n == 60) {
                        open_bench(&anew, spec);
                        for (size_t i = 0; i < n_told; i++)
                                if (told[i].params)
                                        assert_int_equal(plan_trial_added(anew.plan, told[i].number, 0, ORIGIN_PROPOSED, told[i].params), 0);
                                else
                                        plan_trial_state(anew.plan, told[i].number, TRIAL_COMPLETED, true, (double)(told[i].number * 7 % 11));
                        anew.n = prepared.n - 1;
                        _cleanup_json_ json_t *third = propose(&anew, &answer, source, NULL);
                        assert_true(json_equal(one, third));
                        close_bench(&anew);
                }
                told[n_told++] = (struct told){prepared.n, one};
                running[n_running++] = prepared.n;
                assert_int_equal(plan_prepare(prepared.plan, &job), 0);
                if (job) {
                        plan_job_compute(job);
                        plan_job_finish(prepared.plan, job);
                }
                if (n_running < 6)
                        continue;
                drawn = drawn * 5 % 23;
                size_t which = drawn % n_running;
                uint64_t number = running[which];
                running[which] = running[--n_running];
                plan_trial_state(plain.plan, number, TRIAL_COMPLETED, true, (double)(number * 7 % 11));
                plan_trial_state(prepared.plan, number, TRIAL_COMPLETED, true, (double)(number * 7 % 11));
                told[n_told++] = (struct told){.number = number};
        }
        assert_true(prepared.plan->memory_use.proposals > 20);
        assert_int_equal(prepared.plan->memory_use.ready, prepared.plan->memory_use.proposals);
        _cleanup_json_ json_t *snapshot = plan_snapshot(prepared.plan, 0);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(snapshot, "hyperparameters"), "ready")), prepared.plan->memory_use.ready);
        for (size_t i = 0; i < n_told; i++)
                json_decref(told[i].params);
        close_bench(&plain);
        close_bench(&prepared);
}

static void a_preparation_two_results_old_gives_up(void **state) {
        (void)state;
        struct bench b;
        open_modelled_bench(&b);
        char source[32];
        enum plan_answer answer;
        json_decref(propose(&b, &answer, source, NULL));
        struct plan_job *job, *other;
        assert_int_equal(plan_prepare(b.plan, &job), 0);
        plan_trial_state(b.plan, 40, TRIAL_COMPLETED, true, 1);
        assert_false(atomic_load(&job->stop));
        assert_int_equal(ask(&b, &other), PLAN_WAIT);
        plan_trial_state(b.plan, 41, TRIAL_FAILED, false, 0);
        assert_true(atomic_load(&job->stop));
        plan_job_compute(job);
        assert_int_equal(job->result, -ECANCELED);
        plan_job_finish(b.plan, job);
        assert_int_equal(ask(&b, &job), PLAN_JOB);
        plan_job_free(job);
        close_bench(&b);
}

/* After three that were overtaken, one that came in time is given as it is: nothing is computed again on the thread that answers. */
static void a_ready_proposal_is_given_however_many_were_overtaken(void **state) {
        (void)state;
        struct bench b;
        open_modelled_bench(&b);
        struct plan_job *job;
        for (int overtaken = 0; overtaken < 3; overtaken++) {
                assert_int_equal(ask(&b, &job), PLAN_JOB);
                plan_trial_state(b.plan, 40, TRIAL_COMPLETED, true, overtaken);
                plan_job_compute(job);
                plan_job_finish(b.plan, job);
        }
        assert_int_equal(plan_ahead(b.plan, &job), 0);
        assert_non_null(job);
        plan_job_compute(job);
        plan_job_finish(b.plan, job);
        _cleanup_json_ json_t *ready = json_incref(b.plan->ready_params);
        assert_non_null(ready);
        assert_int_equal(ask(&b, &job), PLAN_TRIAL);
        assert_ptr_equal(b.plan->ready_params, ready);
        close_bench(&b);
}

static void nothing_is_prepared_for_a_stage_that_proposes_no_more(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0}},"
                       "\"stages\":[{\"method\":\"bayes\",\"run_cap\":41},{\"method\":\"random\",\"run_cap\":3}]}");
        char source[32];
        enum plan_answer answer;
        struct plan_job *job;
        for (uint64_t i = 1; i <= 41; i++) {
                json_decref(propose(&b, &answer, source, NULL));
                if (i == 40) {
                        assert_int_equal(plan_prepare(b.plan, &job), 0);
                        assert_non_null(job);
                        plan_job_finish(b.plan, job);
                }
                if (i < 41)
                        plan_trial_state(b.plan, i, TRIAL_COMPLETED, true, (double)(i * 7 % 11));
        }
        assert_int_equal(plan_prepare(b.plan, &job), 0);
        assert_null(job);
        assert_int_equal(ask(&b, &job), PLAN_WAIT); /* for the last trial */
        close_bench(&b);
}

static void proposals_computed_ahead_are_the_ones_that_would_have_been_made(void **state) {
        (void)state;
        static const char spec[] = "{\"method\":\"bayes\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"run_cap\":14,"
                                   "\"parameters\":{\"a\":{\"min\":0.0,\"max\":1.0},\"b\":{\"values\":[1,2,3]}}}";
        struct bench plain, ahead;
        open_bench(&plain, spec);
        open_bench(&ahead, spec);
        unsigned n_used = 0, n_modelled = 0;
        for (uint64_t i = 0; i < 14; i++) {
                char source[32];
                enum plan_answer answer;
                struct plan_job *job = NULL;
                if (i >= 2) { /* two run at a time; the older one ends */
                        plan_trial_state(plain.plan, i - 1, TRIAL_COMPLETED, true, (double)(i * 7 % 5));
                        plan_trial_state(ahead.plan, i - 1, TRIAL_COMPLETED, true, (double)(i * 7 % 5));
                }
                assert_int_equal(plan_ahead(ahead.plan, &job), 0);
                assert_int_equal(job != NULL, i >= 2);
                if (job) {
                        struct plan_job *again;
                        assert_int_equal(plan_ahead(ahead.plan, &again), 0);
                        assert_null(again);
                        plan_job_compute(job);
                        plan_job_finish(ahead.plan, job);
                        json_t *params, *proposal;
                        unsigned stage;
                        struct error err;
                        assert_int_equal(plan_next(ahead.plan, &answer, &params, &proposal, &stage, &job, &err), 0);
                        assert_int_equal(answer, PLAN_TRIAL); /* at once */
                        const json_t *lengths = json_object_get(proposal, "length_scales");
                        assert_int_equal(json_object_size(lengths), json_object_get(proposal, "log_ei") ? 2 : 0);
                        n_modelled += lengths && json_number_value(json_object_get(lengths, "a")) > 0;
                        json_decref(params);
                        json_decref(proposal);
                        n_used++;
                }
                _cleanup_json_ json_t *one = propose(&plain, &answer, source, NULL), *other = propose(&ahead, &answer, source, NULL);
                assert_true(one && other && json_equal(one, other));
                assert_int_equal(plan_ahead(ahead.plan, &job), 0);
                assert_null(job); /* no result since */
        }
        assert_int_equal(n_used, 12);
        assert_true(n_modelled >= 6);
        plan_trial_state(ahead.plan, 13, TRIAL_COMPLETED, true, 1);
        struct plan_job *job;
        assert_int_equal(plan_ahead(ahead.plan, &job), 0);
        assert_null(job); /* run_cap */
        close_bench(&plain);
        close_bench(&ahead);
}

static void pause_after_waits_for_permission(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"parameters\":{\"a\":{\"values\":[1,2]}},"
                       "\"baseline\":{\"a\":1},\"stages\":[{\"method\":\"grid\",\"values\":{\"a\":[1,2]},\"pause_after\":true},"
                       "{\"method\":\"grid\",\"values\":{\"a\":[3]}}]}");
        char source[32];
        enum plan_answer answer;
        for (int i = 0; i < 2; i++) {
                json_decref(propose(&b, &answer, source, NULL));
                plan_trial_state(b.plan, b.n, TRIAL_COMPLETED, true, 1);
        }
        assert_null(propose(&b, &answer, source, NULL));
        assert_int_equal(answer, PLAN_PAUSE);
        plan_allow_stage(b.plan, 1);
        _cleanup_json_ json_t *params = propose(&b, &answer, source, NULL);
        assert_int_equal(json_integer_value(json_object_get(params, "a")), 3);
        close_bench(&b);
}

static void completing_names_every_fault_and_fills_in_the_baseline(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        struct faults faults = {0};
        json_t *params = NULL;
        _cleanup_json_ json_t *given = json_pack("{s:f}", "lr", 2e-5);
        assert_int_equal(plan_complete_params(b.plan, given, false, "/params", &faults, &params), 0);
        assert_true(number(params, "drop") == 0.1 && number(params, "lr") == 2e-5);
        json_decref(params);
        _cleanup_json_ json_t *bad = json_pack("{s:s, s:i}", "lr", "fast", "banana", 1);
        assert_int_equal(plan_complete_params(b.plan, bad, false, "/params", &faults, &params), SPEC_FAULTY);
        assert_int_equal(faults.n, 2);
        faults_fini(&faults);
        close_bench(&b);
}

static void trial_seeds_depend_on_seed_and_number_only(void **state) {
        (void)state;
        assert_true(plan_trial_seed(1, 1) == plan_trial_seed(1, 1));
        assert_true(plan_trial_seed(1, 1) != plan_trial_seed(1, 2) && plan_trial_seed(1, 1) != plan_trial_seed(2, 1));
        for (uint64_t i = 0; i < 1000; i++)
                assert_true(plan_trial_seed(i, i * 31) < (UINT64_C(1) << 53));
}

/* --- a history that stays in the store --------------------------------------------------------------------- */

struct events {
        struct plan *to;
        json_t *params[8];
        enum trial_origin origins[8];
        size_t n;
        unsigned n_loads, n_failures; /* failures: loads that are still to fail, half-way */
};

static int load_events(void *data) {
        struct events *events = data;
        events->n_loads++;
        for (size_t i = 0; i < events->n; i++) {
                if (i > 2 && events->n_failures > 0) {
                        events->n_failures--;
                        return -EIO;
                }
                assert_int_equal(plan_trial_added(events->to, i + 1, 0, events->origins[i], events->params[i]), 0);
                if (i != 3) /* that one is still open */
                        plan_trial_state(events->to, i + 1, i == 4 ? TRIAL_FAILED : TRIAL_COMPLETED, i != 4, 1.0 + (double)i);
        }
        return 0;
}

/* What the plan says of itself and proposes next, as text. */
static char *next_of(struct plan *plan) {
        struct error err;
        enum plan_answer answer;
        _cleanup_json_ json_t *params = NULL, *proposal = NULL;
        unsigned stage = 0;
        struct plan_job *job = NULL;
        int64_t remaining = plan_remaining(plan);
        _cleanup_json_ json_t *described = plan_describe_stage(plan);
        int r = plan_next(plan, &answer, &params, &proposal, &stage, &job, &err);
        if (r == 0 && answer == PLAN_JOB) {
                plan_job_compute(job);
                plan_job_finish(plan, job);
                r = plan_next(plan, &answer, &params, &proposal, &stage, &job, &err);
        }
        if (r < 0)
                return NULL;
        _cleanup_json_ json_t *all = json_pack("{s:I, s:O, s:i, s:O?, s:O?}", "remaining", (json_int_t)remaining, "stage", described, "answer",
                                               (int)answer, "params", params, "proposal", proposal);
        return json_text(all);
}

/* The same events for two plans: one is fed, the other is told how many there are, and then of two more as they happen. */
static void check_deferred(const char *text, bool looks) {
        struct bench fed, deferred;
        open_bench(&fed, text);
        open_bench(&deferred, text);
        struct events events = {.to = fed.plan, .n = 6};
        for (size_t i = 0; i < 6; i++) {
                events.params[i] = json_pack("{s:f, s:i}", "x", 0.1 * (double)i, "n", (int)i % 3 + 1);
                events.origins[i] = i == 5 ? ORIGIN_IMPORTED : i == 2 ? ORIGIN_ENQUEUED : ORIGIN_PROPOSED;
        }
        load_events(&events);
        events.to = deferred.plan;
        events.n_loads = 0;
        assert_true(plan_defer(deferred.plan, load_events, &events));
        static const struct plan_tally tallies[] = {{0, ORIGIN_PROPOSED, TRIAL_COMPLETED, 2}, {0, ORIGIN_PROPOSED, TRIAL_QUEUED, 1},
                                                    {0, ORIGIN_PROPOSED, TRIAL_FAILED, 1},    {0, ORIGIN_ENQUEUED, TRIAL_COMPLETED, 1},
                                                    {0, ORIGIN_IMPORTED, TRIAL_COMPLETED, 1}};
        for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++)
                plan_tally(deferred.plan, &tallies[i]);
        struct plan *plans[] = {fed.plan, deferred.plan};
        events.params[6] = json_pack("{s:f, s:i}", "x", 0.75, "n", 3);
        events.origins[6] = ORIGIN_PROPOSED;
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(plan_trial_added(plans[i], 7, 0, ORIGIN_PROPOSED, events.params[6]), 0);
                plan_trial_state(plans[i], 7, TRIAL_COMPLETED, true, 7.0);
                plan_trial_state(plans[i], 5, TRIAL_QUEUED, false, 0);
                plan_trial_state(plans[i], 5, TRIAL_FAILED, false, 0);
        }
        events.n = 7;
        events.n_failures = looks ? 1 : 0;
        if (looks)
                assert_null(next_of(deferred.plan)); /* the store could not be read */
        for (size_t i = 0; i < 2; i++) {
                _cleanup_free_ char *expected = next_of(fed.plan), *got = next_of(deferred.plan);
                assert_string_equal(got, expected);
        }
        assert_int_equal(events.n_loads, looks ? 2 : 0);
        for (size_t i = 0; i < 7; i++)
                json_decref(events.params[i]);
        close_bench(&fed);
        close_bench(&deferred);
}

#define DEFERRED(method, more) \
        "{\"method\":\"" method "\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"run_cap\":20,\"seed\":3," \
        "\"parameters\":{" more ",\"n\":{\"values\":[1,2,3]}}}"

static void a_deferred_plan_answers_as_one_that_was_fed(void **state) {
        (void)state;
        check_deferred(DEFERRED("random", "\"x\":{\"min\":0.0,\"max\":1.0}"), false);
        check_deferred(DEFERRED("sobol", "\"x\":{\"min\":0.0,\"max\":1.0}"), false);
        check_deferred(DEFERRED("bayes", "\"x\":{\"min\":0.0,\"max\":1.0}"), true);
        check_deferred(DEFERRED("grid", "\"x\":{\"values\":[0.0,0.1,0.75]}"), true);
}

static void questions_about_very_long_histories_are_answered_without_reading_them(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, DEFERRED("random", "\"x\":{\"min\":0.0,\"max\":1.0}"));
        struct events events = {.to = b.plan};
        assert_true(plan_defer(b.plan, load_events, &events));
        plan_tally(b.plan, &(struct plan_tally){0, ORIGIN_IMPORTED, TRIAL_COMPLETED, 1000000});
        static const enum plan_question questions[] = {PLAN_ASKS_BEST, PLAN_ASKS_IMPORTANCE, PLAN_ASKS_SLICE};
        for (size_t i = 0; i < 3; i++) {
                struct plan_job *job = NULL;
                assert_int_equal(plan_ask(b.plan, questions[i], i == 2 ? "x" : NULL, NULL, &job), 0);
                plan_job_compute(job);
                _cleanup_json_ json_t *answer = plan_job_answer(job, b.plan);
                plan_job_free(job);
                assert_non_null(strstr(json_string_value(json_object_get(answer, "detail")), "too many trials"));
        }
        assert_int_equal(events.n_loads, 0);
        close_bench(&b);
}

static void random_points_keep_no_history_that_no_question_looks_at(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, "{\"method\":\"random\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\"},\"seed\":3,\"run_cap\":30000,"
                       "\"parameters\":{\"x\":{\"min\":0.0,\"max\":1.0}}}");
        struct events events = {.to = b.plan};
        assert_true(plan_defer(b.plan, load_events, &events));
        struct plan_job *job = NULL;
        assert_int_equal(plan_ask(b.plan, PLAN_ASKS_BEST, NULL, NULL, &job), 0);
        plan_job_free(job);
        assert_int_equal(events.n_loads, 1);
        _cleanup_json_ json_t *params = json_pack("{s:f}", "x", 0.5);
        for (uint64_t i = 1; i <= 20001; i++) {
                _cleanup_json_ json_t *snapshot = i == 20000 ? plan_snapshot(b.plan, 1) : NULL;
                if (snapshot)
                        assert_true(json_is_false(json_object_get(snapshot, "deferred")));
                assert_int_equal(plan_trial_added(b.plan, i, 0, ORIGIN_PROPOSED, params), 0);
                plan_trial_state(b.plan, i, TRIAL_COMPLETED, true, (double)i);
        }
        _cleanup_json_ json_t *snapshot = plan_snapshot(b.plan, 1);
        assert_true(json_is_true(json_object_get(snapshot, "deferred")));
        assert_int_equal(json_array_size(json_object_get(snapshot, "trials")), 0);
        assert_int_equal(plan_remaining(b.plan), 30000 - 20001);
        assert_int_equal(events.n_loads, 1);
        close_bench(&b);
}

static void a_plan_of_several_stages_is_not_deferred(void **state) {
        (void)state;
        struct bench b;
        open_bench(&b, staged_spec);
        struct events events = {.to = b.plan};
        assert_false(plan_defer(b.plan, load_events, &events));
        close_bench(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(grid_sorts_by_name_and_varies_the_last_fastest),
                cmocka_unit_test(grid_reuses_an_imported_configuration),
                cmocka_unit_test(run_cap_counts_proposals_and_enqueued_but_not_imports),
                cmocka_unit_test(ofat_runs_the_baseline_first_and_changes_one_factor_at_a_time),
                cmocka_unit_test(stages_select_by_impact_and_keep_the_others_at_the_baseline),
                cmocka_unit_test(bayes_stage_holds_the_factors_it_does_not_vary),
                cmocka_unit_test(a_failed_level_counts_as_the_worst_seen),
                cmocka_unit_test(a_rebuilt_plan_proposes_the_same),
                cmocka_unit_test(a_stale_job_is_computed_again),
                cmocka_unit_test(what_a_result_overtakes_gives_up),
                cmocka_unit_test(what_is_prepared_between_results_changes_no_proposal),
                cmocka_unit_test(ends_out_of_order_are_prepared_for_and_survive_a_restart),
                cmocka_unit_test(a_preparation_two_results_old_gives_up),
                cmocka_unit_test(a_ready_proposal_is_given_however_many_were_overtaken),
                cmocka_unit_test(nothing_is_prepared_for_a_stage_that_proposes_no_more),
                cmocka_unit_test(proposals_computed_ahead_are_the_ones_that_would_have_been_made),
                cmocka_unit_test(pause_after_waits_for_permission),
                cmocka_unit_test(completing_names_every_fault_and_fills_in_the_baseline),
                cmocka_unit_test(trial_seeds_depend_on_seed_and_number_only),
                cmocka_unit_test(a_deferred_plan_answers_as_one_that_was_fed),
                cmocka_unit_test(questions_about_very_long_histories_are_answered_without_reading_them),
                cmocka_unit_test(random_points_keep_no_history_that_no_question_looks_at),
                cmocka_unit_test(a_plan_of_several_stages_is_not_deferred),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
