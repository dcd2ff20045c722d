/* Requests, decoded: what each takes, and the fault of each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "proto/limits.h"
#include "proto/message.h"

/* Single quotes stand for double ones. */
static json_t *read_quoted(const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        json_t *document = NULL;
        struct error err;
        if (json_read(copy, strlen(copy), &document, &err) < 0)
                fail_msg("%s in %s", err.text, text);
        return document;
}

enum kind { REGISTRATION, CLAIM, REPORT, ENQUEUE, PATCH, EMPTY };

static int decode(enum kind kind, json_t *document, struct faults *faults) {
        union {
                struct worker_registration registration;
                struct claim_request claim;
                struct report report;
                struct enqueue_request enqueue;
                struct sweep_patch patch;
        } message = {0};
        int r;
        switch (kind) {
        case REGISTRATION:
                r = worker_registration_decode(document, faults, &message.registration);
                worker_registration_fini(&message.registration);
                return r;
        case CLAIM:
                return claim_request_decode(document, faults, &message.claim);
        case REPORT:
                r = report_decode(document, faults, &message.report);
                report_fini(&message.report);
                return r;
        case ENQUEUE:
                r = enqueue_request_decode(document, faults, &message.enqueue);
                enqueue_request_fini(&message.enqueue);
                return r;
        case PATCH:
                return sweep_patch_decode(document, faults, &message.patch);
        default:
                return empty_decode(document, faults);
        }
}

static void mistakes_are_named(void **state) {
        (void)state;
        static const struct {
                enum kind kind;
                const char *text, *pointer, *words;
        } cases[] = {
                {REGISTRATION, "{}", "/name", "required"},
                {REGISTRATION, "{}", "/slots", "required"},
                {REGISTRATION, "{}", "/trainers", "required"},
                {REGISTRATION, "[]", "", "object"},
                {REGISTRATION, "{'name':'w','slots':0,'trainers':['external']}", "/slots", "from 1"},
                {REGISTRATION, "{'name':'w','slots':1.5,'trainers':['external']}", "/slots", "integer"},
                {REGISTRATION, "{'name':'w','slots':1,'trainers':[]}", "/trainers", "at least 1"},
                {REGISTRATION, "{'name':'w','slots':1,'trainers':[7]}", "/trainers/0", "string"},
                {REGISTRATION, "{'name':'w','slots':1,'trainers':['x'],'model':{'sha256':7}}", "/model/sha256", "string"},
                {REGISTRATION, "{'name':'a\\nb','slots':1,'trainers':['x']}", "/name", "control"},
                {REGISTRATION, "{'name':'a\\u0000b','slots':1,'trainers':['x']}", "/name", "control"},
                {REGISTRATION, "{'name':'w','slots':1,'trainers':['x'],'host':1}", "/host", "unknown key 'host'"},
                {CLAIM, "{'worker':'w'}", "/claim_id", "required"},
                {CLAIM, "{'worker':7,'claim_id':'c'}", "/worker", "string"},
                {CLAIM, "{'worker':'w','claim_id':'c','wait_s':61}", "/wait_s", "from 0 to 60"},
                {CLAIM, "{'worker':'w','claim_id':'c','wait_s':-1}", "/wait_s", "from 0 to 60"},
                {CLAIM, "{'worker':'w','claim_id':'c','slots':0}", "/slots", "from 1"},
                {REPORT, "{'seq':1}", "/lease", "required"},
                {REPORT, "{'lease':'l'}", "/seq", "required"},
                {REPORT, "{'lease':'l','seq':0}", "/seq", "at least 1"},
                {REPORT, "{'lease':'l','seq':1,'progress':1.1}", "/progress", "from 0 to 1"},
                {REPORT, "{'lease':'l','seq':1,'metrics':[{'name':'m','step':1}]}", "/metrics/0/value", "required"},
                {REPORT, "{'lease':'l','seq':1,'metrics':[{'name':'m','step':-1,'value':1}]}", "/metrics/0/step", "from 0"},
                {REPORT, "{'lease':'l','seq':1,'metrics':[{'name':'m','step':1,'value':'1'}]}", "/metrics/0/value", "number"},
                {REPORT, "{'lease':'l','seq':1,'metrics':[{'name':'m','step':1,'value':1,'time':'noon'}]}", "/metrics/0/time", "3339"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{'state':'done'}}", "/outcome/state", "completed"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{}}", "/outcome/state", "required"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{'state':'failed'}}", "/outcome/reason", "required"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{'state':'failed','reason':'bored'}}", "/outcome/reason", "bored"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{'state':'completed','reason':'io'}}", "/outcome/reason", "no meaning"},
                {REPORT, "{'lease':'l','seq':1,'outcome':{'state':'released','value':1}}", "/outcome/value", "no meaning"},
                {ENQUEUE, "{}", "/params", "required"},
                {ENQUEUE, "{'params':3}", "/params", "object"},
                {ENQUEUE, "{'params':{},'value':'x'}", "/value", "number"},
                {ENQUEUE, "{'params':{},'value':1,'state':'failed'}", "/state", "completed or stopped"},
                {ENQUEUE, "{'params':{},'state':'stopped'}", "/state", "has a value"},
                {ENQUEUE, "{'params':{},'value':null,'metrics':[]}", "/metrics", "has a value"},
                {ENQUEUE, "{'trials':[{'params':{},'value':1,'metrics':[{'name':'m'}]}]}", "/trials/0/metrics/0/step", "required"},
                {ENQUEUE, "{'trials':[]}", "/trials", "at least 1"},
                {ENQUEUE, "{'trials':[{'params':{}},{'param':{}}]}", "/trials/1/param", "unknown key"},
                {ENQUEUE, "{'trials':[{'params':{}}],'params':{}}", "/params", "unknown key"},
                {PATCH, "{}", "", "at least one"},
                {PATCH, "{'state':'finished'}", "/state", "running, paused or cancelled"},
                {PATCH, "{'run_cap':0}", "/run_cap", "from 1"},
                {PATCH, "{'priority':1.5}", "/priority", "integer"},
                {EMPTY, "{'x':1}", "/x", "unknown key"},
                {EMPTY, "7", "", "object"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *document = read_quoted(cases[i].text);
                struct faults faults = {0};
                assert_int_equal(decode(cases[i].kind, document, &faults), MESSAGE_FAULTY);
                bool found = false;
                for (size_t f = 0; f < faults.n; f++)
                        found |= strcmp(faults.items[f].pointer, cases[i].pointer) == 0 && strstr(faults.items[f].detail, cases[i].words);
                if (!found)
                        fail_msg("%s: got %s %s", cases[i].text, faults.items[0].pointer, faults.items[0].detail);
                faults_fini(&faults);
        }
}

static void a_report_is_decoded_whole(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted(
                "{'lease':'l','seq':7,'metrics':[{'name':'eval/accuracy','step':230,'epoch':1,'value':0.83,'time':'2026-01-31T12:00:00.000Z'},"
                "{'name':'m','step':0,'value':1}],'progress':0.33,'outcome':{'state':'failed','reason':'diverged','detail':'NaN\\nat 41'}}");
        struct faults faults = {0};
        struct report report;
        assert_int_equal(report_decode(document, &faults, &report), 0);
        assert_int_equal(report.seq, 7);
        assert_int_equal(report.n_points, 2);
        assert_true(report.points[0].has_epoch && report.points[0].epoch == 1 && report.points[0].value == 0.83);
        assert_int_equal(report.points[0].time_ms, 1769860800000);
        assert_false(report.points[1].has_epoch);
        assert_true(report.has_progress);
        assert_int_equal(report.outcome, OUTCOME_FAILED);
        assert_int_equal(report.reason, REASON_DIVERGED);
        assert_string_equal(report.detail, "NaN\nat 41");
        report_fini(&report);
}

static void null_counts_as_left_out(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'lease':'l','seq':1,'metrics':null,'progress':null,'outcome':null}");
        struct faults faults = {0};
        struct report report;
        assert_int_equal(report_decode(document, &faults, &report), 0);
        assert_int_equal(report.outcome, OUTCOME_NONE);
        assert_false(report.has_progress);
        report_fini(&report);
}

static void a_resume_of_more_than_4_kib_is_refused(void **state) {
        (void)state;
        char big[LIMIT_RESUME_BYTES + 1];
        memset(big, 'x', sizeof big - 1);
        big[sizeof big - 1] = 0;
        for (size_t cut = 0; cut < 3; cut += 2) { /* with its quotes: 2 bytes too many, then exactly at the limit */
                _cleanup_json_ json_t *document =
                        json_pack("{s:s,s:i,s:{s:s,s:s}}", "lease", "l", "seq", 1, "outcome", "state", "released", "resume", big + cut);
                struct faults faults = {0};
                struct report report = {0};
                assert_int_equal(report_decode(document, &faults, &report), cut ? 0 : MESSAGE_FAULTY);
                report_fini(&report);
                faults_fini(&faults);
        }
}

static void too_many_points_are_refused(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'lease':'l','seq':1,'metrics':[]}");
        for (int i = 0; i <= LIMIT_POINTS_PER_REPORT; i++)
                json_array_append_new(json_object_get(document, "metrics"), json_pack("{s:s,s:i,s:i}", "name", "m", "step", i, "value", 1));
        struct faults faults = {0};
        struct report report;
        assert_int_equal(report_decode(document, &faults, &report), MESSAGE_FAULTY);
        assert_string_equal(faults.items[0].pointer, "/metrics");
        faults_fini(&faults);
}

static void a_claim_has_defaults(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'worker':'w','claim_id':'c'}");
        struct faults faults = {0};
        struct claim_request claim;
        assert_int_equal(claim_request_decode(document, &faults, &claim), 0);
        assert_int_equal(claim.slots, 1);
        assert_true(claim.wait_s == 0);
        assert_null(claim.sweep);
}

static void a_registration_keeps_fingerprints(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'name':'w','instance':'i','slots':2,'trainers':['external','command:t'],"
                                                      "'model':{'name':'m','sha256':'ab'},'data':null,'facts':{'threads':2}}");
        struct faults faults = {0};
        struct worker_registration registration;
        assert_int_equal(worker_registration_decode(document, &faults, &registration), 0);
        assert_int_equal(registration.n_trainers, 2);
        assert_string_equal(registration.trainers[1], "command:t");
        assert_string_equal(registration.model_sha256, "ab");
        assert_null(registration.data);
        worker_registration_fini(&registration);
}

static void a_patch_can_lift_the_run_cap(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'run_cap':null}");
        struct faults faults = {0};
        struct sweep_patch patch;
        assert_int_equal(sweep_patch_decode(document, &faults, &patch), 0);
        assert_true(patch.has_run_cap);
        assert_int_equal(patch.run_cap, 0);
        assert_int_equal(patch.state, -1);
}

static void enqueue_takes_one_or_many(void **state) {
        (void)state;
        _cleanup_json_ json_t *one = read_quoted("{'params':{'x':1},'value':0.5}"), *many = read_quoted("{'trials':[{'params':{}},{'params':{}}]}"),
                              *early = read_quoted("{'params':{},'value':1,'state':'stopped','metrics':[{'name':'m','step':1,'value':2},{'name':'m','step':2,'value':3}]}");
        struct faults faults = {0};
        struct enqueue_request request;
        assert_int_equal(enqueue_request_decode(one, &faults, &request), 0);
        assert_int_equal(request.n, 1);
        assert_true(!request.many && request.items[0].has_value && request.items[0].value == 0.5);
        enqueue_request_fini(&request);
        assert_int_equal(enqueue_request_decode(many, &faults, &request), 0);
        assert_int_equal(request.n, 2);
        assert_true(request.many && !request.items[1].has_value);
        enqueue_request_fini(&request);
        assert_int_equal(enqueue_request_decode(early, &faults, &request), 0);
        assert_int_equal(request.items[0].state, TRIAL_STOPPED);
        assert_int_equal(request.items[0].n_points, 2);
        assert_true(request.items[0].points[1].value == 3);
        enqueue_request_fini(&request);
}

static void queries_of_lists_are_checked(void **state) {
        (void)state;
        static const struct {
                enum list_kind kind;
                const char *query;
                int result;
        } cases[] = {
                {LIST_TRIALS, "{'limit':'1000','sort':'-value','state':'failed','after':'x'}", 0},
                {LIST_TRIALS, "{'limit':'1001'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'limit':'0'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'limit':'-1'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'limit':'1e2'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'limit':''}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'state':'paused'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'sort':'name'}", MESSAGE_FAULTY},
                {LIST_TRIALS, "{'format':'csv'}", MESSAGE_FAULTY},
                {LIST_SWEEPS, "{'state':'paused'}", 0},
                {LIST_WORKERS, "{'state':'gone'}", 0},
                {LIST_METRICS, "{'name':'m'}", 0},
                {LIST_EXPORT, "{'format':'jsonl'}", 0},
                {LIST_EXPORT, "{'format':'xml'}", MESSAGE_FAULTY},
                {LIST_NOTHING, "{}", 0},
                {LIST_NOTHING, "{'limit':'1'}", MESSAGE_FAULTY},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *query = read_quoted(cases[i].query);
                struct faults faults = {0};
                struct list_query list;
                if (list_query_decode(query, cases[i].kind, &faults, &list) != cases[i].result)
                        fail_msg("%s", cases[i].query);
                faults_fini(&faults);
        }
}

/* No more of them are decoded than a request may have, and those after the cap are not looked at. */
static void too_many_imported_points_are_refused(void **state) {
        (void)state;
        _cleanup_json_ json_t *points = json_array(), *document = json_pack("{s:[]}", "trials");
        json_t *trials = json_object_get(document, "trials");
        for (int i = 0; i < LIMIT_POINTS_PER_REPORT; i++)
                json_array_append_new(points, json_pack("{s:s, s:i, s:f}", "name", "m", "step", i, "value", 0.5));
        for (int i = 0; i <= LIMIT_ENQUEUE_POINTS / LIMIT_POINTS_PER_REPORT; i++)
                json_array_append_new(trials, json_pack("{s:{}, s:f, s:O}", "params", "value", 0.5, "metrics", points));
        json_array_append_new(trials, json_pack("{s:i}", "x", 1));
        struct faults faults = {0};
        assert_int_equal(decode(ENQUEUE, document, &faults), MESSAGE_FAULTY);
        assert_int_equal(faults.n_total, 1);
        assert_string_equal(faults.items[0].pointer, "/trials");
        assert_non_null(strstr(faults.items[0].detail, "points"));
        faults_fini(&faults);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(mistakes_are_named),
                cmocka_unit_test(a_report_is_decoded_whole),
                cmocka_unit_test(null_counts_as_left_out),
                cmocka_unit_test(a_resume_of_more_than_4_kib_is_refused),
                cmocka_unit_test(too_many_points_are_refused),
                cmocka_unit_test(a_claim_has_defaults),
                cmocka_unit_test(a_registration_keeps_fingerprints),
                cmocka_unit_test(a_patch_can_lift_the_run_cap),
                cmocka_unit_test(enqueue_takes_one_or_many),
                cmocka_unit_test(too_many_imported_points_are_refused),
                cmocka_unit_test(queries_of_lists_are_checked),
        };
        return cmocka_run_group_tests_name("proto/message", tests, NULL, NULL);
}
