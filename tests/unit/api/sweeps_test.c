#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define SPEC(rest) \
        "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':" \
        "1.0}}" rest "}"

static json_t *claim_nth(struct house *house, const char *worker, int n) {
        char id[16];
        snprintf(id, sizeof id, "n%d", n);
        return house_claim(house, worker, id);
}

static void complete_one(struct house *house, const char *worker, int n, double value) {
        json_t *trial = claim_nth(house, worker, n);
        assert_non_null(trial);
        house_complete(house, trial, value);
        json_decref(trial);
}

static void assert_sweep(struct house *house, const char *id, const char *path, const char *text) {
        json_t *sweep = house_get(house, ROUTE_SWEEP_GET, id);
        assert_string_equal(text_of(sweep, path), text);
        json_decref(sweep);
}

static void a_created_sweep_shows_what_the_contract_says(void **state) {
        struct house *house = *state;
        json_t *sweep = house_must(house, 201, ROUTE_SWEEP_CREATE, NULL, SPEC(",'name':'n','run_cap':7"));
        assert_string_equal(text_of(sweep, "name"), "n");
        assert_string_equal(text_of(sweep, "method"), "random");
        assert_string_equal(text_of(sweep, "state"), "running");
        assert_int_equal(number_of(sweep, "run_cap"), 7);
        assert_int_equal(number_of(sweep, "spec.run_cap"), 7);
        assert_int_equal(number_of(sweep, "counts.queued"), 0);
        assert_true(json_is_null(json_object_get(sweep, "best")));
        assert_int_equal(number_of(sweep, "stage.index"), 0);
        assert_true(json_is_null(json_object_get(sweep, "eta_s")));
        json_decref(sweep);
        json_decref(house_must(house, 404, ROUTE_SWEEP_GET, "none", NULL));
}

static void all_faults_of_a_spec_come_at_once_and_nothing_is_created(void **state) {
        struct house *house = *state;
        json_t *problem = house_must(house, 422, ROUTE_SWEEP_CREATE, NULL,
                                     "{'method':'magic','trainer':'external','parameters':{'lr':{'min':2.0,'max':1.0}}}");
        assert_true(json_array_size(json_object_get(problem, "errors")) >= 2);
        json_decref(problem);
        json_t *list = house_get(house, ROUTE_SWEEP_LIST, NULL);
        assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
        json_decref(list);
}

static void an_idempotent_create_gets_its_first_answer_and_another_body_is_refused(void **state) {
        struct house *house = *state;
        struct ask *first = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, SPEC(""), "k");
        assert_int_equal(first->status, 201);
        house_reopen(house);
        struct ask *again = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, SPEC(""), "k");
        assert_int_equal(again->status, 201);
        assert_string_equal(first->text, again->text);
        struct ask *other = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, SPEC(",'run_cap':3"), "k");
        assert_int_equal(other->status, 422);
        struct ask *bad = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, "{}", "k2");
        assert_int_equal(bad->status, 422);
        struct ask *good = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, SPEC(""), "k2");
        assert_int_equal(good->status, 201);
        json_t *list = house_get(house, ROUTE_SWEEP_LIST, NULL);
        assert_int_equal(json_array_size(json_object_get(list, "items")), 2);
        json_decref(list);
        house_wait(house, 25 * 3600);
        struct ask *late = house_ask_keyed(house, ROUTE_SWEEP_CREATE, NULL, SPEC(""), "k");
        assert_string_not_equal(first->text, late->text);
        ask_free(first);
        ask_free(again);
        ask_free(other);
        ask_free(bad);
        ask_free(good);
        ask_free(late);
}

static void run_cap_ends_a_sweep_without_another_claim_and_raising_it_goes_on(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':2"));
        complete_one(house, worker, 1, 0.5);
        assert_sweep(house, sweep, "state", "running");
        complete_one(house, worker, 2, 0.7);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        assert_int_equal(number_of(shown, "counts.completed"), 2);
        assert_true(json_real_value(json_get_dotted(shown, "best.value")) == 0.7);
        assert_int_equal(number_of(shown, "stage.index"), 0);
        json_decref(shown);
        json_decref(house_must(house, 409, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        json_decref(house_must(house, 409, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        shown = house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'run_cap':3}");
        assert_string_equal(text_of(shown, "state"), "running");
        json_decref(shown);
        complete_one(house, worker, 3, 0.1);
        assert_sweep(house, sweep, "state", "finished");
        free(worker);
        free(sweep);
}

static void a_run_cap_below_what_is_done_finishes_the_sweep(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':9"));
        complete_one(house, worker, 1, 0.5);
        complete_one(house, worker, 2, 0.5);
        json_t *shown = house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'run_cap':1}");
        assert_string_equal(text_of(shown, "state"), "finished");
        json_decref(shown);
        free(worker);
        free(sweep);
}

static void a_grid_finishes_when_every_point_is_done(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, "{'method':'grid','trainer':'external','metric':{'name':'acc'},"
                                         "'parameters':{'a':{'values':[1,2]},'b':{'values':['x','y']}}}");
        for (int i = 0; i < 4; i++)
                complete_one(house, worker, i, i);
        assert_sweep(house, sweep, "state", "finished");
        assert_null(claim_nth(house, worker, 9));
        free(worker);
        free(sweep);
}

static void a_reached_target_stops_new_trials_and_running_ones_end_normally(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, "{'method':'random','trainer':'external','metric':{'name':'acc','goal':'maximize','target':0.9},"
                                         "'parameters':{'lr':{'min':0.0,'max':1.0}}}");
        json_t *first = claim_nth(house, worker, 1), *second = claim_nth(house, worker, 2);
        house_complete(house, first, 0.95);
        assert_null(claim_nth(house, worker, 3));
        assert_sweep(house, sweep, "state", "running");
        house_complete(house, second, 0.5);
        assert_sweep(house, sweep, "state", "finished");
        json_decref(first);
        json_decref(second);
        free(worker);
        free(sweep);
}

static void what_waits_when_the_target_is_reached_is_cancelled_and_later_wishes_run(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, "{'method':'random','trainer':'external','metric':{'name':'acc','goal':'maximize','target':0.9},"
                                         "'parameters':{'a':{'min':0.0,'max':1.0}}}");
        json_t *first = claim_nth(house, worker, 1), *lost = claim_nth(house, worker, 2);
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'trials':[{'params':{'a':0.5}},{'params':{'a':0.6}}]}"));
        json_decref(house_report(house, 200, lost, 1, ",'outcome':{'state':'released'}"));
        house_complete(house, first, 0.95);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.cancelled"), 2);
        assert_int_equal(number_of(shown, "counts.queued"), 1); /* it was running: it ends normally */
        json_decref(shown);
        json_t *again = claim_nth(house, worker, 3);
        assert_non_null(again);
        house_complete(house, again, 0.1);
        assert_sweep(house, sweep, "state", "finished");
        house_reopen(house);
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'a':0.7}}"));
        assert_sweep(house, sweep, "state", "running");
        house_reopen(house);
        json_t *wished = claim_nth(house, worker, 4);
        assert_non_null(wished);
        house_complete(house, wished, 0.2);
        assert_sweep(house, sweep, "state", "finished");
        json_decref(first);
        json_decref(lost);
        json_decref(again);
        json_decref(wished);
        free(worker);
        free(sweep);
}

static void what_waits_when_max_hours_are_over_is_cancelled_also_after_a_restart(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'max_hours':1"));
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.5}}"));
        house->now_ms += 3700 * 1000; /* while nobody was there */
        house_reopen(house);
        assert_null(claim_nth(house, worker, 1));
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.cancelled"), 1);
        assert_string_equal(text_of(shown, "state"), "finished");
        json_decref(shown);
        free(worker);
        free(sweep);
}

static void max_hours_end_a_sweep_by_themselves(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'max_hours':1"));
        complete_one(house, worker, 1, 0.5);
        house_wait(house, 3500);
        assert_sweep(house, sweep, "state", "running");
        house_wait(house, 101);
        assert_sweep(house, sweep, "state", "finished");
        free(worker);
        free(sweep);
}

static void pause_after_pauses_and_resuming_starts_the_next_stage(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        char *sweep = house_sweep(
                house,
                "{'method':'staged','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'baseline':{'a':1,'b':1},"
                "'parameters':{'a':{'min':0,'max':9},'b':{'min':0,'max':9}},"
                "'stages':[{'method':'ofat','levels':{'a':[2],'b':[3]},'pause_after':true},"
                "{'method':'grid','values':{'a':[4,5]}}]}");
        for (int i = 0; i < 3; i++)
                complete_one(house, worker, i, i);
        assert_sweep(house, sweep, "state", "paused");
        assert_null(claim_nth(house, worker, 7));
        house_reopen(house);
        assert_sweep(house, sweep, "state", "paused");
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        house_reopen(house);
        json_t *trial = claim_nth(house, worker, 8);
        assert_non_null(trial);
        json_t *shown = house_get(house, ROUTE_TRIAL_GET, text_of(trial, "id"));
        assert_int_equal(number_of(shown, "stage"), 1);
        json_decref(shown);
        house_complete(house, trial, 5);
        json_decref(trial);
        complete_one(house, worker, 9, 6);
        assert_sweep(house, sweep, "state", "finished");
        free(worker);
        free(sweep);
}

static void repeated_wishes_are_no_errors(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC(""));
        static const char *const wishes[] = {"{'state':'running'}", "{'state':'paused'}",    "{'state':'paused'}",   "{'priority':3}",
                                             "{'run_cap':null}",    "{'state':'cancelled'}", "{'state':'cancelled'}"};
        for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
                json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, wishes[i]));
        json_decref(house_must(house, 409, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        json_decref(house_must(house, 409, ROUTE_SWEEP_PATCH, sweep, "{'run_cap':5}"));
        json_decref(house_must(house, 422, ROUTE_SWEEP_PATCH, sweep, "{'state':'finished'}"));
        json_decref(house_must(house, 422, ROUTE_SWEEP_PATCH, sweep, "{'colour':1}"));
        json_decref(house_must(house, 404, ROUTE_SWEEP_PATCH, "none", "{'run_cap':5}"));
        free(sweep);
}

static void only_a_sweep_that_does_not_run_can_be_deleted(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(""));
        json_t *trial = claim_nth(house, worker, 1);
        json_decref(house_must(house, 409, ROUTE_SWEEP_DELETE, sweep, NULL));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        json_decref(house_must(house, 204, ROUTE_SWEEP_DELETE, sweep, NULL));
        json_decref(house_must(house, 404, ROUTE_SWEEP_GET, sweep, NULL));
        json_decref(house_must(house, 404, ROUTE_TRIAL_GET, text_of(trial, "id"), NULL));
        json_decref(house_report(house, 404, trial, 1, ""));
        json_decref(house_must(house, 404, ROUTE_SWEEP_DELETE, sweep, NULL));
        house_wait(house, 100);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void the_list_is_paged_filtered_and_its_cursors_checked(void **state) {
        struct house *house = *state;
        char *ids[5];
        for (int i = 0; i < 5; i++)
                ids[i] = house_sweep(house, SPEC(""));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, ids[1], "{'state':'paused'}"));
        struct ask *page = house_query(house, ROUTE_SWEEP_LIST, NULL, "limit", "2", NULL, NULL);
        assert_string_equal(text_of(json_array_get(json_object_get(page->body, "items"), 1), "id"), ids[1]);
        struct ask *next = house_query(house, ROUTE_SWEEP_LIST, NULL, "limit", "3", "after", text_of(page->body, "next"));
        assert_int_equal(json_array_size(json_object_get(next->body, "items")), 3);
        assert_true(json_is_null(json_object_get(next->body, "next")));
        struct ask *filtered = house_query(house, ROUTE_SWEEP_LIST, NULL, "state", "paused", NULL, NULL);
        assert_int_equal(json_array_size(json_object_get(filtered->body, "items")), 1);
        static const char *const wrong[][2] = {{"limit", "0"},        {"limit", "1001"}, {"limit", "x"}, {"after", "1-1-1"},
                                               {"after", "\xc3\xa4"}, {"after", ""},     {"state", "x"}};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct ask *ask = house_query(house, ROUTE_SWEEP_LIST, NULL, wrong[i][0], wrong[i][1], NULL, NULL);
                assert_int_equal(ask->status, 422);
                ask_free(ask);
        }
        struct ask *foreign = house_query(house, ROUTE_WORKER_LIST, NULL, "after", text_of(page->body, "next"), NULL, NULL);
        assert_int_equal(foreign->status, 422);
        ask_free(foreign);
        ask_free(page);
        ask_free(next);
        ask_free(filtered);
        for (int i = 0; i < 5; i++)
                free(ids[i]);
}

static void a_sweep_without_seed_draws_one_and_trials_get_theirs_by_number(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        json_t *sweep =
                house_must(house, 201, ROUTE_SWEEP_CREATE, NULL,
                           "{'method':'random','trainer':'external','metric':{'name':'a'},'parameters':{'lr':{'min':0.0,'max':1.0}}}");
        int64_t seed = number_of(sweep, "seed");
        assert_true(seed > 0 && seed < (INT64_C(1) << 53));
        json_t *first = claim_nth(house, worker, 1), *second = claim_nth(house, worker, 2);
        assert_true(number_of(first, "seed") != number_of(second, "seed"));
        house_reopen(house);
        json_t *again = house_get(house, ROUTE_SWEEP_GET, text_of(sweep, "id"));
        assert_int_equal(number_of(again, "seed"), seed);
        json_decref(again);
        json_decref(first);
        json_decref(second);
        json_decref(sweep);
        free(worker);
}

static void the_eta_comes_from_the_mean_trial_and_what_is_left(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':4"));
        json_t *trial = claim_nth(house, worker, 1);
        house_wait(house, 10);
        house_complete(house, trial, 1);
        json_decref(trial);
        trial = claim_nth(house, worker, 2);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_true(json_number_value(json_object_get(shown, "eta_s")) == 30);
        json_decref(shown);
        json_decref(trial);
        trial = claim_nth(house, worker, 3);
        shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_true(json_number_value(json_object_get(shown, "eta_s")) == 15); /* two run at once */
        json_decref(shown);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_warm_start_brings_the_best_trials_of_another_sweep(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *old = house_sweep(house, SPEC(",'run_cap':4"));
        for (int n = 1; n <= 4; n++)
                complete_one(house, worker, n, 0.1 * n);
        char text[512];
        snprintf(text, sizeof text, SPEC(",'run_cap':2,'warm_start':{'sweep':'%s','top':2}"), old);
        char *sweep = house_sweep(house, text);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.completed"), 2);
        assert_true(json_real_value(json_object_get(json_object_get(shown, "best"), "value")) == 0.4);
        json_decref(shown);
        json_t *list = house_get(house, ROUTE_TRIAL_LIST, sweep), *trial = json_array_get(json_object_get(list, "items"), 0);
        assert_string_equal(text_of(trial, "proposal.source"), "warm_start");
        assert_string_equal(text_of(trial, "proposal.sweep"), old);
        json_decref(list);
        complete_one(house, worker, 5, 0.2); /* run_cap counts own trials only */
        complete_one(house, worker, 6, 0.2);
        assert_null(claim_nth(house, worker, 7));
        house_reopen(house);
        assert_sweep(house, sweep, "state", "finished");
        free(worker);
        free(old);
        free(sweep);
}

static void a_warm_start_that_cannot_be_is_a_fault_and_creates_nothing(void **state) {
        struct house *house = *state;
        char *old = house_sweep(house, "{'method':'random','trainer':'external','metric':{'name':'loss'},'parameters':{'x':{'min':0.0,'max':1}}}");
        char text[512];
        static const struct {
                const char *warm, *words;
        } cases[] = {
                {"{'sweep':'nowhere'}", "there is no sweep"},
                {"{'sweep':'%s'}", "its metric is 'loss', not 'acc'"},
                {"[{'params':{'lr':0.5},'value':1},{'params':{'rate':0.5},'value':1}]", "no parameter"},
        };
        for (size_t i = 0; i < 3; i++) {
                char warm[256];
                snprintf(warm, sizeof warm, cases[i].warm, old);
                snprintf(text, sizeof text, SPEC(",'warm_start':%s"), warm);
                json_t *problem = house_must(house, 422, ROUTE_SWEEP_CREATE, NULL, text);
                const char *detail = json_string_value(json_object_get(json_array_get(json_object_get(problem, "errors"), 0), "detail"));
                assert_non_null(strstr(detail, cases[i].words));
                json_decref(problem);
        }
        json_t *list = house_get(house, ROUTE_SWEEP_LIST, "");
        assert_int_equal(json_array_size(json_object_get(list, "items")), 1);
        json_decref(list);
        json_t *sweep = house_must(house, 201, ROUTE_SWEEP_CREATE, NULL, SPEC(",'warm_start':[{'params':{'lr':0.5},'value':0.7}]"));
        assert_int_equal(number_of(sweep, "counts.completed"), 1);
        json_decref(sweep);
        json_decref(house_must(house, 422, ROUTE_SWEEP_CREATE, NULL,
                               "{'method':'random','trainer':'external','parameters':{'x':{'min':0,'max':9}},'constraints':[{'terms':{'x':2},"
                               "'min':7,'max':7}]}"));
        json_decref(house_must(house, 422, ROUTE_SWEEP_CREATE, NULL, /* it would walk over ten thousand million points */
                               "{'method':'grid','trainer':'external','parameters':{'a':{'min':0,'max':99999},'b':{'min':0,'max':99999}},"
                               "'constraints':[{'terms':{'a':1,'b':1},'min':199990}]}"));
        free(old);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_created_sweep_shows_what_the_contract_says),
                behaviour(all_faults_of_a_spec_come_at_once_and_nothing_is_created),
                behaviour(an_idempotent_create_gets_its_first_answer_and_another_body_is_refused),
                behaviour(run_cap_ends_a_sweep_without_another_claim_and_raising_it_goes_on),
                behaviour(a_run_cap_below_what_is_done_finishes_the_sweep),
                behaviour(a_grid_finishes_when_every_point_is_done),
                behaviour(a_reached_target_stops_new_trials_and_running_ones_end_normally),
                behaviour(what_waits_when_the_target_is_reached_is_cancelled_and_later_wishes_run),
                behaviour(what_waits_when_max_hours_are_over_is_cancelled_also_after_a_restart),
                behaviour(max_hours_end_a_sweep_by_themselves),
                behaviour(pause_after_pauses_and_resuming_starts_the_next_stage),
                behaviour(repeated_wishes_are_no_errors),
                behaviour(only_a_sweep_that_does_not_run_can_be_deleted),
                behaviour(the_list_is_paged_filtered_and_its_cursors_checked),
                behaviour(a_sweep_without_seed_draws_one_and_trials_get_theirs_by_number),
                behaviour(a_warm_start_brings_the_best_trials_of_another_sweep),
                behaviour(a_warm_start_that_cannot_be_is_a_fault_and_creates_nothing),
                behaviour(the_eta_comes_from_the_mean_trial_and_what_is_left),
        };
        return cmocka_run_group_tests_name("sweeps", tests, NULL, NULL);
}
