/* Problem objects, fault lists and pointers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "proto/limits.h"
#include "proto/problem.h"

static void a_problem_shows_its_faults(void **state) {
        (void)state;
        struct faults faults = {0};
        faults_add(&faults, "/a", "must be > %d", 0);
        _cleanup_json_ json_t *problem = problem_encode(422, "the spec has faults", &faults);
        _cleanup_free_ char *text = json_text(problem);
        assert_string_equal(text, "{\"type\":\"about:blank\",\"title\":\"Unprocessable Content\",\"status\":422,"
                                  "\"detail\":\"the spec has faults\",\"errors\":[{\"pointer\":\"/a\",\"detail\":\"must be > 0\"}]}");
        faults_fini(&faults);
}

static void a_problem_without_faults_has_no_errors(void **state) {
        (void)state;
        _cleanup_json_ json_t *problem = problem_encode(404, NULL, NULL);
        assert_string_equal(json_string_value(json_object_get(problem, "detail")), "Not Found");
        assert_null(json_object_get(problem, "errors"));
}

static void pointers_are_escaped(void **state) {
        (void)state;
        char pointer[64];
        assert_string_equal(pointer_join(pointer, sizeof pointer, "", "a/b~c"), "/a~1b~0c");
        assert_string_equal(pointer_join_index(pointer, sizeof pointer, pointer, 7), "/a~1b~0c/7");
}

static void long_pointers_are_cut_inside_their_buffer(void **state) {
        (void)state;
        char pointer[8];
        assert_string_equal(pointer_join(pointer, sizeof pointer, "/abc", "defgh"), "/abc/de");
        assert_string_equal(pointer_join(pointer, sizeof pointer, "/abc", "d\xc3\xa9\xc3\xa9"), "/abc/d");
}

static void long_details_stay_utf8(void **state) {
        (void)state;
        char text[2001];
        for (int i = 0; i < 2000; i += 2)
                memcpy(text + i, "\xc3\xa9", 2);
        text[2000] = 0;
        struct faults faults = {0};
        faults_add(&faults, "", "x%s", text);
        faults_add(&faults, "", "%s", text);
        _cleanup_json_ json_t *problem = problem_encode(422, "d", &faults);
        assert_non_null(json_string_value(json_object_get(json_array_get(json_object_get(problem, "errors"), 0), "detail")));
        assert_non_null(json_string_value(json_object_get(json_array_get(json_object_get(problem, "errors"), 1), "detail")));
        faults_fini(&faults);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_problem_shows_its_faults),
                cmocka_unit_test(a_problem_without_faults_has_no_errors),
                cmocka_unit_test(pointers_are_escaped),
                cmocka_unit_test(long_pointers_are_cut_inside_their_buffer),
                cmocka_unit_test(long_details_stay_utf8),
        };
        return cmocka_run_group_tests_name("proto/problem", tests, NULL, NULL);
}
