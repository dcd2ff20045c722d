#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/json.h"
#include "yaml_read.h"

/* What the YAML says, as compact JSON. */
static void assert_reads(const char *yaml, const char *expected) {
        struct yaml_notes notes = {0};
        struct error err = {0};
        json_t *value = NULL;
        if (yaml_read(yaml, strlen(yaml), &value, &notes, &err) < 0)
                fail_msg("%s", err.text);
        char *text = json_text(value);
        assert_string_equal(text, expected);
        free(text);
        json_decref(value);
        yaml_notes_fini(&notes);
}

static void assert_refuses(const char *yaml, const char *part_of_text) {
        struct yaml_notes notes = {0};
        struct error err = {0};
        json_t *value = NULL;
        assert_true(yaml_read(yaml, strlen(yaml), &value, &notes, &err) < 0);
        if (!strstr(err.text, part_of_text))
                fail_msg("'%s' does not say '%s'", err.text, part_of_text);
        yaml_notes_fini(&notes);
}

static void numbers_without_a_dot_are_numbers(void **state) {
        (void)state;
        assert_reads("[1e-5, 1E5, 1.0e-5, 5e-5, -1e3, +2.5, .5, 3.]", "[1e-5,100000.0,1e-5,5e-5,-1000.0,2.5,0.5,3.0]");
        assert_reads("[!!float 1e-5, !!float '1e-5', !!float 3]", "[1e-5,1e-5,3.0]");
}

static void whole_and_real_literals_stay_apart(void **state) {
        (void)state;
        assert_reads("{min: 0, max: 1.0, n: -12, big: 1_000, hex: 0x10, octal: 010, zero: 0.0}",
                     "{\"min\":0,\"max\":1.0,\"n\":-12,\"big\":1000,\"hex\":16,\"octal\":8,\"zero\":0.0}");
}

static void words_are_what_pyyaml_takes_them_for(void **state) {
        (void)state;
        assert_reads("[true, yes, On, false, NO, off, y, ~, null, nullx, 1.2.3, 1e, e5, 2020-01-01, 12:30, 0x, '']",
                     "[true,true,true,false,false,false,\"y\",null,null,\"nullx\",\"1.2.3\",\"1e\",\"e5\",\"2020-01-01\",\"12:30\",\"0x\","
                     "\"\"]");
        assert_reads("'yes'", "\"yes\"");
        assert_reads("a:\nb: x\n", "{\"a\":null,\"b\":\"x\"}");
        assert_reads("!!str 5", "\"5\"");
}

static void quoted_numbers_stay_strings_with_a_warning(void **state) {
        (void)state;
        const char *yaml = "name: \"5\"\nparameters:\n  lr:\n    values: ['1e-5', \"2e-5\", 'adam']\n";
        struct yaml_notes notes = {0};
        json_t *value = NULL;
        assert_int_equal(yaml_read(yaml, strlen(yaml), &value, &notes, NULL), 0);
        assert_true(json_is_string(json_array_get(json_get_dotted(value, "parameters.lr.values"), 0)));
        assert_int_equal(notes.n_warnings, 2); /* the name is a word by right */
        assert_non_null(strstr(notes.warnings[0], "line 4"));
        assert_non_null(strstr(notes.warnings[0], "1e-5"));
        json_decref(value);
        yaml_notes_fini(&notes);
}

static void repeated_keys_are_refused_with_both_lines(void **state) {
        (void)state;
        assert_refuses("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' was already given on line 1");
        assert_refuses("x:\n  lr: 1\n  lr: 2\n", "line 3: the key 'lr' was already given on line 2");
}

static void aliases_and_merge_keys_are_followed(void **state) {
        (void)state;
        assert_reads("a: &x {min: 0, max: 1}\nb: *x\nc: {<<: *x, max: 5}\nd: {max: 7, <<: [*x, {q: 2, min: 9}]}\n",
                     "{\"a\":{\"min\":0,\"max\":1},\"b\":{\"min\":0,\"max\":1},\"c\":{\"max\":5,\"min\":0},\"d\":{\"max\":7,\"min\":0,"
                     "\"q\":2}}");
        assert_refuses("a: *nothing\n", "nothing");
        assert_refuses("a: &a [*a]\n", "*a");
}

static void laughing_aliases_are_stopped(void **state) {
        (void)state;
        struct buf yaml = BUF_INIT(0);
        buf_puts(&yaml, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for (int i = 1; i < 12; i++) {
                buf_printf(&yaml, "a%d: &a%d [", i, i);
                for (int k = 0; k < 10; k++)
                        buf_printf(&yaml, "*a%d%s", i - 1, k < 9 ? ", " : "]\n");
        }
        assert_refuses(yaml.data, "too large");
        buf_clear(&yaml);
        for (int i = 0; i < 200; i++)
                buf_puts(&yaml, "[");
        assert_refuses(yaml.data, "deep");
        buf_clear(&yaml);
        buf_puts(&yaml, "- &b0 [x]\n");
        for (int i = 1; i < 100; i++)
                buf_printf(&yaml, "- &b%d [*b%d]\n", i, i - 1);
        assert_refuses(yaml.data, "deep");
        buf_fini(&yaml);
}

static void what_json_cannot_hold_is_refused(void **state) {
        (void)state;
        assert_refuses("a: .inf\n", "line 1");
        assert_refuses("a: 1\nb: -.INF\n", "line 2");
        assert_refuses("a: .nan\n", "out of range");
        assert_refuses("a: 1e999\n", "out of range");
        assert_refuses("a: 99999999999999999999\n", "out of range");
        assert_refuses("{[1]: 2}", "keys");
        assert_refuses("a: !python/object:os.system x\n", "line 1");
        assert_refuses("a: !!int x\n", "line 1");
        assert_refuses("a: 1\n---\nb: 2\n", "line 2");
        assert_refuses("", "empty");
        assert_refuses("a: [1, 2\nb: 3\n", "line ");
        assert_refuses("a: \tb\n\tc: d\n", "line ");
}

static void every_value_knows_its_line(void **state) {
        (void)state;
        const char *yaml = "method: bayes\nparameters:\n  lr:\n    min: 1\n    max: 0\n  \"a/b~c\":\n    values:\n      - 1\n      - "
                           "2\nshared: &s\n  k: 1\nused: *s\n";
        struct yaml_notes notes = {0};
        json_t *value = NULL;
        assert_int_equal(yaml_read(yaml, strlen(yaml), &value, &notes, NULL), 0);
        assert_int_equal(line_map_find(&notes.lines, "/method"), 1);
        assert_int_equal(line_map_find(&notes.lines, "/parameters/lr/max"), 5);
        assert_int_equal(line_map_find(&notes.lines, "/parameters/lr/missing"), 3); /* the nearest thing around it */
        assert_int_equal(line_map_find(&notes.lines, "/parameters/a~1b~0c/values/1"), 9);
        assert_int_equal(line_map_find(&notes.lines, "/used/k"), 12);
        assert_int_equal(line_map_find(&notes.lines, "/nothing"), 0);
        json_decref(value);
        yaml_notes_fini(&notes);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers_without_a_dot_are_numbers),
                cmocka_unit_test(whole_and_real_literals_stay_apart),
                cmocka_unit_test(words_are_what_pyyaml_takes_them_for),
                cmocka_unit_test(quoted_numbers_stay_strings_with_a_warning),
                cmocka_unit_test(repeated_keys_are_refused_with_both_lines),
                cmocka_unit_test(aliases_and_merge_keys_are_followed),
                cmocka_unit_test(laughing_aliases_are_stopped),
                cmocka_unit_test(what_json_cannot_hold_is_refused),
                cmocka_unit_test(every_value_knows_its_line),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
