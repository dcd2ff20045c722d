#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM "{'method':'random','trainer':'external','seed':1,'metric':{'name':'loss'},'parameters':{'lr':{'min':0.0,'max':1.0}}}"
#define CRASH ",'outcome':{'state':'failed','reason':'crashed','detail':'no libgomp here'}"
#define AT_COUNT 32

static int n_claims;

static json_t *claim(struct house *house, const char *worker) {
        char id[32];
        snprintf(id, sizeof id, "c%d", ++n_claims);
        return house_claim(house, worker, id);
}

/* The worker takes a trial and ends it so; false when it gets none. */
static bool end_one(struct house *house, const char *worker, const char *outcome) {
        json_t *trial = claim(house, worker);
        if (!trial)
                return false;
        house_wait(house, 1);
        json_decref(house_report(house, 200, trial, 1, outcome));
        json_decref(trial);
        return true;
}

static bool succeed(struct house *house, const char *worker) {
        return end_one(house, worker, ",'outcome':{'state':'completed','value':0.5}");
}

/* As the list shows it; new reference, NULL when it is not there. */
static json_t *shown(struct house *house, const char *worker) {
        json_t *workers = house_get(house, ROUTE_WORKER_LIST, NULL), *found = NULL, *item;
        size_t i;
        json_array_foreach(json_object_get(workers, "items"), i, item) if (strcmp(text_of(item, "id"), worker) == 0) found = json_incref(item);
        json_decref(workers);
        return found;
}

static void expect_state(struct house *house, const char *worker, const char *state) {
        json_t *item = shown(house, worker);
        assert_non_null(item);
        assert_string_equal(text_of(item, "state"), state);
        assert_int_equal(json_is_object(json_object_get(item, "quarantine")), strcmp(state, "quarantined") == 0);
        json_decref(item);
}

/* Two workers, one of which fails whatever it gets, until it gets no more; how many trials it has failed. */
static int run_into_quarantine(struct house *house, const char *good, const char *bad) {
        int n = 0;
        while (n < 50 && end_one(house, bad, CRASH)) {
                n++;
                assert_true(succeed(house, good));
        }
        return n;
}

static void a_worker_that_fails_where_others_succeed_gets_no_more_and_shows_why(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *bad = house_worker(house, "bad"), *sweep = house_sweep(house, RANDOM);
        assert_true(succeed(house, good));
        int n = run_into_quarantine(house, good, bad);
        assert_in_range(n, 5, 8);
        expect_state(house, bad, "quarantined");
        expect_state(house, good, "active");
        json_t *item = shown(house, bad);
        const char *why = text_of(item, "quarantine.why");
        assert_non_null(strstr(why, "5 trials failed here"));
        assert_non_null(strstr(why, "mostly crashed"));
        assert_non_null(strstr(why, "no libgomp here"));
        assert_string_equal(text_of(item, "quarantine.by"), "coordinator");
        json_decref(item);
        json_t *sweep_shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(sweep_shown, "counts.failed"), 0); /* each was tried elsewhere, and succeeded */
        json_decref(sweep_shown);
        free(good);
        free(bad);
        free(sweep);
}

static void quarantine_outlives_both_processes_until_a_person_lifts_it(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *bad = house_worker(house, "bad"), *sweep = house_sweep(house, RANDOM);
        assert_true(succeed(house, good));
        run_into_quarantine(house, good, bad);
        house_reopen(house);
        json_decref(house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'bad','instance':'i2','slots':1,'trainers':['external']}"));
        expect_state(house, bad, "quarantined");
        assert_null(claim(house, bad));
        json_t *lifted = house_must(house, 200, ROUTE_WORKER_UNDRAIN, bad, NULL);
        assert_string_equal(text_of(lifted, "state"), "active");
        assert_true(json_is_null(json_object_get(lifted, "quarantine")));
        json_decref(lifted);
        for (int i = 0; i < 4; i++) /* what was before is forgiven */
                assert_true(end_one(house, bad, CRASH));
        expect_state(house, bad, "active");
        free(good);
        free(bad);
        free(sweep);
}

static void a_claim_that_waited_in_vain_says_so(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *bad = house_worker(house, "bad"), *sweep = house_sweep(house, RANDOM), body[128];
        assert_true(succeed(house, good));
        run_into_quarantine(house, good, bad);
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'last','wait_s':5}", bad);
        struct ask *ask = house_ask(house, ROUTE_CLAIM, NULL, body);
        assert_false(ask->is_done);
        house_wait(house, 5);
        assert_int_equal(ask->status, 204);
        assert_string_equal(ask->worker_state, "quarantined");
        ask_free(ask);
        free(good);
        free(bad);
        free(sweep);
}

static void a_sweep_that_fails_everywhere_quarantines_nobody(void **state) {
        struct house *house = *state;
        char *workers[] = {house_worker(house, "a"), house_worker(house, "b"), house_worker(house, "c")}, *sweep = house_sweep(house, RANDOM);
        for (size_t i = 0; i < 3; i++)
                assert_true(succeed(house, workers[i])); /* before it broke */
        for (int n = 0; n < AT_COUNT; n++)
                assert_true(end_one(house, workers[n % 3], CRASH));
        for (size_t i = 0; i < 3; i++) {
                expect_state(house, workers[i], "active");
                free(workers[i]);
        }
        free(sweep);
}

static void the_only_worker_is_not_blamed(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM);
        for (int n = 0; n < AT_COUNT; n++)
                assert_true(end_one(house, worker, CRASH));
        expect_state(house, worker, "active");
        free(worker);
        free(sweep);
}

static void what_is_the_trials_fault_is_not_held_against_the_worker(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *other = house_worker(house, "other"), *sweep = house_sweep(house, RANDOM);
        for (int n = 0; n < AT_COUNT; n++) {
                assert_true(end_one(house, other, n % 2 ? ",'outcome':{'state':'failed','reason':'diverged'}" : ",'outcome':{'state':'failed','reason':'bad_config'}"));
                assert_true(succeed(house, good));
        }
        expect_state(house, other, "active");
        free(good);
        free(other);
        free(sweep);
}

static void a_success_in_between_clears_a_worker(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *other = house_worker(house, "other"), *sweep = house_sweep(house, RANDOM);
        for (int n = 0; n < AT_COUNT; n++) {
                assert_true(n % 4 == 3 ? succeed(house, other) : end_one(house, other, CRASH));
                assert_true(succeed(house, good));
        }
        expect_state(house, other, "active");
        free(good);
        free(other);
        free(sweep);
}

static void a_worker_is_judged_when_another_one_succeeds_later(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *bad = house_worker(house, "bad"), *sweep = house_sweep(house, RANDOM), outcome[1024];
        json_t *old = claim(house, good); /* begun before the first failure: proves nothing */
        for (int n = 0; n < 6; n++) {
                snprintf(outcome, sizeof outcome, ",'outcome':{'state':'failed','reason':'crashed','detail':'exit status 1\\n%0*d\\nno libgomp here'}", 700, n);
                assert_true(end_one(house, bad, outcome));
        }
        house_complete(house, old, 0.5);
        expect_state(house, bad, "active");
        house_reopen(house);
        assert_true(succeed(house, good));
        expect_state(house, bad, "quarantined");
        json_t *item = shown(house, bad); /* the first and the last line, however long it is in between */
        assert_non_null(strstr(text_of(item, "quarantine.why"), "; last: exit status 1 no libgomp here"));
        json_decref(item);
        json_decref(old);
        free(good);
        free(bad);
        free(sweep);
}

static void a_trial_that_failed_at_once_is_tried_elsewhere_first(void **state) {
        struct house *house = *state;
        char *a = house_worker(house, "a"), *b = house_worker(house, "b"), *sweep = house_sweep(house, RANDOM);
        assert_true(succeed(house, b));
        json_t *first = claim(house, a);
        json_decref(house_report(house, 200, first, 1, CRASH));
        json_t *next = claim(house, a), *again = claim(house, b);
        assert_string_not_equal(text_of(next, "id"), text_of(first, "id"));
        assert_string_equal(text_of(again, "id"), text_of(first, "id"));
        json_decref(house_report(house, 200, next, 1, CRASH));
        house_wait(house, 121); /* b is gone: nobody else is there */
        json_t *back = claim(house, a);
        assert_true(strcmp(text_of(back, "id"), text_of(next, "id")) == 0 || strcmp(text_of(back, "id"), text_of(first, "id")) == 0);
        json_decref(first);
        json_decref(next);
        json_decref(again);
        json_decref(back);
        free(a);
        free(b);
        free(sweep);
}

static void a_trial_that_failed_at_once_everywhere_does_not_wait(void **state) {
        struct house *house = *state;
        char *a = house_worker(house, "a"), *b = house_worker(house, "b"),
             *sweep = house_sweep(house, "{'method':'random','trainer':'external','seed':1,'run_cap':1,'metric':{'name':'loss'},'parameters':{'lr':{'min':0.0,'max':1.0}}}");
        json_t *trial = claim(house, a);
        assert_null(claim(house, b));
        json_decref(house_report(house, 200, trial, 1, CRASH));
        assert_null(claim(house, a)); /* b is there, and has not tried */
        json_decref(trial);
        assert_true(end_one(house, b, CRASH));
        assert_true(end_one(house, a, CRASH)); /* the third and last attempt */
        json_t *shown_sweep = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown_sweep, "state"), "finished");
        assert_int_equal(number_of(shown_sweep, "counts.failed"), 1);
        json_decref(shown_sweep);
        free(a);
        free(b);
        free(sweep);
}

static void a_worker_that_is_not_fit_gets_nothing_until_it_says_otherwise(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, RANDOM);
        json_t *unfit = house_must(house, 201, ROUTE_WORKER_REGISTER, NULL,
                                   "{'name':'w','instance':'i1','slots':1,'trainers':['external'],'unfit':'self-test: the loss is 0.7'}");
        const char *id = text_of(unfit, "id");
        assert_string_equal(text_of(unfit, "state"), "quarantined");
        assert_string_equal(text_of(unfit, "quarantine.by"), "worker");
        assert_string_equal(text_of(unfit, "quarantine.why"), "self-test: the loss is 0.7");
        assert_null(claim(house, id));
        json_decref(house_must(house, 409, ROUTE_WORKER_UNDRAIN, id, NULL));
        house_reopen(house);
        json_decref(house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','instance':'i2','slots':1,'trainers':['external']}"));
        assert_true(succeed(house, id));
        json_decref(unfit);
        free(sweep);
}

static void that_a_worker_finds_itself_fit_again_ends_no_quarantine_of_the_coordinator(void **state) {
        struct house *house = *state;
        char *good = house_worker(house, "good"), *bad = house_worker(house, "bad"), *sweep = house_sweep(house, RANDOM);
        assert_true(succeed(house, good));
        run_into_quarantine(house, good, bad);
        json_decref(house_must(house, 200, ROUTE_WORKER_REGISTER, NULL,
                               "{'name':'bad','instance':'i2','slots':1,'trainers':['external'],'unfit':'self-test: the loss is 0.7'}"));
        json_decref(house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'bad','instance':'i3','slots':1,'trainers':['external']}"));
        expect_state(house, bad, "quarantined");
        json_t *item = shown(house, bad);
        assert_string_equal(text_of(item, "quarantine.by"), "coordinator");
        json_decref(item);
        free(good);
        free(bad);
        free(sweep);
}

static void a_worker_that_is_gone_can_be_forgotten_and_its_trials_still_name_it(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *other = house_worker(house, "other"), *sweep = house_sweep(house, RANDOM);
        json_t *trial = claim(house, worker);
        house_complete(house, trial, 0.5);
        json_decref(house_must(house, 409, ROUTE_WORKER_FORGET, worker, NULL));
        house_wait(house, 121);
        json_decref(house_must(house, 204, ROUTE_WORKER_FORGET, worker, NULL));
        json_decref(house_must(house, 404, ROUTE_WORKER_FORGET, worker, NULL));
        assert_null(shown(house, worker));
        house_reopen(house);
        assert_null(shown(house, worker));
        json_t *still = house_get(house, ROUTE_TRIAL_GET, text_of(trial, "id"));
        assert_string_equal(text_of(still, "worker"), worker);
        json_t *back = house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','instance':'i2','slots':1,'trainers':['external']}");
        assert_string_equal(text_of(back, "id"), worker);
        assert_true(succeed(house, worker));
        json_decref(back);
        json_decref(still);
        json_decref(trial);
        free(worker);
        free(other);
        free(sweep);
}

static void workers_that_nobody_has_seen_for_two_weeks_are_forgotten(void **state) {
        struct house *house = *state;
        char *old = house_worker(house, "old"), *sweep = house_sweep(house, RANDOM);
        assert_true(succeed(house, old));
        house_wait(house, 13 * 24 * 3600);
        char *young = house_worker(house, "young");
        house_wait(house, 3700);
        assert_non_null(old);
        json_t *item = shown(house, old);
        assert_non_null(item);
        json_decref(item);
        house_wait(house, 24 * 3600);
        assert_null(shown(house, old));
        expect_state(house, young, "gone");
        free(old);
        free(young);
        free(sweep);
}

static void names_that_never_served_leave_nothing_behind(void **state) {
        struct house *house = *state;
        for (int i = 0; i < 20; i++) {
                char name[16];
                snprintf(name, sizeof name, "n%d", i);
                char *worker = house_worker(house, name);
                house_wait(house, 121);
                json_decref(house_must(house, 204, ROUTE_WORKER_FORGET, worker, NULL));
                free(worker);
        }
        int64_t n = 0;
        char *last = house_worker(house, "last");
        json_t *state_shown = house_get(house, ROUTE_WORKER_LIST, NULL);
        n = (int64_t)json_array_size(json_object_get(state_shown, "items"));
        assert_int_equal(n, 1);
        json_decref(state_shown);
        free(last);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_worker_that_fails_where_others_succeed_gets_no_more_and_shows_why),
                behaviour(quarantine_outlives_both_processes_until_a_person_lifts_it),
                behaviour(a_claim_that_waited_in_vain_says_so),
                behaviour(a_sweep_that_fails_everywhere_quarantines_nobody),
                behaviour(the_only_worker_is_not_blamed),
                behaviour(what_is_the_trials_fault_is_not_held_against_the_worker),
                behaviour(a_success_in_between_clears_a_worker),
                behaviour(a_worker_is_judged_when_another_one_succeeds_later),
                behaviour(a_trial_that_failed_at_once_is_tried_elsewhere_first),
                behaviour(a_trial_that_failed_at_once_everywhere_does_not_wait),
                behaviour(a_worker_that_is_not_fit_gets_nothing_until_it_says_otherwise),
                behaviour(that_a_worker_finds_itself_fit_again_ends_no_quarantine_of_the_coordinator),
                behaviour(a_worker_that_is_gone_can_be_forgotten_and_its_trials_still_name_it),
                behaviour(workers_that_nobody_has_seen_for_two_weeks_are_forgotten),
                behaviour(names_that_never_served_leave_nothing_behind),
        };
        return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
