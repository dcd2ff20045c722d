#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC(rule, rest) \
        "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'early_terminate':" rule \
        ",'parameters':{'lr':{'min':0.0,'max':1.0}}" rest "}"
#define HYPERBAND "{'type':'hyperband','min_iter':1,'eta':3}"

/* A sweep with four claimed trials. */
struct scene {
        struct house *house;
        char *worker, *sweep;
        json_t *trials[4];
        int seq;
};

static struct scene scene_new(void **state, const char *spec) {
        struct scene s = {.house = *state};
        static int n_scenes;
        char name[16];
        snprintf(name, sizeof name, "w%d", ++n_scenes);
        s.worker = house_worker(s.house, name);
        s.sweep = house_sweep(s.house, spec);
        for (int i = 0; i < 4; i++) {
                char id[8];
                snprintf(id, sizeof id, "c%d", i);
                s.trials[i] = house_claim(s.house, s.worker, id);
                assert_non_null(s.trials[i]);
        }
        return s;
}

static void scene_fini(struct scene *s) {
        json_decref(house_must(s->house, 200, ROUTE_SWEEP_PATCH, s->sweep, "{'state':'cancelled'}"));
        free(s->worker);
        free(s->sweep);
        for (int i = 0; i < 4; i++)
                json_decref(s->trials[i]);
}

static void assert_told(struct scene *s, int trial, int seq, const char *rest, const char *command) {
        json_t *answer = house_report(s->house, 200, s->trials[trial], seq, rest);
        assert_string_equal(text_of(answer, "command"), command);
        json_decref(answer);
}

static void say(struct scene *s, int trial, int step, double value, const char *command) {
        char rest[128];
        snprintf(rest, sizeof rest, ",'metrics':[{'name':'acc','step':%d,'value':%g}]", step, value);
        assert_told(s, trial, ++s->seq, rest, command);
}

static void assert_trial(const struct scene *s, int i, const char *state, double value) {
        json_t *trial = house_get(s->house, ROUTE_TRIAL_GET, text_of(s->trials[i], "id"));
        assert_string_equal(text_of(trial, "state"), state);
        if (value > 0)
                assert_true(json_number_value(json_object_get(trial, "value")) == value);
        json_decref(trial);
}

static void a_report_that_falls_behind_is_answered_stop_and_so_is_its_retry(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.5, "stop");
        assert_told(&s, 1, s.seq, ",'metrics':[{'name':'acc','step':1,'value':0.99}]", "stop");
        assert_trial(&s, 1, "running", 0);
        house_reopen(s.house);
        assert_told(&s, 1, s.seq, "", "stop");
        assert_told(&s, 1, ++s.seq, "", "stop");
        assert_told(&s, 1, ++s.seq, ",'outcome':{'state':'stopped'}", "continue");
        assert_trial(&s, 1, "stopped", 0.5);
        assert_told(&s, 0, ++s.seq, "", "continue");
        scene_fini(&s);
}

static void a_heartbeat_is_judged_by_what_the_others_did_meanwhile(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.5, "continue");
        assert_told(&s, 0, ++s.seq, "", "continue");
        say(&s, 1, 1, 0.9, "continue");
        house_reopen(s.house);
        assert_told(&s, 0, ++s.seq, "", "stop");
        scene_fini(&s);
}

static void other_series_are_no_iterations(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.9, "continue");
        assert_told(&s, 1, ++s.seq, ",'metrics':[{'name':'loss','step':1,'value':0.1}]", "continue");
        scene_fini(&s);
}

static void a_trial_told_to_stop_that_is_lost_is_stopped(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.5, "stop");
        house_wait(s.house, 61);
        assert_trial(&s, 1, "stopped", 0.5);
        assert_trial(&s, 0, "queued", 0);
        json_decref(house_report(s.house, 409, s.trials[1], 99, ""));
        scene_fini(&s);
}

static void given_back_or_crashed_after_stop_is_stopped_but_diverged_is_failed(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.5, "stop");
        say(&s, 2, 1, 0.4, "stop");
        say(&s, 3, 1, 0.3, "stop");
        assert_told(&s, 1, ++s.seq, ",'outcome':{'state':'released','resume':{'a':1}}", "continue");
        assert_told(&s, 2, ++s.seq, ",'outcome':{'state':'failed','reason':'crashed'}", "continue");
        assert_told(&s, 3, ++s.seq, ",'outcome':{'state':'failed','reason':'diverged'}", "continue");
        assert_trial(&s, 1, "stopped", 0.5);
        assert_trial(&s, 2, "stopped", 0.4);
        assert_trial(&s, 3, "failed", 0);
        scene_fini(&s);
}

static void a_stopped_trial_may_report_completed_and_a_retry_of_a_person_runs_to_its_end(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ",'run_cap':4"));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.5, "stop");
        assert_told(&s, 1, ++s.seq, ",'outcome':{'state':'completed'}", "continue");
        assert_trial(&s, 1, "completed", 0.5);
        say(&s, 2, 1, 0.4, "stop");
        assert_told(&s, 2, ++s.seq, ",'outcome':{'state':'stopped'}", "continue");
        json_decref(house_must(s.house, 200, ROUTE_TRIAL_RETRY, text_of(s.trials[2], "id"), NULL));
        json_decref(s.trials[2]);
        s.trials[2] = house_claim(s.house, s.worker, "again");
        assert_int_equal(number_of(s.trials[2], "attempt"), 2);
        assert_told(&s, 2, 1, ",'metrics':[{'name':'acc','step':1,'value':0.4}]", "continue");
        scene_fini(&s);
}

static void pausing_does_not_silence_a_rule_and_cancelling_wins(void **state) {
        struct scene s = scene_new(state, SPEC(HYPERBAND, ""));
        say(&s, 0, 1, 0.9, "continue");
        json_decref(house_must(s.house, 200, ROUTE_SWEEP_PATCH, s.sweep, "{'state':'paused'}"));
        say(&s, 1, 1, 0.5, "stop");
        json_decref(house_must(s.house, 200, ROUTE_TRIAL_CANCEL, text_of(s.trials[1], "id"), NULL));
        assert_told(&s, 1, ++s.seq, "", "abort");
        scene_fini(&s);
}

static void every_rule_reaches_the_answer(void **state) {
        struct scene s = scene_new(state, SPEC("{'type':'median','min_trials':2}", ""));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.8, "continue");
        say(&s, 2, 1, 0.5, "stop");
        scene_fini(&s);
        s = scene_new(state, SPEC("{'type':'asha','eta':3}", ""));
        say(&s, 0, 1, 0.9, "continue");
        say(&s, 1, 1, 0.8, "continue");
        say(&s, 2, 1, 0.5, "stop");
        scene_fini(&s);
        s = scene_new(state, SPEC("{'type':'curve','min_trials':3}", ""));
        for (int i = 0; i < 3; i++) {
                say(&s, i, 1, 0.6 + 0.05 * i, "continue");
                say(&s, i, 2, 0.7 + 0.05 * i, "continue");
                assert_told(&s, i, ++s.seq, ",'outcome':{'state':'completed'}", "continue");
        }
        house_reopen(s.house);
        say(&s, 3, 1, 0.3, "stop");
        scene_fini(&s);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_report_that_falls_behind_is_answered_stop_and_so_is_its_retry),
                behaviour(a_heartbeat_is_judged_by_what_the_others_did_meanwhile),
                behaviour(other_series_are_no_iterations),
                behaviour(a_trial_told_to_stop_that_is_lost_is_stopped),
                behaviour(given_back_or_crashed_after_stop_is_stopped_but_diverged_is_failed),
                behaviour(a_stopped_trial_may_report_completed_and_a_retry_of_a_person_runs_to_its_end),
                behaviour(pausing_does_not_silence_a_rule_and_cancelling_wins),
                behaviour(every_rule_reaches_the_answer),
        };
        return cmocka_run_group_tests_name("stopping", tests, NULL, NULL);
}
