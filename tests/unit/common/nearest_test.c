#include "common/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"parameters", "method", "metric", "min", "max", "run_cap", "a", NULL};

static void a_mistyped_word_finds_its_name(void **state) {
        (void)state;
        static const char *const cases[][2] = {{"paramters", "parameters"}, {"prameters", "parameters"}, {"mehtod", "method"}, {"metirc", "metric"},
                                               {"mn", "min"},               {"runcap", "run_cap"},       {"run-cap", "run_cap"}, {"maxx", "max"}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(nearest_of(cases[i][0], names), cases[i][1]);
}

static void what_is_like_none_finds_none(void **state) {
        (void)state;
        static const char *const cases[] = {"", "x", "colour", "controller", "mode_of_search",
                                            "a_word_that_is_much_longer_than_any_name_that_anybody_would_give_to_a_key"};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_null(nearest_of(cases[i], names));
}

static void of_equally_near_ones_the_first_counts(void **state) {
        (void)state;
        static const char *const near[] = {"bcd", "acd", "abd", NULL};
        assert_string_equal(nearest_of("bbd", near), "bcd");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_mistyped_word_finds_its_name),
                cmocka_unit_test(what_is_like_none_finds_none),
                cmocka_unit_test(of_equally_near_ones_the_first_counts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
