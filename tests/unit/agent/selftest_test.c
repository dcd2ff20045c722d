#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/selftest.h"
#include "common/cleanup.h"
#include "common/json.h"

/* Names that are missing, one after the other, tell which numbers are expected; what is wrong with each tells its value. */
static json_t *right_numbers(void) {
        json_t *told = json_pack("{s:{}, s:b, s:s}", "numbers", "repeats", 1, "kernels", "generic"), *numbers = json_object_get(told, "numbers");
        char words[SELFTEST_WORDS], name[64];
        while (!selftest_judge(told, words)) {
                double value;
                if (sscanf(words, "self-test: the trainer does not tell its %63[^:]", name) == 1)
                        json_object_set_new(numbers, name, json_real(1e9));
                else {
                        const char *should = strstr(words, "should be ");
                        assert_non_null(should);
                        assert_int_equal(sscanf(should, "should be %lf", &value), 1);
                        json_object_set_new(numbers, name, json_real(value));
                }
        }
        return told;
}

static void right_numbers_pass_and_each_wrong_one_is_named(void **state) {
        (void)state;
        _cleanup_json_ json_t *told = right_numbers();
        json_t *numbers = json_object_get(told, "numbers"), *value;
        const char *name;
        char words[SELFTEST_WORDS];
        assert_int_equal(json_object_size(numbers), 28);
        json_object_foreach(numbers, name, value) {
                _cleanup_json_ json_t *kept = json_incref(value), *copy = json_deep_copy(told);
                double right = json_number_value(value), off = (strncmp(name, "bf16", 4) == 0 ? 0.08 : 3e-5) * fmax(fabs(right), 0.5);
                json_object_set_new(json_object_get(copy, "numbers"), name, json_real(right + off));
                assert_false(selftest_judge(copy, words));
                assert_non_null(strstr(words, name));
                json_object_set_new(json_object_get(copy, "numbers"), name, json_real(right + off / 100));
                assert_true(selftest_judge(copy, words));
                json_object_set_new(json_object_get(copy, "numbers"), name, json_string("0.5"));
                assert_false(selftest_judge(copy, words));
        }
}

static void a_step_that_does_not_repeat_fails(void **state) {
        (void)state;
        _cleanup_json_ json_t *told = right_numbers();
        char words[SELFTEST_WORDS];
        json_object_set_new(told, "repeats", json_false());
        assert_false(selftest_judge(told, words));
        assert_non_null(strstr(words, "other bits"));
        assert_non_null(strstr(words, "kernels generic"));
}

static void what_is_no_answer_at_all_fails(void **state) {
        (void)state;
        char words[SELFTEST_WORDS];
        _cleanup_json_ json_t *empty = json_object(), *list = json_pack("{s:[]}", "numbers");
        assert_false(selftest_judge(empty, words));
        assert_false(selftest_judge(list, words));
        assert_false(selftest_judge(NULL, words));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(right_numbers_pass_and_each_wrong_one_is_named),
                cmocka_unit_test(a_step_that_does_not_repeat_fails),
                cmocka_unit_test(what_is_no_answer_at_all_fails),
        };
        return cmocka_run_group_tests_name("selftest", tests, NULL, NULL);
}
