#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/backoff.h"
#include "agent/command.h"
#include "common/cleanup.h"
#include "common/json.h"

static void parameters_become_arguments_in_order(void **state) {
        (void)state;
        static const char text[] = "{\"z\":0.85,\"a\":3,\"on\":true,\"off\":false,\"s\":\"x y; $(z)\",\"o\":{\"b\":{\"c\":1e-5}},\"l\":[1,2.5],\"n\":null}";
        static const char *const expected[] = {"--z=0.85", "--a=3", "--on=true", "--off=false", "--s=x y; $(z)", "--o.b.c=1e-5", "--l=[1,2.5]", "--n=null"};
        _cleanup_json_ json_t *params = NULL;
        _cleanup_words_ struct words words = {0};
        assert_int_equal(json_read(text, strlen(text), &params, NULL), 0);
        assert_int_equal(command_add_parameters(&words, params), 0);
        assert_int_equal(words.n, 8);
        for (size_t i = 0; i < 8; i++)
                assert_string_equal(words.items[i], expected[i]);
        assert_null(words.items[8]);
}

static int has(const struct words *words, const char *variable) {
        for (size_t i = 0; i < words->n; i++)
                if (strcmp(words->items[i], variable) == 0)
                        return 1;
        return 0;
}

static void environment_is_clean(void **state) {
        (void)state;
        setenv("SWEEP_SECRET", "x", 1);
        setenv("PATHOLOGY", "x", 1);
        setenv("LC_TEST", "C", 1);
        setenv("TZ", "UTC", 1);
        setenv("OMP_NUM_THREADS", "99", 1);
        setenv("SWEEPD_F32", "blas", 1);
        setenv("SWEEPD_F32_TOKEN", "x", 1);
        _cleanup_words_ struct words words = {0};
        assert_int_equal(command_add_environment(&words, 2), 0);
        assert_true(has(&words, "LC_TEST=C") && has(&words, "TZ=UTC") && has(&words, "OMP_NUM_THREADS=2") && has(&words, "SWEEPD_F32=blas"));
        assert_false(has(&words, "SWEEP_SECRET=x") || has(&words, "PATHOLOGY=x") || has(&words, "SWEEPD_F32_TOKEN=x") || has(&words, "OMP_NUM_THREADS=99"));
}

static void too_many_arguments_are_refused(void **state) {
        (void)state;
        _cleanup_words_ struct words words = {0};
        int r = 0;
        for (int i = 0; i < 5000 && r == 0; i++)
                r = words_add(&words, "x");
        assert_int_equal(r, -E2BIG);
}

static void waits_double_with_jitter_up_to_the_maximum(void **state) {
        (void)state;
        struct backoff backoff;
        backoff_init(&backoff, 1, 0.5, 10);
        assert_true(backoff_is_due(&backoff, 0));
        double expected = 0.5;
        for (int i = 0; i < 20; i++) {
                double wait_s = backoff_fail(&backoff, 1000, 0);
                assert_true(wait_s >= expected / 2 && wait_s <= expected);
                assert_false(backoff_is_due(&backoff, 1000));
                assert_true(backoff_is_due(&backoff, 1000 + (uint64_t)(expected * 1000)));
                expected = expected * 2 > 10 ? 10 : expected * 2;
        }
        backoff_reset(&backoff);
        assert_true(backoff_is_due(&backoff, 0));
        assert_true(backoff_fail(&backoff, 0, 0) <= 0.5);
}

static void retry_after_is_believed_within_reason(void **state) {
        (void)state;
        struct backoff backoff;
        backoff_init(&backoff, 1, 0.5, 10);
        assert_float_equal(backoff_fail(&backoff, 0, 42), 42, 0);
        assert_float_equal(backoff_fail(&backoff, 0, 1e9), 300, 0);
}

static void workers_that_fail_together_come_back_apart(void **state) {
        (void)state;
        struct backoff one, other;
        backoff_init(&one, 1, 5, 10);
        backoff_init(&other, 2, 5, 10);
        assert_true(backoff_fail(&one, 0, 0) != backoff_fail(&other, 0, 0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parameters_become_arguments_in_order),
                cmocka_unit_test(environment_is_clean),
                cmocka_unit_test(too_many_arguments_are_refused),
                cmocka_unit_test(waits_double_with_jitter_up_to_the_maximum),
                cmocka_unit_test(retry_after_is_believed_within_reason),
                cmocka_unit_test(workers_that_fail_together_come_back_apart),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
