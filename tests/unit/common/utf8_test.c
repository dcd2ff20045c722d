#include "common/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void each_length_decodes_at_its_limits(void **state) {
        (void)state;
        static const struct {
                const char *text;
                int n;
                uint32_t point;
        } cases[] = {{"", 1, 0},                  {"\x7f", 1, 0x7f},
                     {"\xc2\x80", 2, 0x80},         {"\xdf\xbf", 2, 0x7ff},
                     {"\xe0\xa0\x80", 3, 0x800},    {"\xed\x9f\xbf", 3, 0xd7ff},
                     {"\xee\x80\x80", 3, 0xe000},   {"\xef\xbf\xbf", 3, 0xffff},
                     {"\xf0\x90\x80\x80", 4, 0x10000}, {"\xf4\x8f\xbf\xbf", 4, 0x10ffff}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint32_t point = 1;
                assert_int_equal(utf8_decode(cases[i].text, 4, &point), cases[i].n);
                assert_int_equal(point, cases[i].point);
        }
}

static void malformed_sequences_are_refused(void **state) {
        (void)state;
        static const char *const cases[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3(", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
                                            "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98"};
        uint32_t point = 77;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_int_equal(utf8_decode(cases[i], strlen(cases[i]), &point), -EILSEQ);
        assert_int_equal(utf8_decode("a", 0, &point), -EILSEQ);
        assert_int_equal(point, 77);
}

static void a_span_ends_at_the_first_malformed_byte(void **state) {
        (void)state;
        assert_int_equal(utf8_span("a\0\xc3\xa9", 4), 4);
        assert_int_equal(utf8_span("a\xc3\xa9\xff" "b", 5), 3);
        assert_int_equal(utf8_span("\xc3\xa9", 1), 0);
}

static void a_copy_is_cut_between_characters(void **state) {
        (void)state;
        char text[5];
        utf8_copy(text, 1, "abc");
        assert_string_equal(text, "");
        utf8_copy(text, 5, "abcd");
        assert_string_equal(text, "abcd");
        utf8_copy(text, 5, "abc\xc3\xa9");
        assert_string_equal(text, "abc");
        utf8_copy(text, 5, "ab\xc3\xa9" "d");
        assert_string_equal(text, "ab\xc3\xa9");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_length_decodes_at_its_limits),
                cmocka_unit_test(malformed_sequences_are_refused),
                cmocka_unit_test(a_span_ends_at_the_first_malformed_byte),
                cmocka_unit_test(a_copy_is_cut_between_characters),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
