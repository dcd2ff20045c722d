#include "harness.h"
#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM "{'method':'random','trainer':'external','seed':1,'metric':{'name':'loss'},'parameters':{'lr':{'min':0.0,'max':1.0}}"

static void a_claim_gets_a_trial_with_all_that_a_trainer_needs(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM ",'fixed':{'epochs':3}}");
        json_t *trial = house_claim(house, worker, "c1");
        assert_non_null(trial);
        assert_string_equal(text_of(trial, "sweep"), sweep);
        assert_int_equal(number_of(trial, "number"), 1);
        assert_int_equal(number_of(trial, "attempt"), 1);
        assert_int_equal(number_of(trial, "lease_s"), 60);
        assert_string_equal(text_of(trial, "trainer"), "external");
        assert_int_equal(number_of(trial, "fixed.epochs"), 3);
        assert_true(json_is_real(json_object_get(json_object_get(trial, "params"), "lr")));
        assert_true(json_is_null(json_object_get(trial, "resume")));
        assert_true(number_of(trial, "seed") >= 0);
        json_t *shown = house_get(house, ROUTE_TRIAL_GET, text_of(trial, "id"));
        assert_string_equal(text_of(shown, "state"), "running");
        assert_string_equal(text_of(shown, "worker"), worker);
        assert_int_equal(number_of(shown, "attempt"), 1);
        assert_string_equal(text_of(shown, "proposal.source"), "random");
        json_decref(shown);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_retried_claim_gets_its_first_answer_to_the_byte(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM "}"), body[128];
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'c1','slots':2}", worker);
        struct ask *first = house_ask(house, ROUTE_CLAIM, NULL, body);
        assert_int_equal(json_array_size(json_object_get(first->body, "trials")), 2);
        house_reopen(house);
        struct ask *second = house_ask(house, ROUTE_CLAIM, NULL, body);
        assert_string_equal(first->text, second->text);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.running"), 2);
        json_decref(shown);
        ask_free(first);
        ask_free(second);
        free(worker);
        free(sweep);
}

static void a_204_is_not_remembered(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        assert_null(house_claim(house, worker, "c1"));
        char *sweep = house_sweep(house, RANDOM "}");
        json_t *trial = house_claim(house, worker, "c1");
        assert_non_null(trial);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static struct ask *wait_for_work(struct house *house, const char *worker, const char *claim_id, const char *sweep, int wait_s) {
        char body[256];
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'%s','wait_s':%d%s%s%s}", worker, claim_id, wait_s,
                 sweep ? ",'sweep':'" : "", sweep ? sweep : "", sweep ? "'" : "");
        return house_ask(house, ROUTE_CLAIM, NULL, body);
}

static void a_waiting_claim_is_answered_when_work_comes_or_its_time_is_over(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        struct ask *first = wait_for_work(house, worker, "c1", NULL, 30), *second = wait_for_work(house, worker, "c2", NULL, 5);
        assert_false(first->is_done);
        assert_false(second->is_done);
        assert_int_equal(api_next_deadline(house->api), house->now_ms + 5000);
        house_wait(house, 5);
        assert_int_equal(second->status, 204);
        assert_false(first->is_done);
        char *sweep = house_sweep(house, RANDOM "}");
        assert_int_equal(first->status, 200);
        ask_free(first);
        ask_free(second);
        free(worker);
        free(sweep);
}

static void a_client_that_hung_up_gets_no_trial(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        struct ask *ask = wait_for_work(house, worker, "c1", NULL, 30);
        ask->is_gone = true;
        char *sweep = house_sweep(house, RANDOM "}");
        assert_int_equal(ask->status, 204);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.running"), 0);
        json_decref(shown);
        ask_free(ask);
        free(worker);
        free(sweep);
}

static void the_same_claim_again_gets_what_the_waiting_one_gets(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        struct ask *first = wait_for_work(house, worker, "c1", NULL, 30), *second = wait_for_work(house, worker, "c1", NULL, 30);
        assert_false(first->is_done);
        assert_false(second->is_done);
        char *sweep = house_sweep(house, RANDOM "}");
        assert_int_equal(first->status, 200);
        assert_int_equal(second->status, 200);
        assert_true(json_equal(first->body, second->body));
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.running"), 1);
        json_decref(shown);
        ask_free(first);
        ask_free(second);
        free(worker);
        free(sweep);
}

static void a_paused_sweep_hands_out_nothing_and_resuming_wakes_claims(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM "}");
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'paused'}"));
        struct ask *ask = wait_for_work(house, worker, "c1", sweep, 30);
        assert_false(ask->is_done);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'running'}"));
        assert_int_equal(ask->status, 200);
        ask_free(ask);
        free(worker);
        free(sweep);
}

static void cancelling_releases_the_claims_that_name_the_sweep(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM ",'run_cap':1}");
        json_t *trial = house_claim(house, worker, "c1");
        struct ask *ask = wait_for_work(house, worker, "c2", sweep, 30);
        assert_false(ask->is_done);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
        assert_int_equal(ask->status, 204);
        assert_string_equal(ask->sweep_state, "cancelled");
        ask_free(ask);
        ask = wait_for_work(house, worker, "c3", sweep, 30);
        assert_int_equal(ask->status, 204);
        assert_string_equal(ask->sweep_state, "cancelled");
        ask_free(ask);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void the_end_of_a_sweep_releases_the_claims_that_name_it(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM ",'run_cap':1}");
        json_t *trial = house_claim(house, worker, "c1");
        struct ask *ask = wait_for_work(house, worker, "c2", sweep, 30);
        house_complete(house, trial, 1);
        assert_int_equal(ask->status, 204);
        assert_string_equal(ask->sweep_state, "finished");
        ask_free(ask);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_released_trial_goes_first_to_who_released_it_for_one_lease_time(void **state) {
        struct house *house = *state;
        char *mine = house_worker(house, "w1"), *other = house_worker(house, "w2"), *sweep = house_sweep(house, RANDOM ",'run_cap':1}");
        json_t *trial = house_claim(house, mine, "c1");
        json_decref(house_report(house, 200, trial, 1, ",'outcome':{'state':'released','resume':{'step':40}}"));
        struct ask *waiting = wait_for_work(house, other, "c2", NULL, 60);
        house_wait(house, 30);
        assert_false(waiting->is_done);
        json_t *again = house_claim(house, mine, "c3");
        assert_non_null(again);
        assert_string_equal(text_of(again, "id"), text_of(trial, "id"));
        assert_int_equal(number_of(again, "attempt"), 2);
        assert_int_equal(number_of(again, "resume.step"), 40);
        assert_true(json_equal(json_object_get(again, "seed"), json_object_get(trial, "seed")));
        json_decref(house_report(house, 200, again, 1, ",'outcome':{'state':'released'}"));
        house_wait(house, 30);
        assert_true(waiting->is_done && waiting->status == 204);
        ask_free(waiting);
        waiting = wait_for_work(house, other, "c4", NULL, 60);
        assert_false(waiting->is_done);
        house_wait(house, 31);
        assert_int_equal(waiting->status, 200);
        ask_free(waiting);
        json_decref(trial);
        json_decref(again);
        free(mine);
        free(other);
        free(sweep);
}

static void each_release_is_reserved_for_its_own_time(void **state) {
        struct house *house = *state;
        char *mine = house_worker(house, "w1"), *other = house_worker(house, "w2"), *sweep = house_sweep(house, RANDOM ",'run_cap':2}");
        json_t *first = house_claim(house, mine, "c1"), *second = house_claim(house, mine, "c2");
        json_decref(house_report(house, 200, first, 1, ",'outcome':{'state':'released'}"));
        house_wait(house, 40);
        json_decref(house_report(house, 200, second, 1, ",'outcome':{'state':'released'}"));
        struct ask *a = wait_for_work(house, other, "a", NULL, 60), *b = wait_for_work(house, other, "b", NULL, 60);
        assert_int_equal(api_next_deadline(house->api), house->now_ms + 20000);
        house_wait(house, 20);
        assert_int_equal(a->status, 200);
        assert_false(b->is_done);
        house_reopen(house);
        ask_free(b);
        b = wait_for_work(house, other, "b", NULL, 60);
        assert_false(b->is_done);
        assert_int_equal(api_next_deadline(house->api), house->now_ms + 40000);
        house_wait(house, 40);
        assert_int_equal(b->status, 200);
        ask_free(a);
        ask_free(b);
        json_decref(first);
        json_decref(second);
        free(mine);
        free(other);
        free(sweep);
}

static void enqueued_trials_come_before_proposals_in_order(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM "}");
        json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, "{'trials':[{'params':{'lr':0.25}},{'params':{'lr':0.5}}]}"));
        const double expected[] = {0.25, 0.5};
        for (int i = 0; i < 3; i++) {
                char id[8];
                snprintf(id, sizeof id, "c%d", i);
                json_t *trial = house_claim(house, worker, id);
                double lr = json_real_value(json_object_get(json_object_get(trial, "params"), "lr"));
                if (i < 2)
                        assert_true(lr == expected[i]);
                json_decref(trial);
        }
        free(worker);
        free(sweep);
}

static void the_higher_priority_comes_first_then_the_least_running(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *low = house_sweep(house, RANDOM "}"), *low2 = house_sweep(house, RANDOM "}"),
             *high = house_sweep(house, RANDOM ",'priority':5,'run_cap':2}");
        const char *expected[] = {high, high, low, low2, low, low2};
        for (int i = 0; i < 6; i++) {
                char id[8];
                snprintf(id, sizeof id, "c%d", i);
                json_t *trial = house_claim(house, worker, id);
                assert_string_equal(text_of(trial, "sweep"), expected[i]);
                json_decref(trial);
        }
        free(worker);
        free(low);
        free(low2);
        free(high);
}

static void parallelism_limits_what_runs_at_once(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM ",'parallelism':1}");
        json_t *trial = house_claim(house, worker, "c1");
        struct ask *ask = wait_for_work(house, worker, "c2", NULL, 60);
        assert_false(ask->is_done);
        house_complete(house, trial, 1);
        assert_int_equal(ask->status, 200);
        ask_free(ask);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void a_claim_without_waiting_still_computes_a_proposal(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        char *sweep = house_sweep(house, "{'method':'bayes','trainer':'external','seed':1,'metric':{'name':'loss'},'run_cap':4,"
                                         "'parameters':{'lr':{'min':0.0,'max':1.0},'wd':{'min':0.0,'max':1.0}}}");
        house->hold_jobs = true;
        struct ask *ask = wait_for_work(house, worker, "c1", NULL, 0);
        if (!ask->is_done) {
                house_wait(house, 3);
                assert_false(ask->is_done);
                house->hold_jobs = false;
                house_turn(house);
        }
        assert_int_equal(ask->status, 200);
        ask_free(ask);
        house->hold_jobs = false;
        for (int i = 2; i < 5; i++) {
                char id[8];
                snprintf(id, sizeof id, "c%d", i);
                json_t *trial = house_claim(house, worker, id);
                assert_non_null(trial);
                house_complete(house, trial, i);
                json_decref(trial);
        }
        assert_null(house_claim(house, worker, "c9"));
        free(worker);
        free(sweep);
}

#define BAYES(rest) \
        "{'method':'bayes','trainer':'external','seed':1,'metric':{'name':'loss'},'parameters':{'lr':{'min':0.0,'max':1.0}}" rest "}"

static void a_result_starts_the_next_proposal_before_anybody_asks(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, BAYES(""));
        json_t *first = house_claim(house, worker, "c1"), *second = house_claim(house, worker, "c2");
        house->hold_jobs = true;
        house_turn(house);
        assert_int_equal(house->n_jobs, 0); /* claims alone prepare nothing */
        house_complete(house, first, 1);
        assert_int_equal(house->n_jobs, 1);
        house->hold_jobs = false;
        house_turn(house);
        house->hold_jobs = true;
        struct ask *ask = wait_for_work(house, worker, "c3", NULL, 0);
        assert_int_equal(ask->status, 200); /* without a computation */
        assert_int_equal(house->n_jobs, 0);
        house_complete(house, second, 2);
        house_complete(house, json_array_get(json_object_get(ask->body, "trials"), 0), 3); /* overtakes what is being computed */
        assert_int_equal(house->n_jobs, 1);
        house->hold_jobs = false;
        house_turn(house);
        json_t *last = house_claim(house, worker, "c4");
        assert_non_null(last);
        json_decref(last);
        json_decref(first);
        json_decref(second);
        ask_free(ask);
        free(worker);
        free(sweep);
}

static void with_one_trial_at_a_time_no_proposal_is_computed_in_vain(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, BAYES("")), id[8];
        for (int i = 0; i < 3; i++) {
                snprintf(id, sizeof id, "c%d", i);
                json_t *trial = house_claim(house, worker, id);
                house->hold_jobs = true;
                house_turn(house);
                assert_int_equal(house->n_jobs, 0); /* its result will make it worthless */
                house_complete(house, trial, i);
                assert_int_equal(house->n_jobs, 1);
                house->hold_jobs = false;
                house_turn(house);
                house->hold_jobs = true; /* and while the next claim takes it */
                json_decref(trial);
        }
        free(worker);
        free(sweep);
}

/* A claim is followed by work for the result to come: who needs a proposal computed waits for it, who can have a ready one does not. */
static void what_is_prepared_ahead_holds_up_no_ready_proposal(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, BAYES(""));
        for (int i = 0; i < 40; i++) {
                char body[96];
                snprintf(body, sizeof body, "{'params':{'lr':%g},'value':%d}", i / 40.0, i * 7 % 11);
                json_decref(house_must(house, 201, ROUTE_TRIAL_CREATE, sweep, body));
        }
        house->hold_jobs = true;
        json_t *first = house_claim(house, worker, "c1");
        assert_non_null(first);
        assert_int_equal(house->n_jobs, 1);
        struct ask *ask = wait_for_work(house, worker, "c2", NULL, 0);
        assert_false(ask->is_done);
        house_complete(house, first, 1); /* while it is prepared for */
        assert_int_equal(house->n_jobs, 1);
        house->hold_jobs = false;
        house_turn(house);
        assert_int_equal(ask->status, 200);
        json_t *second = json_incref(json_array_get(json_object_get(ask->body, "trials"), 0)), *third = house_claim(house, worker, "c3");
        ask_free(ask);
        assert_non_null(third);

        house->hold_jobs = true;
        house_complete(house, second, 2);
        assert_int_equal(house->n_jobs, 1); /* the next proposal, and then what comes after it */
        struct plan_job *job = house->jobs[--house->n_jobs];
        plan_job_compute(job);
        api_job_done(house->api, job);
        house_turn(house);
        assert_int_equal(house->n_jobs, 1);
        json_t *fourth = house_claim(house, worker, "c4");
        assert_non_null(fourth);
        house->hold_jobs = false;
        house_turn(house);
        json_decref(first);
        json_decref(second);
        json_decref(third);
        json_decref(fourth);
        free(worker);
        free(sweep);
}

static void a_worker_waits_for_the_proposal_of_a_higher_priority_but_not_of_an_equal_one(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        house->hold_jobs = true;
        char *low = house_sweep(house, RANDOM "}"), *high = house_sweep(house, BAYES(",'priority':1"));
        struct ask *ask = wait_for_work(house, worker, "c1", NULL, 0);
        assert_false(ask->is_done);
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, low, "{'priority':1}"));
        assert_int_equal(ask->status, 200);
        assert_string_equal(text_of(json_array_get(json_object_get(ask->body, "trials"), 0), "sweep"), low);
        house->hold_jobs = false;
        ask_free(ask);
        free(worker);
        free(low);
        free(high);
}

static void workers_that_cannot_evaluate_a_sweep_get_none_and_are_told_why(void **state) {
        struct house *house = *state;
        char *sweep = house_sweep(
                house, "{'method':'random','program':'train','metric':{'name':'loss'},'parameters':{'lr':{'min':0.0,'max':1.0}}}");
        json_t *registered = house_must(house, 201, ROUTE_WORKER_REGISTER, NULL,
                                        "{'name':'a','slots':1,'trainers':['command:train'],'model':{'sha256':'m1'}}");
        json_t *other = house_must(house, 201, ROUTE_WORKER_REGISTER, NULL,
                                   "{'name':'b','slots':1,'trainers':['command:train'],'model':{'sha256':'m2'}}");
        char *third = house_worker(house, "c");
        assert_null(house_claim(house, third, "c1"));
        json_t *trial = house_claim(house, text_of(registered, "id"), "c1");
        assert_non_null(trial);
        assert_null(house_claim(house, text_of(other, "id"), "c1"));
        json_t *workers = house_get(house, ROUTE_WORKER_LIST, NULL), *items = json_object_get(workers, "items");
        assert_int_equal(json_array_size(json_object_get(json_array_get(items, 0), "excluded")), 0);
        assert_int_equal(json_array_size(json_object_get(json_array_get(items, 0), "trials")), 1);
        const json_t *why = json_array_get(json_object_get(json_array_get(items, 1), "excluded"), 0);
        assert_non_null(strstr(text_of(why, "why"), "m1"));
        why = json_array_get(json_object_get(json_array_get(items, 2), "excluded"), 0);
        assert_non_null(strstr(text_of(why, "why"), "command:train"));
        json_t *shown = house_get(house, ROUTE_TRIAL_GET, text_of(trial, "id"));
        assert_string_equal(text_of(shown, "evaluator.model.sha256"), "m1");
        json_decref(shown);
        json_decref(workers);
        json_decref(trial);
        json_decref(registered);
        json_decref(other);
        free(third);
        free(sweep);
}

static void a_draining_worker_waits_in_vain(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, RANDOM "}");
        json_t *drained = house_must(house, 200, ROUTE_WORKER_DRAIN, worker, NULL);
        assert_string_equal(text_of(drained, "state"), "draining");
        assert_null(house_claim(house, worker, "c1"));
        json_decref(drained);
        json_decref(house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','instance':'i2','slots':1,'trainers':['external']}"));
        json_t *trial = house_claim(house, worker, "c2");
        assert_non_null(trial);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static void faults_of_a_claim_are_named(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), body[200];
        json_decref(house_must(house, 404, ROUTE_CLAIM, NULL, "{'worker':'nobody','claim_id':'c'}"));
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'c','sweep':'none'}", worker);
        json_decref(house_must(house, 404, ROUTE_CLAIM, NULL, body));
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'c','wait_s':61}", worker);
        json_decref(house_must(house, 422, ROUTE_CLAIM, NULL, body));
        free(worker);
}

static void draining_the_coordinator_answers_everybody_503(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        struct ask *ask = wait_for_work(house, worker, "c1", NULL, 60);
        api_drain(house->api);
        assert_int_equal(ask->status, 503);
        assert_true(ask->retry_after_s > 0);
        ask_free(ask);
        ask = house_ask(house, ROUTE_SWEEP_LIST, NULL, NULL);
        assert_int_equal(ask->status, 503);
        ask_free(ask);
        free(worker);
}

static void a_silent_worker_is_gone_and_comes_back_by_claiming(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w");
        house_wait(house, 121);
        house_expect_worker(house, "gone");
        assert_null(house_claim(house, worker, "c1"));
        house_expect_worker(house, "active");
        free(worker);
}

static void a_worker_is_there_while_its_claim_waits(void **state) {
        struct house *house = *state;
        house->lease_s = 3;
        house->is_watched = true;
        house_reopen(house);
        char *worker = house_worker(house, "w");
        struct ask *first = wait_for_work(house, worker, "c1", NULL, 30);
        house_wait(house, 29);
        house_expect_worker(house, "active");
        assert_int_equal(api_next_deadline(house->api), house->now_ms + 1000); /* nothing is to be done before its claim ends */
        house_wait(house, 2);
        assert_int_equal(first->status, 204);
        house_expect_worker(house, "active"); /* it was heard of when the claim ended */
        struct ask *second = wait_for_work(house, worker, "c2", NULL, 30);
        second->is_gone = true;
        house_wait(house, 31);
        house_expect_worker(house, "gone"); /* when its claim ended it was not heard of */
        ask_free(first);
        ask_free(second);
        free(worker);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

/* Claims as the instance. Does it hear that its name is another one's, too? */
static bool hears_of_another(struct house *house, const char *worker, const char *instance) {
        static int n;
        char body[160];
        snprintf(body, sizeof body, "{'worker':'%s','claim_id':'by %s %d'}", worker, instance, ++n);
        struct ask *ask = house_ask_as(house, ROUTE_CLAIM, body, instance);
        bool hears = ask->name_shared;
        assert_int_equal(ask->status, 204);
        ask_free(ask);
        return hears;
}

static bool is_shown_as_shared(struct house *house) {
        json_t *list = house_get(house, ROUTE_WORKER_LIST, NULL);
        bool is_shown = json_is_string(json_object_get(json_array_get(json_object_get(list, "items"), 0), "name_shared_since"));
        json_decref(list);
        return is_shown;
}

static void a_name_is_shared_as_long_as_an_older_process_goes_on_claiming(void **state) {
        struct house *house = *state;
        json_decref(house_must(house, 201, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','slots':1,'trainers':['external'],'instance':'old'}"));
        json_t *again = house_must(house, 200, ROUTE_WORKER_REGISTER, NULL, "{'name':'w','slots':1,'trainers':['external'],'instance':'new'}");
        const char *worker = text_of(again, "id");
        assert_false(hears_of_another(house, worker, "old"));
        house_wait(house, 0.5);
        assert_false(hears_of_another(house, worker, "old"));
        house_wait(house, 1);
        assert_false(hears_of_another(house, worker, "new") || is_shown_as_shared(house));
        assert_true(hears_of_another(house, worker, "old") && hears_of_another(house, worker, "new") && is_shown_as_shared(house));
        for (int i = 0; i < 10; i++) {
                house_wait(house, 60);
                assert_int_equal(hears_of_another(house, worker, "new"), i < 9);
        }
        assert_false(is_shown_as_shared(house) || hears_of_another(house, worker, "old")); /* it was taken for gone: perhaps its last words */
        house_wait(house, 2);
        assert_true(hears_of_another(house, worker, "old") && is_shown_as_shared(house));
        house_wait(house, 200);
        assert_false(is_shown_as_shared(house)); /* nobody is there */
        json_decref(again);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_claim_gets_a_trial_with_all_that_a_trainer_needs),
                behaviour(a_retried_claim_gets_its_first_answer_to_the_byte),
                behaviour(a_204_is_not_remembered),
                behaviour(a_waiting_claim_is_answered_when_work_comes_or_its_time_is_over),
                behaviour(a_client_that_hung_up_gets_no_trial),
                behaviour(the_same_claim_again_gets_what_the_waiting_one_gets),
                behaviour(a_paused_sweep_hands_out_nothing_and_resuming_wakes_claims),
                behaviour(cancelling_releases_the_claims_that_name_the_sweep),
                behaviour(the_end_of_a_sweep_releases_the_claims_that_name_it),
                behaviour(a_released_trial_goes_first_to_who_released_it_for_one_lease_time),
                behaviour(each_release_is_reserved_for_its_own_time),
                behaviour(enqueued_trials_come_before_proposals_in_order),
                behaviour(the_higher_priority_comes_first_then_the_least_running),
                behaviour(parallelism_limits_what_runs_at_once),
                behaviour(a_claim_without_waiting_still_computes_a_proposal),
                behaviour(a_result_starts_the_next_proposal_before_anybody_asks),
                behaviour(with_one_trial_at_a_time_no_proposal_is_computed_in_vain),
                behaviour(what_is_prepared_ahead_holds_up_no_ready_proposal),
                behaviour(a_worker_waits_for_the_proposal_of_a_higher_priority_but_not_of_an_equal_one),
                behaviour(workers_that_cannot_evaluate_a_sweep_get_none_and_are_told_why),
                behaviour(a_draining_worker_waits_in_vain),
                behaviour(faults_of_a_claim_are_named),
                behaviour(draining_the_coordinator_answers_everybody_503),
                behaviour(a_silent_worker_is_gone_and_comes_back_by_claiming),
                behaviour(a_worker_is_there_while_its_claim_waits),
                behaviour(a_name_is_shared_as_long_as_an_older_process_goes_on_claiming),
        };
        return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
