/* What must hold when the process, the disk or memory fails: truth is what was committed, and nothing else was told. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/statement.h"

#define SPEC(rest) \
        "{'method':'random','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'parameters':{'lr':{'min':0.0,'max':" \
        "1.0}}" rest "}"

static struct ask *snapshot(struct house *house, enum route route, const char *id) {
        struct ask *ask = house_ask(house, route, id, NULL);
        assert_int_equal(ask->status, 200);
        return ask;
}

static json_t *claim_nth(struct house *house, const char *worker, int n) {
        char id[16];
        snprintf(id, sizeof id, "n%d", n);
        return house_claim(house, worker, id);
}

static void a_reopened_coordinator_shows_the_same_to_the_byte(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':9"));
        json_t *open = NULL;
        for (int i = 0; i < 5; i++) {
                json_decref(open);
                open = claim_nth(house, worker, i);
                house_wait(house, 1);
                if (i < 3)
                        house_complete(house, open, i);
        }
        json_decref(house_report(house, 200, open, 1, ",'outcome':{'state':'released','resume':{'a':1}}"));
        static const enum route routes[] = {ROUTE_SWEEP_GET, ROUTE_TRIAL_LIST, ROUTE_SWEEP_BEST, ROUTE_SWEEP_EXPORT, ROUTE_SWEEP_LIST};
        struct ask *before[5];
        for (size_t i = 0; i < 5; i++)
                before[i] = snapshot(house, routes[i], sweep);
        house_reopen(house);
        for (size_t i = 0; i < 5; i++) {
                struct ask *after = snapshot(house, routes[i], sweep);
                assert_string_equal(before[i]->text, after->text);
                ask_free(before[i]);
                ask_free(after);
        }
        json_decref(open);
        free(worker);
        free(sweep);
}

/* Runs a sweep to its end and returns all its params; reopens before every claim when told to. */
static char *run_through(struct house *house, const char *spec, bool reopens) {
        char *worker = house_worker(house, reopens ? "w1" : "w2"), *sweep = house_sweep(house, spec), *text = strdup("");
        for (int i = 0; i < 12; i++) {
                if (reopens)
                        house_reopen(house);
                json_t *trial = claim_nth(house, worker, i);
                if (!trial)
                        break;
                const json_t *params = json_object_get(trial, "params");
                char *one = json_dumps(params, JSON_COMPACT), *more = NULL;
                assert_true(asprintf(&more, "%s%s %d\n", text, one, (int)number_of(trial, "number")) > 0);
                free(text);
                free(one);
                text = more;
                double lr = json_number_value(json_object_get(params, "lr")), wd = json_number_value(json_object_get(params, "wd"));
                if (i % 5 == 3)
                        json_decref(house_report(house, 200, trial, 1, ",'outcome':{'state':'failed','reason':'diverged'}"));
                else
                        house_complete(house, trial, lr * (1 - lr) - wd);
                json_decref(trial);
        }
        json_decref(house_must(house, 200, ROUTE_SWEEP_PATCH, sweep, "{'state':'cancelled'}"));
        free(worker);
        free(sweep);
        return text;
}

static void proposals_are_the_same_however_often_the_coordinator_restarts(void **state) {
        struct house *house = *state;
        static const char *const specs[] = {
                SPEC(",'run_cap':6"),
                "{'method':'bayes','trainer':'external','seed':7,'run_cap':9,'metric':{'name':'acc','goal':'maximize'},"
                "'parameters':{'lr':{'min':0.0,'max':1.0},'wd':{'min':0.0,'max':1.0}}}",
                "{'method':'staged','trainer':'external','seed':1,'metric':{'name':'acc','goal':'maximize'},'baseline':{'lr':0.1,'wd':0.1},"
                "'parameters':{'lr':{'min':0.0,'max':1.0},'wd':{'min':0.0,'max':1.0}},"
                "'stages':[{'method':'ofat','levels':{'lr':[0.2,0.3],'wd':[0.0]}},{'method':'grid','select_top':1,'values':{'lr':[0.4,0.5],"
                "'wd':[0.2]}},"
                "{'method':'bayes','run_cap':4,'warm_start':true}]}",
        };
        for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
                char *straight = run_through(house, specs[i], false), *broken = run_through(house, specs[i], true);
                assert_string_equal(straight, broken);
                free(straight);
                free(broken);
                house_teardown(state);
                house_setup(state);
                house = *state;
        }
}

static void full(struct house *house, bool is_full) {
        char sql[64];
        snprintf(sql, sizeof sql, "PRAGMA max_page_count = %d", is_full ? 1 : 1 << 30);
        assert_int_equal(sqlite3_exec(house->store->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* A body that needs new pages. */
static char *long_report(const json_t *trial, int seq) {
        size_t size = 1 << 17;
        char *body = malloc(size);
        int n = snprintf(body, size, "{'lease':'%s','seq':%d,'metrics':[", text_of(trial, "lease"), seq);
        for (int i = 0; i < 1000; i++)
                n += snprintf(body + n, size - (size_t)n, "%s{'name':'acc','step':%d,'value':%d}", i ? "," : "", i, i);
        snprintf(body + n, size - (size_t)n, "]}");
        return body;
}

static void a_full_disk_answers_503_and_loses_nothing(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(""));
        json_t *trial = claim_nth(house, worker, 1);
        json_decref(house_report(house, 200, trial, 1, ",'metrics':[{'name':'acc','step':1,'value':0.5}]"));
        struct ask *before = snapshot(house, ROUTE_TRIAL_LIST, sweep);
        full(house, true);
        char *body = long_report(trial, 2);
        struct ask *refused = house_ask(house, ROUTE_TRIAL_REPORT, text_of(trial, "id"), body);
        assert_int_equal(refused->status, 503);
        assert_true(refused->retry_after_s > 0);
        assert_false(api_is_healthy(house->api));
        struct ask *during = snapshot(house, ROUTE_TRIAL_LIST, sweep);
        assert_string_equal(before->text, during->text);
        full(house, false);
        struct ask *again = house_ask(house, ROUTE_TRIAL_REPORT, text_of(trial, "id"), body);
        assert_int_equal(again->status, 200);
        assert_true(api_is_healthy(house->api));
        json_t *points = house_get(house, ROUTE_TRIAL_METRICS, text_of(trial, "id"));
        assert_int_equal(json_array_size(json_object_get(points, "items")), 100);
        json_decref(points);
        free(body);
        ask_free(before);
        ask_free(during);
        ask_free(refused);
        ask_free(again);
        json_decref(trial);
        free(worker);
        free(sweep);
}

static int n_until_failure; /* statements that still succeed */

/* SQLite calls this every so many instructions; from the Nth call on, whatever runs is interrupted. */
static int interrupt(void *data) {
        (void)data;
        return n_until_failure-- <= 0;
}

/* Whatever write is cut off at whatever place: either it was answered 2xx and is there, or 503 and nothing changed, and
 * asking again brings the same end as if nothing had happened. */
static void a_write_that_fails_anywhere_is_503_and_can_be_asked_again(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':2000"));
        int n_failures = 0, number = 0;
        for (int cut = 0; cut < 400; cut += 1 + cut / 20) {
                char claim[128];
                snprintf(claim, sizeof claim, "{'worker':'%s','claim_id':'cut%d'}", worker, cut);
                struct ask *before = snapshot(house, ROUTE_SWEEP_GET, sweep);
                n_until_failure = cut;
                sqlite3_progress_handler(house->store->db, 20, interrupt, NULL);
                struct ask *ask = house_ask(house, ROUTE_CLAIM, NULL, claim);
                sqlite3_progress_handler(house->store->db, 0, NULL, NULL);
                if (!ask->is_done) /* its turn could not even begin */
                        house_wait(house, 2);
                if (ask->status == 503) {
                        n_failures++;
                        struct ask *after = snapshot(house, ROUTE_SWEEP_GET, sweep);
                        assert_string_equal(before->text, after->text);
                        ask_free(after);
                        ask_free(ask);
                        ask = house_ask(house, ROUTE_CLAIM, NULL, claim);
                        if (!ask->is_done)
                                house_wait(house, 2);
                }
                assert_int_equal(ask->status, 200);
                json_t *trial = json_array_get(json_object_get(ask->body, "trials"), 0);
                assert_int_equal(number_of(trial, "number"), ++number);
                char report[256];
                snprintf(report, sizeof report, "{'lease':'%s','seq':1,'outcome':{'state':'completed','value':%d}}",
                         text_of(trial, "lease"), number);
                n_until_failure = cut;
                sqlite3_progress_handler(house->store->db, 20, interrupt, NULL);
                struct ask *ended = house_ask(house, ROUTE_TRIAL_REPORT, text_of(trial, "id"), report);
                sqlite3_progress_handler(house->store->db, 0, NULL, NULL);
                n_failures += ended->status == 503;
                if (ended->status == 503) {
                        ask_free(ended);
                        ended = house_ask(house, ROUTE_TRIAL_REPORT, text_of(trial, "id"), report);
                }
                assert_int_equal(ended->status, 200);
                house_wait(house, 2);
                json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
                assert_int_equal(number_of(shown, "counts.completed"), number);
                assert_int_equal(number_of(shown, "counts.running"), 0);
                json_decref(shown);
                ask_free(before);
                ask_free(ask);
                ask_free(ended);
        }
        assert_true(n_failures > 20);
        house_wait(house, 121);
        house_expect_worker(house, "gone"); /* no claim that failed is taken for one that waits */
        free(worker);
        free(sweep);
}

static int refuse_commit(void *data) {
        (void)data;
        return 1;
}

static void what_could_not_be_committed_was_never_promised(void **state) {
        struct house *house = *state;
        char *worker = house_worker(house, "w"), *sweep = house_sweep(house, SPEC(",'run_cap':1"));
        char claim[128];
        snprintf(claim, sizeof claim, "{'worker':'%s','claim_id':'c1'}", worker);
        sqlite3_commit_hook(house->store->db, refuse_commit, NULL);
        struct ask *lost = house_ask(house, ROUTE_CLAIM, NULL, claim), *created = house_ask(house, ROUTE_SWEEP_CREATE, NULL, SPEC(""));
        assert_int_equal(lost->status, 503);
        assert_int_equal(created->status, 503);
        assert_null(json_object_get(created->body, "id"));
        assert_false(api_is_healthy(house->api));
        sqlite3_commit_hook(house->store->db, NULL, NULL);
        house_wait(house, 2);
        assert_true(api_is_healthy(house->api));
        struct ask *again = house_ask(house, ROUTE_CLAIM, NULL, claim);
        assert_int_equal(again->status, 200);
        json_t *shown = house_get(house, ROUTE_SWEEP_GET, sweep);
        assert_int_equal(number_of(shown, "counts.running"), 1);
        json_decref(shown);
        ask_free(lost);
        ask_free(created);
        ask_free(again);
        free(worker);
        free(sweep);
}

static void a_waiting_worker_is_there_after_what_could_not_be_committed(void **state) {
        struct house *house = *state;
        house->lease_s = 3;
        house_reopen(house);
        char *worker = house_worker(house, "w"), claim[128];
        snprintf(claim, sizeof claim, "{'worker':'%s','claim_id':'c1','wait_s':60}", worker);
        struct ask *ask = house_ask(house, ROUTE_CLAIM, NULL, claim);
        sqlite3_commit_hook(house->store->db, refuse_commit, NULL);
        json_decref(house_must(house, 503, ROUTE_WORKER_REGISTER, NULL, "{'name':'other','slots':1,'trainers':['external']}"));
        sqlite3_commit_hook(house->store->db, NULL, NULL);
        house_wait(house, 30);
        assert_true(api_is_healthy(house->api));
        assert_false(ask->is_done);
        house_expect_worker(house, "active");
        ask->is_gone = true;
        house_wait(house, 31);
        house_expect_worker(house, "gone");
        ask_free(ask);
        free(worker);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(a_reopened_coordinator_shows_the_same_to_the_byte),
                behaviour(proposals_are_the_same_however_often_the_coordinator_restarts),
                behaviour(a_full_disk_answers_503_and_loses_nothing),
                behaviour(what_could_not_be_committed_was_never_promised),
                behaviour(a_waiting_worker_is_there_after_what_could_not_be_committed),
                behaviour(a_write_that_fails_anywhere_is_503_and_can_be_asked_again),
        };
        return cmocka_run_group_tests_name("durable", tests, NULL, NULL);
}
