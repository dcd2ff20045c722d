#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/trainer_line.h"
#include "common/cleanup.h"
#include "common/json.h"

static int decode(const char *text, struct trainer_line *ret) {
        struct error err;
        return trainer_line_decode(text, strlen(text), 1000, ret, &err);
}

static void expect(const char *text, int kind, const char *json) {
        struct trainer_line line;
        assert_int_equal(decode(text, &line), kind);
        _cleanup_json_ json_t *owned = line.json;
        _cleanup_free_ char *got = owned ? json_canonical(owned) : NULL;
        if (json)
                assert_string_equal(got, json);
        else
                assert_null(owned);
}

static void metric_becomes_a_point_with_a_time(void **state) {
        (void)state;
        expect("{\"event\":\"metric\",\"name\":\"eval/accuracy\",\"step\":230,\"epoch\":1,\"value\":0.83}", LINE_METRIC,
               "{\"epoch\":1,\"name\":\"eval/accuracy\",\"step\":230,\"time\":\"1970-01-01T00:00:01.000Z\",\"value\":0.83}");
        expect(" {\"event\":\"metric\",\"name\":\"a\",\"step\":2.0,\"value\":1,\"time\":\"2026-01-01T00:00:00Z\",\"else\":1}", LINE_METRIC,
               "{\"name\":\"a\",\"step\":2,\"time\":\"2026-01-01T00:00:00.000Z\",\"value\":1}");
}

static void bad_metric_is_malformed(void **state) {
        (void)state;
        expect("{\"event\":\"metric\",\"step\":1,\"value\":1}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\",\"step\":-1,\"value\":1}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\x7f\",\"step\":1,\"value\":1}", LINE_MALFORMED, NULL); /* the report with it would be refused whole */
        expect("{\"event\":\"metric\",\"name\":\"a\\nb\",\"step\":1,\"value\":1}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\\u0000b\",\"step\":1,\"value\":1}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\",\"step\":0.5,\"value\":1}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\",\"step\":1,\"value\":\"1\"}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\",\"step\":1,\"value\":1e999}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"metric\",\"name\":\"a\",\"step\":1,\"value\":NaN}", LINE_MALFORMED, NULL);
}

static void what_is_no_event_is_chatter(void **state) {
        (void)state;
        expect("Epoch 1: loss 0.3", LINE_CHATTER, NULL);
        expect("   ", LINE_CHATTER, NULL);
        expect("[1]", LINE_CHATTER, NULL);
        expect("{\"loss\":1}", LINE_CHATTER, NULL);
        expect("{\"event\":\"metric\"", LINE_MALFORMED, NULL);
        expect("{\"event\":\"dance\"}", LINE_MALFORMED, NULL);
}

static void outcome_holds_what_the_contract_knows_and_no_more(void **state) {
        (void)state;
        expect("{\"event\":\"outcome\",\"state\":\"completed\",\"value\":0.5,\"extra\":[]}", LINE_OUTCOME, "{\"state\":\"completed\",\"value\":0.5}");
        expect("{\"event\":\"outcome\",\"state\":\"completed\"}", LINE_OUTCOME, "{\"state\":\"completed\"}");
        expect("{\"event\":\"outcome\",\"state\":\"released\",\"value\":1}", LINE_OUTCOME, "{\"state\":\"released\"}");
        expect("{\"event\":\"outcome\",\"state\":\"failed\",\"reason\":\"diverged\",\"detail\":\"NaN\"}", LINE_OUTCOME,
               "{\"detail\":\"NaN\",\"reason\":\"diverged\",\"state\":\"failed\"}");
        expect("{\"event\":\"outcome\",\"state\":\"won\"}", LINE_MALFORMED, NULL);
        expect("{\"event\":\"outcome\"}", LINE_MALFORMED, NULL);
}

static void reason_a_worker_may_not_report_becomes_crashed(void **state) {
        (void)state;
        expect("{\"event\":\"outcome\",\"state\":\"failed\",\"reason\":\"lease_lost\"}", LINE_OUTCOME,
               "{\"detail\":\"\",\"reason\":\"crashed\",\"state\":\"failed\"}");
        expect("{\"event\":\"outcome\",\"state\":\"failed\"}", LINE_OUTCOME, "{\"detail\":\"\",\"reason\":\"crashed\",\"state\":\"failed\"}");
}

static void progress_is_clamped(void **state) {
        (void)state;
        struct trainer_line line;
        assert_int_equal(decode("{\"event\":\"progress\",\"value\":1.5}", &line), LINE_PROGRESS);
        assert_float_equal(line.progress, 1, 0);
        assert_int_equal(decode("{\"event\":\"progress\",\"value\":-2}", &line), LINE_PROGRESS);
        assert_float_equal(line.progress, 0, 0);
        assert_int_equal(decode("{\"event\":\"progress\"}", &line), LINE_MALFORMED);
}

static void text_is_cut_and_made_valid_utf8(void **state) {
        (void)state;
        _cleanup_json_ json_t *bad = text_for_report("a\xff\xc3\xa9\xe2\x82", 100, 0), *end = text_for_report("0123456789", 4, 1),
                              *split = text_for_report("\xc3\xa9\xc3\xa9", 3, 1);
        assert_string_equal(json_string_value(bad), "a?\xc3\xa9??");
        assert_string_equal(json_string_value(end), "6789");
        assert_string_equal(json_string_value(split), "?\xc3\xa9");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(metric_becomes_a_point_with_a_time),
                cmocka_unit_test(bad_metric_is_malformed),
                cmocka_unit_test(what_is_no_event_is_chatter),
                cmocka_unit_test(outcome_holds_what_the_contract_knows_and_no_more),
                cmocka_unit_test(reason_a_worker_may_not_report_becomes_crashed),
                cmocka_unit_test(progress_is_clamped),
                cmocka_unit_test(text_is_cut_and_made_valid_utf8),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
