#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define SPEC(rest) \
        "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':" \
        "1.0}}" rest "}"

static json_t *create(struct house *house, int status, const char *sweep, const char *body) {
        return house_must(house, status, ROUTE_TRIAL_CREATE, sweep, body);
}

static const json_t *item(const json_t *answer, size_t i) {
        return json_array_get(json_object_get(answer, "items"), i);
}

static void enqueued_and_imported_trials_are_answered_and_counted(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC(",'run_cap':2,'baseline':{'lr':0.5}"));
        json_t *answer = create(house, 201, sweep, "{'trials':[{'params':{}},{'params':{'lr':7.5},'value':0.85}]}");
        assert_string_equal(text_of(item(answer, 0), "state"), "queued");
        assert_true(json_real_value(json_get_dotted(item(answer, 0), "params.lr")) == 0.5);
        assert_int_equal(number_of(item(answer, 0), "attempt"), 0);
        assert_string_equal(text_of(item(answer, 1), "state"), "completed");
        assert_true(json_real_value(json_object_get(item(answer, 1), "value")) == 0.85);
        assert_int_equal(number_of(item(answer, 1), "number"), 2);
        json_decref(answer);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.queued"), 1);
        assert_int_equal(number_of(shown, "counts.completed"), 1);
        json_decref(shown);
        char *worker = house_worker(house, "w");
        json_t *first = house_claim(house, worker, "c1"), *second = house_claim(house, worker, "c2"),
               *third = house_claim(house, worker, "c3");
        assert_non_null(second); /* the import does not count towards run_cap */
        assert_null(third);
        json_decref(first);
        json_decref(second);
        free(worker);
        free(sweep);
}

static void a_faulty_item_refuses_the_whole_request(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC(""));
        json_t *problem =
                create(house, 422, sweep, "{'trials':[{'params':{'lr':0.5}},{'params':{'lr':2.5}},{'params':{'x':1}},{'params':{}}]}");
        const json_t *errors = json_object_get(problem, "errors");
        assert_true(json_array_size(errors) >= 3);
        assert_string_equal(text_of(json_array_get(errors, 0), "pointer"), "/trials/1/params/lr");
        json_decref(problem);
        json_t *list = house_get(house, ROUTE_TRIAL_LIST, sweep);
        assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
        json_decref(list);
        json_decref(create(house, 404, "none", "{'params':{'lr':0.5}}"));
        free(sweep);
}

static void enqueueing_reopens_a_finished_sweep_and_importing_does_not(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':1"));
        json_t *trial = house_claim(house, worker, "c1");
        house_complete(house, trial, 1);
        json_decref(trial);
        json_decref(create(house, 201, sweep, "{'params':{'lr':0.1},'value':3}"));
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        assert_int_equal(json_number_value(json_get_dotted(shown, "best.value")), 3);
        json_decref(shown);
        json_decref(create(house, 201, sweep, "{'params':{'lr':0.1}}"));
        shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "running");
        json_decref(shown);
        trial = house_claim(house, worker, "c2");
        house_complete(house, trial, 1);
        json_decref(trial);
        shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        json_decref(shown);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
        json_decref(create(house, 409, sweep, "{'params':{'lr':0.1}}"));
        free(worker);
        free(sweep);
}

static void cancelling_is_for_open_trials_and_may_be_repeated(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':1"));
        json_t *answer = create(house, 201, sweep, "{'params':{'lr':0.1}}");
        const char *id = text_of(item(answer, 0), "id");
        for (int i = 0; i < 2; i++) {
                json_t *trial = house_must(house, 200, ROUTE_TRIAL_CANCEL, id, i ? "{}" : NULL);
                assert_string_equal(text_of(trial, "state"), "cancelled");
                json_decref(trial);
        }
        json_decref(house_must(house, 422, ROUTE_TRIAL_CANCEL, id, "{'why':'x'}"));
        json_decref(house_must(house, 404, ROUTE_TRIAL_CANCEL, "none", NULL));
        json_decref(answer);
        answer = create(house, 201, sweep, "{'params':{'lr':0.1},'value':1}");
        json_decref(house_must(house, 409, ROUTE_TRIAL_CANCEL, text_of(item(answer, 0), "id"), NULL));
        json_decref(answer);
        free(worker);
        free(sweep);
}

static void a_retry_queues_an_ended_trial_with_a_fresh_allowance(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':1,'max_attempts':1"));
        json_t *trial = house_claim(house, worker, "c1");
        json_decref(house_must(house, 409, ROUTE_TRIAL_RETRY, text_of(trial, "id"), NULL));
        json_decref(house_report(house, 200, trial, 1, ",'outcome':{'state':'failed','reason':'crashed'}"));
        for (int i = 0; i < 2; i++) {
                json_t *shown = house_must(house, 200, ROUTE_TRIAL_RETRY, text_of(trial, "id"), NULL);
                assert_string_equal(text_of(shown, "state"), "queued");
                assert_true(json_is_null(json_object_get(shown, "reason")));
                assert_true(json_is_null(json_object_get(shown, "worker")));
                json_decref(shown);
        }
        json_t *sweep_shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(sweep_shown, "state"), "running");
        json_decref(sweep_shown);
        json_t *again = house_claim(house, worker, "c2");
        assert_int_equal(number_of(again, "attempt"), 2);
        assert_string_equal(text_of(again, "id"), text_of(trial, "id"));
        house_complete(house, again, 0.5);
        sweep_shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(sweep_shown, "state"), "finished");
        json_decref(sweep_shown);
        json_decref(again);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void the_allowance_after_a_retry_is_a_full_one(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':1,'max_attempts':2"));
        static const char *const expected[] = {"queued", "failed", "queued", "failed"};
        for (int i = 0; i < 4; i++) {
                char id[16];
                snprintf(id, sizeof id, "c%d", i);
                json_t *trial = house_claim(house, worker, id);
                json_decref(house_report(house, 200, trial, 1, ",'outcome':{'state':'failed','reason':'crashed'}"));
                json_t *shown = house_get(house, ROUTE_TRIAL_GET, text_of(trial, "id"));
                assert_string_equal(text_of(shown, "state"), expected[i]);
                if (i == 1)
                        json_decref(house_must(house, 200, ROUTE_TRIAL_RETRY, text_of(trial, "id"), NULL));
                json_decref(shown);
                json_decref(trial);
        }
        free(worker);
        free(sweep);
}

/* Walks all pages; the values in order as one text. */
static char *walk(struct house *house, const char *sweep, const char *sort, void (*between)(struct house *house, const char *sweep)) {
        char text[512] = "", *cursor = NULL;
        do {
                struct ask *page =
                        house_query(house, ROUTE_TRIAL_LIST, sweep, "sort", sort, cursor ? "after" : "limit", cursor ? cursor : "2");
                assert_int_equal(page->status, 200);
                size_t i;
                const json_t *trial;
                json_array_foreach(json_object_get(page->body, "items"), i, trial)
                        snprintf(text + strlen(text), sizeof text - strlen(text), "%d ", (int)number_of(trial, "number"));
                free(cursor);
                cursor = json_is_string(json_object_get(page->body, "next")) ? strdup(text_of(page->body, "next")) : NULL;
                ask_free(page);
                if (between)
                        between(house, sweep);
                between = NULL;
        } while (cursor);
        return strdup(text);
}

static void import_a_better_one(struct house *house, const char *sweep) {
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.1},'value':100}"));
}

static void lists_sort_by_value_with_nulls_last_both_ways(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC(""));
        json_decref(create(house, 201, sweep,
                           "{'trials':[{'params':{'lr':0.1},'value':2},{'params':{'lr':0.1}},{'params':{'lr':0.1},'value':3},"
                           "{'params':{'lr':0.1},'value':-1},{'params':{'lr':0.1},'value':2}]}"));
        char *order = walk(house, sweep, "value", NULL);
        assert_string_equal(order, "4 1 5 3 2 ");
        free(order);
        order = walk(house, sweep, "-value", import_a_better_one);
        assert_string_equal(order, "3 1 5 4 2 6 ");
        free(order);
        order = walk(house, sweep, "created", NULL);
        assert_string_equal(order, "1 2 3 4 5 6 ");
        free(order);
        struct ask *page = house_query(house, ROUTE_TRIAL_LIST, sweep, "state", "queued", "limit", "1");
        assert_int_equal(number_of(item(page->body, 0), "number"), 2);
        assert_true(json_is_null(json_object_get(page->body, "next")));
        ask_free(page);
        free(sweep);
}

static void a_cursor_of_another_list_is_refused(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC("")), *other = house_sweep(house, SPEC(""));
        json_decref(create(house, 201, sweep, "{'trials':[{'params':{'lr':0.1}},{'params':{'lr':0.2}}]}"));
        struct ask *page = house_query(house, ROUTE_TRIAL_LIST, sweep, "limit", "1", NULL, NULL);
        const char *cursor = text_of(page->body, "next");
        struct ask *wrong[] = {
                house_query(house, ROUTE_TRIAL_LIST, other, "after", cursor, NULL, NULL),
                house_query(house, ROUTE_TRIAL_LIST, sweep, "after", cursor, "sort", "value"),
                house_query(house, ROUTE_TRIAL_LIST, sweep, "after", cursor, "state", "queued"),
                house_query(house, ROUTE_TRIAL_LIST, sweep, "sort", "sideways", NULL, NULL),
                house_query(house, ROUTE_TRIAL_LIST, sweep, "colour", "red", NULL, NULL),
        };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                assert_int_equal(wrong[i]->status, 422);
                ask_free(wrong[i]);
        }
        assert_int_equal(strspn(cursor, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"), strlen(cursor));
        ask_free(page);
        free(sweep);
        free(other);
}

static void exports_hold_every_trial(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, "{'method':'random','trainer':'external','metric':{'name':'a,b'},'parameters':{'opt':{'parameters'"
                                         ":{'lr':{'min':0.0,'max':1.0}}},"
                                         "'name':{'values':['a,b','say \\u0022x\\u0022']}}}");
        json_decref(create(house, 201, sweep,
                           "{'trials':[{'params':{'opt':{'lr':0.5},'name':'a,b'},'value':0.85},{'params':{'opt':{'lr':0.25},'name':'say "
                           "\\u0022x\\u0022'}}]}"));
        struct ask *csv = house_query(house, ROUTE_SWEEP_EXPORT, sweep, "format", "csv", NULL, NULL);
        assert_int_equal(csv->status, 200);
        assert_string_equal(csv->call.response.content_type, "text/csv; charset=utf-8");
        assert_memory_equal(csv->text, "number,id,state,value", 21);
        assert_non_null(strstr(csv->text, "params.opt.lr"));
        assert_non_null(strstr(csv->text, "0.85"));
        assert_non_null(strstr(csv->text, "\"a,b\""));
        assert_non_null(strstr(csv->text, "\"say \"\"x\"\"\""));
        ask_free(csv);
        struct ask *lines = house_query(house, ROUTE_SWEEP_EXPORT, sweep, "format", "jsonl", NULL, NULL);
        char *second = strchr(lines->text, '\n') + 1;
        json_t *trial = NULL;
        assert_int_equal(json_read(second, strcspn(second, "\n"), &trial, NULL), 0);
        assert_int_equal(number_of(trial, "number"), 2);
        json_decref(trial);
        ask_free(lines);
        json_t *whole = house_get(house, ROUTE_SWEEP_EXPORT, sweep);
        assert_int_equal(json_array_size(json_object_get(whole, "items")), 2);
        json_decref(whole);
        struct ask *wrong = house_query(house, ROUTE_SWEEP_EXPORT, sweep, "format", "xml", NULL, NULL);
        assert_int_equal(wrong->status, 422);
        ask_free(wrong);
        free(sweep);
}

static void the_best_trial_is_by_goal_and_null_without_a_value(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC(""));
        json_t *best = house_get(house, ROUTE_SWEEP_BEST, sweep);
        assert_true(json_is_null(json_object_get(best, "trial")));
        json_decref(best);
        json_decref(create(house, 201, sweep,
                           "{'trials':[{'params':{'lr':0.1},'value':2},{'params':{'lr':0.1},'value':5},{'params':{'lr':0.1},'value':5}]}"));
        best = house_get(house, ROUTE_SWEEP_BEST, sweep);
        assert_int_equal(number_of(best, "trial.number"), 2);
        json_decref(best);
        free(sweep);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(enqueued_and_imported_trials_are_answered_and_counted),
                behaviour(a_faulty_item_refuses_the_whole_request),
                behaviour(enqueueing_reopens_a_finished_sweep_and_importing_does_not),
                behaviour(cancelling_is_for_open_trials_and_may_be_repeated),
                behaviour(a_retry_queues_an_ended_trial_with_a_fresh_allowance),
                behaviour(the_allowance_after_a_retry_is_a_full_one),
                behaviour(lists_sort_by_value_with_nulls_last_both_ways),
                behaviour(a_cursor_of_another_list_is_refused),
                behaviour(exports_hold_every_trial),
                behaviour(the_best_trial_is_by_goal_and_null_without_a_value),
        };
        return cmocka_run_group_tests_name("trials", tests, NULL, NULL);
}
