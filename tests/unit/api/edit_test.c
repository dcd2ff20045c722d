#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define SPEC(method, rest) \
        "{'method':'" method "','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':" \
        "1.0},'opt':{'values':['sgd','adam']}}" rest "}"

static json_t *claim_nth(struct house *house, const char *worker, int n) {
        char id[16];
        snprintf(id, sizeof id, "n%d", n);
        return house_claim(house, worker, id);
}

static void complete(struct house *house, const char *worker, int from, int n) {
        for (int i = 0; i < n; i++) {
                json_t *trial = claim_nth(house, worker, from + i);
                assert_non_null(trial);
                double lr = json_number_value(json_get_dotted(trial, "params.lr"));
                house_complete(house, trial, 1 - (lr - 0.3) * (lr - 0.3));
                json_decref(trial);
        }
}

static json_t *edit(struct house *house, int status, const char *sweep, const char *patch) {
        char body[2048];
        snprintf(body, sizeof body, "{'spec':%s}", patch);
        return house_must(house, status, ROUTE_SWEEP_PATCH, sweep, body);
}

static bool has_fault(const json_t *problem, const char *pointer) {
        size_t i;
        json_t *fault;
        json_array_foreach(json_object_get(problem, "errors"), i, fault)
                if (strcmp(text_of(fault, "pointer"), pointer) == 0)
                        return true;
        return false;
}

static void assert_refused(struct house *house, const char *sweep, const char *patch, const char *pointer) {
        json_t *problem = edit(house, 422, sweep, patch);
        if (!has_fault(problem, pointer)) {
                char *text = json_text(problem);
                fail_msg("%s: no fault at %s in %s", patch, pointer, text);
        }
        json_decref(problem);
}

static void proposals_keep_to_new_bounds(void **state) {
        static const char *const methods[] = {SPEC("random", ""), SPEC("sobol", ""), SPEC("bayes", "")};
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        for (size_t m = 0; m < 3; m++) {
                char *sweep = house_sweep(house, methods[m]);
                complete(house, worker, 100 * (int)m, 8);
                json_t *open = claim_nth(house, worker, 100 * (int)m + 50);
                json_t *shown = edit(house, 200, sweep, "{'parameters':{'lr':{'min':0.6,'max':2.0},'opt':{'values':['adam','lion']}},'run_cap':30}");
                assert_int_equal(number_of(shown, "spec_version"), 2);
                assert_int_equal(number_of(shown, "run_cap"), 30);
                assert_int_equal(number_of(shown, "counts.running"), 1);
                json_decref(shown);
                house_complete(house, open, 0.5); /* what runs ends as it is */
                json_decref(open);
                bool lion = false;
                for (int i = 0; i < 12; i++) {
                        json_t *trial = claim_nth(house, worker, 100 * (int)m + 60 + i);
                        double lr = json_number_value(json_get_dotted(trial, "params.lr"));
                        assert_true(lr >= 0.6 && lr <= 2.0);
                        assert_string_not_equal(text_of(trial, "params.opt"), "sgd");
                        lion |= strcmp(text_of(trial, "params.opt"), "lion") == 0;
                        house_complete(house, trial, lr);
                        json_decref(trial);
                }
                assert_true(lion);
                json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
                free(sweep);
        }
        free(worker);
}

/* The values of four more proposals as one text. */
static char *follow(struct house *house, const char *worker, int from) {
        char *all = strdup("");
        for (int i = 0; i < 4; i++) {
                json_t *trial = claim_nth(house, worker, from + i);
                char *params = json_text(json_object_get(trial, "params")), *longer = NULL;
                assert_true(asprintf(&longer, "%s%s\n", all, params) > 0);
                house_complete(house, trial, 0.25 * i);
                json_decref(trial);
                free(params);
                free(all);
                all = longer;
        }
        return all;
}

static void a_restart_after_an_edit_changes_no_proposal(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *seen[2];
        for (int round = 0; round < 2; round++) {
                char *sweep = house_sweep(house, SPEC("bayes", ",'fixed':{'epochs':3}"));
                complete(house, worker, 100 * round, 7);
                json_decref(edit(house, 200, sweep, "{'parameters':{'lr':{'max':0.8},'wd':{'min':0.0,'max':0.1,'default':0.05},'opt':{'values':['adam']},"
                                                    "'epochs':{'values':[3,4],'default':3}},'fixed':{'epochs':null}}"));
                char *first = follow(house, worker, 100 * round + 20);
                json_decref(edit(house, 200, sweep, "{'parameters':{'wd':{'max':0.2}}}"));
                if (round == 1)
                        house_reopen(house);
                char *rest = follow(house, worker, 100 * round + 40);
                assert_true(asprintf(&seen[round], "%s%s", first, rest) > 0);
                assert_non_null(strstr(first, "\"wd\":"));
                json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
                free(first);
                free(rest);
                free(sweep);
        }
        assert_string_equal(seen[0], seen[1]);
        free(seen[0]);
        free(seen[1]);
        free(worker);
}

static void a_wider_grid_runs_what_is_new_and_nothing_twice(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, "{'method':'grid','trainer':'external','metric':{'name':'acc'},'parameters':{'a':{'values':[1,2]},'b':{'values':['x','y']}}}");
        for (int i = 0; i < 4; i++) {
                json_t *trial = claim_nth(house, worker, i);
                house_complete(house, trial, i);
                json_decref(trial);
        }
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        json_decref(shown);
        shown = edit(house, 200, sweep, "{'name':'the same points'}");
        assert_string_equal(text_of(shown, "state"), "finished");
        assert_string_equal(text_of(shown, "name"), "the same points");
        json_decref(shown);
        shown = edit(house, 200, sweep, "{'parameters':{'a':{'values':[2,3]},'c':{'values':[0,1],'default':0}}}");
        assert_string_equal(text_of(shown, "state"), "running"); /* 2·2·2 points, of which (2, ·, 0) are there */
        json_decref(shown);
        int n = 0;
        json_t *trial;
        while ((trial = claim_nth(house, worker, 10 + n))) {
                assert_true(number_of(trial, "params.a") == 3 || number_of(trial, "params.c") == 1);
                house_complete(house, trial, n++);
                json_decref(trial);
                if (n == 2)
                        house_reopen(house);
        }
        assert_int_equal(n, 6);
        shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        assert_int_equal(number_of(shown, "counts.completed"), 10);
        json_decref(shown);
        free(worker);
        free(sweep);
}

#define STAGED \
        "{'method':'staged','trainer':'external','seed':2,'metric':{'name':'acc','goal':'maximize'},'baseline':{'a':1,'b':1,'c':1}," \
        "'parameters':{'a':{'min':0,'max':9},'b':{'min':0,'max':9},'c':{'min':0,'max':9}},'stages':[" OFAT ",{'method':'grid','select_top':1," \
        "'values':{'a':[1,2],'b':[1,2],'c':[1,2]}},{'method':'bayes','select_top':1,'run_cap':3}]}"
#define OFAT "{'method':'ofat','levels':{'a':[5],'b':[6],'c':[7]},'pause_after':true}"

static void stages_to_come_are_overridden_at_the_pause_between_them(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, STAGED);
        json_t *trial = claim_nth(house, worker, 0);
        house_complete(house, trial, 0.5);
        json_decref(trial);
        /* a pause of a person in the middle of a stage is not the one after it */
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        for (int i = 1; i < 4; i++) {
                trial = claim_nth(house, worker, i);
                house_complete(house, trial, 0.5 + 0.1 * (double)number_of(trial, "params.a"));
                json_decref(trial);
        }
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "paused");
        json_decref(shown);
        /* OFAT would have selected a; the person wants b and c, on other values, and more of Bayes */
        shown = house_must(house, 200, ROUTE_SWEEP_PATCH, sweep,
                           "{'state':'running','spec':{'stages':[" OFAT ",{'method':'grid','values':{'b':[3,4],'c':[3]}},"
                           "{'method':'bayes','parameters':{'c':{'min':2,'max':4}},'run_cap':2,'warm_start':true},{'method':'confirm','top_k':1,'repeats':2}]}}");
        assert_string_equal(text_of(shown, "state"), "running");
        json_decref(shown);
        for (int i = 0; i < 2; i++) {
                trial = claim_nth(house, worker, 10 + i);
                assert_int_equal(number_of(trial, "params.a"), 1);
                assert_int_equal(number_of(trial, "params.b"), 3 + i);
                assert_int_equal(number_of(trial, "params.c"), 3);
                house_complete(house, trial, 0.3);
                json_decref(trial);
        }
        for (int i = 0; i < 4; i++) {
                trial = claim_nth(house, worker, 20 + i);
                assert_non_null(trial);
                assert_true(i >= 2 || (number_of(trial, "params.c") >= 2 && number_of(trial, "params.c") <= 4));
                house_complete(house, trial, 0.3);
                json_decref(trial);
        }
        shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "finished");
        json_decref(shown);
        assert_refused(house, sweep, "{'stages':[" OFAT "]}", "/spec/stages");
        assert_refused(house, sweep, "{'stages':[{'method':'ofat','levels':{'a':[5]}},{'method':'grid','values':{'b':[3,4],'c':[3]}},"
                                     "{'method':'bayes','run_cap':2},{'method':'random','run_cap':2}]}", "/spec/stages/0");
        assert_refused(house, sweep, "{'stages':[" OFAT ",{'method':'grid','values':{'b':[3,4],'c':[3]}},{'method':'bayes','parameters':{'c':{'min':2,"
                                     "'max':4}},'run_cap':2,'warm_start':true},{'method':'random','run_cap':2}]}", "/spec/stages/3/method");
        free(worker);
        free(sweep);
}

static void a_finite_space_that_is_used_up_is_not_taken_for_an_open_one(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, "{'method':'staged','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'a':{'values':[1,2,3]}},"
                                         "'stages':[{'method':'bayes','run_cap':50,'pause_after':true},{'method':'confirm','top_k':1,'repeats':2}]}");
        for (int i = 0; i < 3; i++) {
                json_t *trial = claim_nth(house, worker, i);
                house_complete(house, trial, i);
                json_decref(trial);
        }
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_string_equal(text_of(shown, "state"), "paused"); /* nothing is tried twice */
        json_decref(shown);
        house_reopen(house);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        for (int i = 0; i < 2; i++) {
                json_t *trial = claim_nth(house, worker, 10 + i);
                assert_non_null(trial);
                house_complete(house, trial, i);
                json_decref(trial);
        }
        free(sweep);
        sweep = house_sweep(house, "{'method':'bayes','trainer':'external','seed':1,'metric':{'name':'acc'},'parameters':{'a':{'values':[1,2,3]}}}");
        for (int i = 0; i < 3; i++) {
                json_t *trial = claim_nth(house, worker, 20 + i);
                house_complete(house, trial, i);
                json_decref(trial);
        }
        json_decref(edit(house, 200, sweep, "{'name':'the same points'}"));
        json_t *list = house_get(house, ROUTE_SWEEP_HISTORY, sweep), *items = json_object_get(list, "items");
        assert_int_equal(json_array_size(items), 3); /* created, finished, edited */
        assert_string_equal(text_of(json_array_get(items, 2), "what"), "edited");
        json_decref(list);
        free(worker);
        free(sweep);
}

static void what_trials_were_cannot_be_changed(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"),
             *sweep = house_sweep(house, SPEC("random", ",'fixed':{'epochs':3},'baseline':{'lr':0.5},'conditions':[{'parameter':'lr','when':{'opt':['sgd']}}]"));
        complete(house, worker, 0, 2);
        assert_refused(house, sweep, "{'method':'bayes'}", "/spec/method");
        assert_refused(house, sweep, "{'seed':2}", "/spec/seed");
        assert_refused(house, sweep, "{'trainer':'command','program':'x'}", "/spec/trainer");
        assert_refused(house, sweep, "{'repeats':3}", "/spec/repeats");
        assert_refused(house, sweep, "{'metric':{'goal':'minimize'}}", "/spec/metric/goal");
        assert_refused(house, sweep, "{'metric':{'name':'loss'}}", "/spec/metric/name");
        assert_refused(house, sweep, "{'fixed':{'epochs':4}}", "/spec/fixed/epochs");
        assert_refused(house, sweep, "{'fixed':{'batch':4}}", "/spec/fixed/batch");
        assert_refused(house, sweep, "{'fixed':{'epochs':null},'parameters':{'epochs':{'values':[3,4],'default':4}}}", "/spec/fixed/epochs");
        assert_refused(house, sweep, "{'baseline':{'lr':0.4}}", "/spec/baseline/lr");
        assert_refused(house, sweep, "{'baseline':{'wd':0.4}}", "/spec/baseline/wd");
        assert_refused(house, sweep, "{'parameters':{'opt':null},'conditions':null}", "/spec/parameters/opt");
        assert_refused(house, sweep, "{'conditions':null}", "/spec/conditions");
        assert_refused(house, sweep, "{'parameters':{'wd':{'min':0.0,'max':1.0}}}", "/spec/parameters/wd/default");
        assert_refused(house, sweep, "{'parameters':{'o':{'parameters':{'wd':{'min':0.0,'max':1.0}}}}}", "/spec/parameters/o/parameters/wd/default");
        assert_refused(house, sweep, "{'parameters':{'lr':{'min':3.0}}}", "/spec/parameters/lr/min");
        assert_refused(house, sweep, "{'parameters':{'wd':{'min':0.0,'max':1.0,'default':'a'}}}", "/spec/parameters/wd/default");
        assert_refused(house, sweep, "{'unheard_of':1}", "/spec/unheard_of");
        assert_refused(house, sweep, "{'constraints':[{'terms':{'lr':1},'min':9}]}", "/spec/constraints/0/min");
        json_t *shown = edit(house, 200, sweep, "{'metric':{'target':0.999}}");
        json_decref(shown);
        shown = edit(house, 200, sweep, "{'parameters':{'wd':{'min':0.0,'max':1.0,'default':0.1}}}");
        assert_int_equal(number_of(shown, "spec_version"), 3);
        json_decref(shown);
        assert_refused(house, sweep, "{'parameters':{'wd':{'default':0.2}}}", "/spec/parameters/wd/default");
        shown = edit(house, 200, sweep, "{}"); /* nothing changes */
        assert_int_equal(number_of(shown, "spec_version"), 3);
        json_decref(shown);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
        json_decref(house_must(house, 409, ROUTE_SWEEP_PATCH, sweep, "{'spec':{'name':'x'}}"));
        free(worker);
        free(sweep);
}

static void evidence_outside_of_the_new_space_still_counts(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC("bayes", ""));
        complete(house, worker, 0, 10);
        json_decref(edit(house, 200, sweep, "{'parameters':{'lr':{'max':0.1},'opt':{'values':['lion']},'wd':{'min':0.0,'max':1.0,'default':0.0}}}"));
        json_t *answer = house_get(house, ROUTE_SWEEP_IMPORTANCE, sweep);
        assert_int_equal(number_of(answer, "n"), 10);
        json_decref(answer);
        json_decref(edit(house, 200, sweep, "{'parameters':{'lr':{'min':null,'max':null,'value':0.05}}}"));
        answer = house_get(house, ROUTE_SWEEP_IMPORTANCE, sweep);
        assert_int_equal(number_of(answer, "n"), 10);
        json_decref(answer);
        json_t *trial = claim_nth(house, worker, 50);
        assert_true(json_number_value(json_get_dotted(trial, "params.lr")) == 0.05);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_question_that_waits_is_not_answered_from_before_the_edit_for_those_after_it(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC("random", ""));
        complete(house, worker, 0, 6);
        house->hold_jobs = true;
        struct ask *first = house_ask(house, ROUTE_SWEEP_IMPORTANCE, sweep, NULL);
        assert_false(first->is_done);
        json_decref(edit(house, 200, sweep, "{'parameters':{'wd':{'min':0.0,'max':1.0,'default':0.0}}}"));
        house->hold_jobs = false;
        house_turn(house);
        assert_int_equal(first->status, 200);
        assert_int_equal(json_array_size(json_object_get(first->body, "parameters")), 2);
        json_t *answer = house_get(house, ROUTE_SWEEP_IMPORTANCE, sweep);
        assert_int_equal(json_array_size(json_object_get(answer, "parameters")), 3);
        json_decref(answer);
        ask_free(first);
        free(worker);
        free(sweep);
}

static void the_history_tells_what_happened_and_outlives_a_restart(void **state) {
        static const char *const texts[] = {
                "created", "enqueued 2 trials (numbers 1 to 2)", "imported 1 trial (number 3)", "retried trial 1",
                "edited: parameters.lr.max: 1.0 → 0.5; parameters.wd: (none) → {\"min\":0.0,\"max\":1.0,\"default\":0.0}",
                "paused", "prioritised: priority: 0 → 3", "extended: run_cap: 4 → 7", "resumed", "cancelled trial 2", "cancelled"};
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC("random", ",'run_cap':4"));
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'trials':[{'params':{'lr':0.1,'opt':'sgd'}},{'params':{'lr':0.2,'opt':'sgd'}}]}"));
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.1,'opt':'sgd'},'value':0.2}"));
        json_t *trial = claim_nth(house, worker, 0);
        house_complete(house, trial, 0.5);
        json_decref(house_must(house, 200, ROUTE_TRIAL_RETRY, text_of(trial, "id"), NULL));
        json_decref(trial);
        json_decref(edit(house, 200, sweep, "{'parameters':{'lr':{'max':0.5},'wd':{'min':0.0,'max':1.0,'default':0.0}}}"));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'run_cap':7,'priority':3}"));
        house_reopen(house);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        json_t *list = house_get(house, ROUTE_TRIAL_LIST, sweep);
        json_t *second = json_array_get(json_object_get(list, "items"), 1);
        json_decref(house_must(house, 200, ROUTE_TRIAL_CANCEL, text_of(second, "id"), NULL));
        json_decref(list);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
        list = house_get(house, ROUTE_SWEEP_HISTORY, sweep);
        json_t *items = json_object_get(list, "items");
        size_t n = sizeof texts / sizeof *texts;
        assert_int_equal(json_array_size(items), n);
        for (size_t i = 0; i < n; i++) {
                const json_t *item = json_array_get(items, i);
                assert_string_equal(text_of(item, "text"), texts[i]);
                assert_string_equal(text_of(item, "who"), "");
        }
        assert_int_equal(number_of(json_array_get(items, 4), "trials"), 3);
        assert_string_equal(text_of(json_array_get(json_object_get(json_array_get(items, 4), "changes"), 0), "pointer"), "/parameters/lr/max");
        json_decref(list);
        json_decref(house_must(house, 404, ROUTE_SWEEP_HISTORY, "none", NULL));
        struct ask *page = house_query(house, ROUTE_SWEEP_HISTORY, sweep, "limit", "4", NULL, NULL);
        assert_int_equal(json_array_size(json_object_get(page->body, "items")), 4);
        struct ask *next = house_query(house, ROUTE_SWEEP_HISTORY, sweep, "limit", "1000", "after", text_of(page->body, "next"));
        assert_int_equal(json_array_size(json_object_get(next->body, "items")), n - 4);
        ask_free(page);
        ask_free(next);
        free(worker);
        free(sweep);
}

static void enqueue_two(struct house *house, const char *sweep, const char *key) {
        struct ask *ask = house_ask_keyed(house, ROUTE_TRIAL_CREATE, sweep, "{'trials':[{'params':{'lr':0.1,'opt':'sgd'}},{'params':{'lr':0.2,'opt':'sgd'}}]}", key);
        assert_int_equal(ask->status, 201);
        ask_free(ask);
}

static void the_pieces_of_one_import_are_one_change(void **state) {
        static const char *const texts[] = {"created", "enqueued 4 trials (numbers 1 to 4)", "enqueued 2 trials (numbers 5 to 6)",
                                            "imported 1 trial (number 7)", "enqueued 2 trials (numbers 8 to 9)", "enqueued 2 trials (numbers 10 to 11)",
                                            "enqueued 2 trials (numbers 12 to 13)"};
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC("random", ""));
        enqueue_two(house, sweep, "a.b.0");
        house_reopen(house);
        enqueue_two(house, sweep, "a.b.100");
        enqueue_two(house, sweep, "a.b.100"); /* a retry */
        enqueue_two(house, sweep, "a.c.200");
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'params':{'lr':0.1,'opt':'sgd'},'value':0.2}"));
        enqueue_two(house, sweep, "a.c.300");
        enqueue_two(house, sweep, "ac");
        enqueue_two(house, sweep, "ad");
        json_t *list = house_get(house, ROUTE_SWEEP_HISTORY, sweep), *items = json_object_get(list, "items");
        assert_int_equal(json_array_size(items), sizeof texts / sizeof *texts);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                assert_string_equal(text_of(json_array_get(items, i), "text"), texts[i]);
        assert_int_equal(number_of(json_array_get(items, 1), "trials"), 4);
        json_decref(list);
        free(sweep);
}

static void the_history_of_what_is_nested_as_deeply_as_can_be_can_be_read(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(house, SPEC("random", "")), opening[2045 * 5 + 1], closing[2045 + 1], *body = NULL;
        for (size_t i = 0; i < 2045; i++)
                memcpy(opening + 5 * i, "{'k':", 5);
        memset(closing, '}', 2045);
        opening[sizeof opening - 1] = closing[sizeof closing - 1] = '\0';
        assert_true(asprintf(&body, "{'spec':{'fixed':%s1%s}}", opening, closing) > 0);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, body));
        json_t *list = house_get(house, ROUTE_SWEEP_HISTORY, sweep);
        assert_string_equal(text_of(json_array_get(json_object_get(list, "items"), 1), "text"), "edited: fixed");
        json_decref(list);
        free(body);
        free(sweep);
}

static void the_coordinator_signs_its_own_doings_with_nobody(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC("random", ",'run_cap':1"));
        complete(house, worker, 0, 1);
        json_t *list = house_get(house, ROUTE_SWEEP_HISTORY, sweep);
        json_t *last = json_array_get(json_object_get(list, "items"), 1);
        assert_string_equal(text_of(last, "what"), "finished");
        assert_true(json_is_null(json_object_get(last, "who")));
        json_decref(list);
        free(worker);
        free(sweep);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(proposals_keep_to_new_bounds),
                TEST(a_restart_after_an_edit_changes_no_proposal),
                TEST(a_wider_grid_runs_what_is_new_and_nothing_twice),
                TEST(stages_to_come_are_overridden_at_the_pause_between_them),
                TEST(a_finite_space_that_is_used_up_is_not_taken_for_an_open_one),
                TEST(what_trials_were_cannot_be_changed),
                TEST(evidence_outside_of_the_new_space_still_counts),
                TEST(a_question_that_waits_is_not_answered_from_before_the_edit_for_those_after_it),
                TEST(the_history_tells_what_happened_and_outlives_a_restart),
                TEST(the_pieces_of_one_import_are_one_change),
                TEST(the_history_of_what_is_nested_as_deeply_as_can_be_can_be_read),
                TEST(the_coordinator_signs_its_own_doings_with_nobody),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
