#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC(rest) \
        "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':" \
        "1.0}}" rest "}"

/* A sweep with one claimed trial. */
struct scene {
        struct house *house;
        char *worker, *sweep;
        json_t *trial;
};

static struct scene scene_new(void **state, const char *spec) {
        struct scene scene = {.house = *state};
        scene.worker = house_worker(scene.house, "w");
        scene.sweep = house_sweep(scene.house, spec);
        scene.trial = house_claim(scene.house, scene.worker, "c1");
        assert_non_null(scene.trial);
        return scene;
}

static void scene_fini(struct scene *scene) {
        free(scene->worker);
        free(scene->sweep);
        json_decref(scene->trial);
}

static json_t *shown(const struct scene *scene) {
        return house_get(scene->house, ROUTE_TRIAL_GET, text_of(scene->trial, "id"));
}

static void assert_state(const struct scene *scene, const char *state, const char *reason) {
        json_t *trial = shown(scene);
        assert_string_equal(text_of(trial, "state"), state);
        assert_string_equal(text_of(trial, "reason"), reason ? reason : "(none)");
        json_decref(trial);
}

static void assert_value(const struct scene *scene, double value) {
        json_t *trial = shown(scene);
        assert_string_equal(text_of(trial, "state"), "completed");
        assert_true(json_number_value(json_object_get(trial, "value")) == value);
        json_decref(trial);
}

static void report(const struct scene *scene, int status, int seq, const char *rest) {
        json_decref(house_report(scene->house, status, scene->trial, seq, rest));
}

static void a_stale_lease_changes_nothing(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        house_wait(s.house, 61);
        assert_state(&s, "queued", NULL);
        report(&s, 409, 1, ",'metrics':[{'name':'acc','step':1,'value':0.5}],'outcome':{'state':'completed','value':1}");
        json_t *points = house_get(s.house, ROUTE_TRIAL_METRICS, text_of(s.trial, "id"));
        assert_int_equal(json_array_size(json_object_get(points, "items")), 0);
        json_decref(points);
        assert_state(&s, "queued", NULL);
        json_t *other = house_must(s.house, 409, ROUTE_TRIAL_REPORT, text_of(s.trial, "id"), "{'lease':'made-up','seq':1}");
        json_decref(other);
        json_decref(house_must(s.house, 404, ROUTE_TRIAL_REPORT, "tnone", "{'lease':'made-up','seq':1}"));
        scene_fini(&s);
}

static void a_retried_report_gets_its_answer_again_also_after_the_end(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        report(&s, 200, 3, ",'metrics':[{'name':'acc','step':1,'value':0.5}]");
        report(&s, 200, 3, ",'metrics':[{'name':'acc','step':1,'value':0.9}]");
        report(&s, 200, 2, ",'outcome':{'state':'failed','reason':'diverged'}");
        report(&s, 200, 9, ",'outcome':{'state':'completed'}");
        assert_value(&s, 0.5);
        house_reopen(s.house);
        json_t *again = house_report(s.house, 200, s.trial, 9, ",'outcome':{'state':'completed'}");
        assert_string_equal(text_of(again, "command"), "continue");
        json_decref(again);
        report(&s, 409, 10, "");
        assert_value(&s, 0.5);
        scene_fini(&s);
}

static void reports_keep_the_lease(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        for (int i = 1; i < 6; i++) {
                house_wait(s.house, 50);
                report(&s, 200, i, "");
        }
        assert_state(&s, "running", NULL);
        scene_fini(&s);
}

static void the_value_is_the_outcomes_else_the_best_point_by_goal(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        report(&s, 200, 1,
               ",'metrics':[{'name':'acc','step':1,'value':0.5},{'name':'acc','step':2,'value':0.8},{'name':'acc','step':3,'value':0.7},"
               "{'name':'loss','step':4,'value':9}]");
        report(&s, 200, 2, ",'outcome':{'state':'completed'}");
        assert_value(&s, 0.8);
        json_decref(s.trial);
        s.trial = house_claim(s.house, s.worker, "c2");
        report(&s, 200, 1, ",'metrics':[{'name':'acc','step':1,'value':0.5}],'outcome':{'state':'completed','value':0.1}");
        assert_value(&s, 0.1);
        scene_fini(&s);
}

static void the_last_point_counts_where_the_spec_says_so(void **state) {
        struct house *house = *state;
        struct scene s =
                scene_new(state, "{'method':'random','trainer':'external','metric':{'name':'acc','goal':'maximize','summary':'last'},"
                                 "'parameters':{'lr':{'min':0.0,'max':1.0}}}");
        report(&s, 200, 1,
               ",'metrics':[{'name':'acc','step':1,'value':0.9},{'name':'acc','step':2,'value':0.4}],'outcome':{'state':'completed'}");
        assert_value(&s, 0.4);
        (void)house;
        scene_fini(&s);
}

static void without_a_point_the_trial_fails_for_no_metric(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        report(&s, 200, 1, ",'metrics':[{'name':'loss','step':1,'value':0.9}],'outcome':{'state':'completed'}");
        assert_state(&s, "failed", "no_metric");
        scene_fini(&s);
}

static void crashes_are_retried_until_max_attempts(void **state) {
        struct scene s = scene_new(state, SPEC(",'run_cap':1,'max_attempts':2"));
        report(&s, 200, 1, ",'outcome':{'state':'failed','reason':'crashed','detail':'signal 11'}");
        assert_state(&s, "queued", NULL);
        json_decref(s.trial);
        s.trial = house_claim(s.house, s.worker, "c2");
        assert_int_equal(number_of(s.trial, "attempt"), 2);
        report(&s, 200, 1, ",'outcome':{'state':'failed','reason':'io','detail':'disk'}");
        json_t *trial = shown(&s);
        assert_string_equal(text_of(trial, "state"), "failed");
        assert_string_equal(text_of(trial, "reason"), "io");
        assert_string_equal(text_of(trial, "detail"), "disk");
        const json_t *attempts = json_object_get(trial, "attempts");
        assert_int_equal(json_array_size(attempts), 2);
        assert_string_equal(text_of(json_array_get(attempts, 0), "reason"), "crashed");
        json_decref(trial);
        json_t *sweep = house_get(s.house, ROUTE_SWEEP_GET, s.sweep);
        assert_string_equal(text_of(sweep, "state"), "finished");
        json_decref(sweep);
        scene_fini(&s);
}

static void diverged_is_final_and_unknown_reasons_are_refused(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        report(&s, 422, 1, ",'outcome':{'state':'failed','reason':'bored'}");
        report(&s, 200, 1, ",'outcome':{'state':'failed','reason':'diverged','detail':'loss is NaN at step 41'}");
        assert_state(&s, "failed", "diverged");
        scene_fini(&s);
}

static void lost_leases_count_and_releases_do_not(void **state) {
        struct scene s = scene_new(state, SPEC(",'run_cap':1,'max_attempts':2"));
        for (int i = 0; i < 3; i++) {
                char id[8];
                snprintf(id, sizeof id, "r%d", i);
                report(&s, 200, 1, ",'outcome':{'state':'released'}");
                json_decref(s.trial);
                s.trial = house_claim(s.house, s.worker, id);
        }
        house_wait(s.house, 60);
        assert_state(&s, "queued", NULL);
        json_decref(s.trial);
        s.trial = house_claim(s.house, s.worker, "c2");
        assert_int_equal(number_of(s.trial, "attempt"), 5);
        house_wait(s.house, 60);
        assert_state(&s, "failed", "lease_lost");
        scene_fini(&s);
}

static void cancelling_a_trial_aborts_its_worker_once(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        json_decref(house_must(s.house, 200, ROUTE_TRIAL_CANCEL, text_of(s.trial, "id"), NULL));
        assert_state(&s, "cancelled", NULL);
        for (int i = 0; i < 2; i++) {
                json_t *answer = house_report(s.house, 200, s.trial, 4,
                                              ",'metrics':[{'name':'acc','step':1,'value':1}],'outcome':{'state':'completed','value':1}");
                assert_string_equal(text_of(answer, "command"), "abort");
                json_decref(answer);
        }
        report(&s, 409, 5, "");
        assert_state(&s, "cancelled", NULL);
        scene_fini(&s);
}

static void cancelling_a_sweep_cancels_its_trials_at_once(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        json_decref(house_must(s.house, 201, ROUTE_TRIAL_CREATE, s.sweep, "{'params':{'lr':0.5}}"));
        json_t *sweep = house_must(s.house, 200, ROUTE_SWEEP_PATCH, s.sweep, "{'state':'cancelled'}");
        assert_int_equal(number_of(sweep, "counts.cancelled"), 2);
        assert_string_equal(text_of(sweep, "state"), "cancelled");
        json_decref(sweep);
        json_t *answer = house_report(s.house, 200, s.trial, 1, "");
        assert_string_equal(text_of(answer, "command"), "abort");
        json_decref(answer);
        json_decref(house_must(s.house, 409, ROUTE_SWEEP_PATCH, s.sweep, "{'state':'running'}"));
        scene_fini(&s);
}

static void pausing_lets_running_trials_end(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        json_decref(house_must(s.house, 200, ROUTE_SWEEP_PATCH, s.sweep, "{'state':'paused'}"));
        json_t *answer = house_report(s.house, 200, s.trial, 1, "");
        assert_string_equal(text_of(answer, "command"), "continue");
        json_decref(answer);
        house_complete(s.house, s.trial, 0.5);
        assert_value(&s, 0.5);
        scene_fini(&s);
}

static void a_trial_that_takes_too_long_times_out(void **state) {
        struct scene s = scene_new(state, SPEC(",'trial_timeout_s':100,'max_attempts':1"));
        house_wait(s.house, 50);
        report(&s, 200, 1, ",'metrics':[{'name':'acc','step':1,'value':0.5}]");
        house_wait(s.house, 50);
        assert_state(&s, "failed", "timeout");
        report(&s, 409, 2, "");
        scene_fini(&s);
}

static void a_trial_without_progress_times_out_and_heartbeats_are_no_progress(void **state) {
        struct scene s = scene_new(state, SPEC(",'no_progress_timeout_s':80"));
        house_wait(s.house, 50);
        report(&s, 200, 1, ",'progress':0.1");
        house_wait(s.house, 50);
        report(&s, 200, 2, ",'progress':0.1");
        assert_state(&s, "running", NULL);
        house_wait(s.house, 30);
        assert_state(&s, "queued", NULL);
        report(&s, 409, 3, "");
        json_t *trial = shown(&s);
        assert_string_equal(text_of(json_array_get(json_object_get(trial, "attempts"), 0), "reason"), "timeout");
        json_decref(trial);
        scene_fini(&s);
}

static void a_restart_of_the_coordinator_gives_running_trials_a_full_lease(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        house_wait(s.house, 59);
        house_reopen(s.house);
        house_wait(s.house, 59);
        assert_state(&s, "running", NULL);
        report(&s, 200, 1, "");
        house_wait(s.house, 60);
        assert_state(&s, "queued", NULL);
        scene_fini(&s);
}

static void a_worker_that_comes_back_as_another_process_loses_its_leases(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        json_decref(
                house_must(s.house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','instance':'i1','slots':1,'trainers':['external']}"));
        assert_state(&s, "running", NULL);
        json_t *again =
                house_must(s.house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','instance':'i2','slots':1,'trainers':['external']}");
        assert_string_equal(text_of(again, "id"), s.worker);
        assert_int_equal(json_array_size(json_object_get(again, "trials")), 0);
        json_decref(again);
        assert_state(&s, "queued", NULL);
        report(&s, 409, 1, "");
        scene_fini(&s);
}

static void a_later_attempt_overwrites_points_and_they_come_in_step_order(void **state) {
        struct scene s = scene_new(state, SPEC(""));
        report(&s, 200, 1,
               ",'metrics':[{'name':'acc','step':20,'value':0.2},{'name':'acc','step':10,'value':0.1},{'name':'loss','step':10,'value':3}"
               "]");
        report(&s, 200, 2, ",'outcome':{'state':'released'}");
        json_decref(s.trial);
        s.trial = house_claim(s.house, s.worker, "c2");
        report(&s, 200, 1, ",'metrics':[{'name':'acc','step':10,'value':0.7,'epoch':0.5,'time':'2026-11-24T02:00:00.000Z'}]");
        struct ask *page = house_query(s.house, ROUTE_TRIAL_METRICS, text_of(s.trial, "id"), "limit", "2", NULL, NULL);
        const json_t *items = json_object_get(page->body, "items");
        assert_string_equal(text_of(json_array_get(items, 0), "time"), "2026-11-24T02:00:00.000Z");
        assert_true(json_real_value(json_object_get(json_array_get(items, 0), "value")) == 0.7);
        assert_string_equal(text_of(json_array_get(items, 1), "name"), "loss");
        struct ask *next =
                house_query(s.house, ROUTE_TRIAL_METRICS, text_of(s.trial, "id"), "after", text_of(page->body, "next"), NULL, NULL);
        assert_int_equal(json_array_size(json_object_get(next->body, "items")), 1);
        assert_true(json_is_null(json_object_get(next->body, "next")));
        struct ask *named = house_query(s.house, ROUTE_TRIAL_METRICS, text_of(s.trial, "id"), "name", "acc", NULL, NULL);
        assert_int_equal(json_array_size(json_object_get(named->body, "items")), 2);
        struct ask *foreign =
                house_query(s.house, ROUTE_TRIAL_METRICS, text_of(s.trial, "id"), "name", "acc", "after", text_of(page->body, "next"));
        assert_int_equal(foreign->status, 422);
        ask_free(page);
        ask_free(next);
        ask_free(named);
        ask_free(foreign);
        scene_fini(&s);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_stale_lease_changes_nothing),
                behaviour(a_retried_report_gets_its_answer_again_also_after_the_end),
                behaviour(reports_keep_the_lease),
                behaviour(the_value_is_the_outcomes_else_the_best_point_by_goal),
                behaviour(the_last_point_counts_where_the_spec_says_so),
                behaviour(without_a_point_the_trial_fails_for_no_metric),
                behaviour(crashes_are_retried_until_max_attempts),
                behaviour(diverged_is_final_and_unknown_reasons_are_refused),
                behaviour(lost_leases_count_and_releases_do_not),
                behaviour(cancelling_a_trial_aborts_its_worker_once),
                behaviour(cancelling_a_sweep_cancels_its_trials_at_once),
                behaviour(pausing_lets_running_trials_end),
                behaviour(a_trial_that_takes_too_long_times_out),
                behaviour(a_trial_without_progress_times_out_and_heartbeats_are_no_progress),
                behaviour(a_restart_of_the_coordinator_gives_running_trials_a_full_lease),
                behaviour(a_worker_that_comes_back_as_another_process_loses_its_leases),
                behaviour(a_later_attempt_overwrites_points_and_they_come_in_step_order),
        };
        return cmocka_run_group_tests_name("reports", tests, NULL, NULL);
}
