#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "screen.h"
#include "table.h"

static void texts_take_the_columns_that_a_terminal_gives_them(void **state) {
        (void)state;
        assert_int_equal(screen_width("größe"), 5);
        assert_int_equal(screen_width("模型"), 4);           /* wide */
        assert_int_equal(screen_width("e\xcc\x81"), 1);      /* e and a combining accent */
        assert_int_equal(screen_width("\xff\xfe"), 2);       /* no UTF-8 */
}

static void texts_are_cut_at_whole_characters(void **state) {
        (void)state;
        char text[64];
        assert_string_equal(screen_fit("größe", 5, text, sizeof text), "größe");
        assert_string_equal(screen_fit("größer", 5, text, sizeof text), "größ…");
        assert_string_equal(screen_fit("模型模型", 6, text, sizeof text), "模型…");
        assert_string_equal(screen_fit("模型模型", 4, text, sizeof text), "模…");
        assert_string_equal(screen_fit("abc", 1, text, sizeof text), "…");
        assert_string_equal(screen_fit("abc", 0, text, sizeof text), "");
        char small[8];
        assert_string_equal(screen_fit("abcdefghijkl", 12, small, sizeof small), "abcd…");
}

static void a_sparkline_spans_from_least_to_greatest(void **state) {
        (void)state;
        char text[512];
        const double rising[] = {0, 1, 2, 3, 4, 5, 6, 7}, flat[] = {2, 2, 2}, odd[] = {1, NAN, 3};
        assert_string_equal(screen_sparkline(rising, 8, 20, text, sizeof text), "▁▂▃▄▅▆▇█");
        assert_string_equal(screen_sparkline(rising, 8, 4, text, sizeof text), "▂▄▆█");
        assert_string_equal(screen_sparkline(flat, 3, 20, text, sizeof text), "▅▅▅");
        assert_int_equal(screen_width(screen_sparkline(odd, 3, 20, text, sizeof text)), 3);
        assert_string_equal(screen_sparkline(NULL, 0, 20, text, sizeof text), "");
        assert_string_equal(screen_bar(0.5, 4, text, sizeof text), "██░░");
        assert_string_equal(screen_bar(2, 4, text, sizeof text), "████");
        assert_string_equal(screen_bar(NAN, 2, text, sizeof text), "░░");
}

static void what_terminals_obey_is_not_written(void **state) {
        (void)state;
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);
        screen_print(out, "%s|%s|%.3s\n", "a\033[2Jb\x7f", "\xc2\x9b" "1é\xe2\x80\xae模", "x\ny");
        screen_print_wrapped(out, "one\xc2\x9b two\nthree", 2, 7);
        fclose(out);
        assert_string_equal(text, "a [2Jb | 1é 模|x\ny\none \n  two\nthree\n");
        free(text);
        char lines[] = "a\r\nb\n";
        assert_string_equal(screen_one_line(lines), "a  b ");
}

static char *print(const struct table *table, size_t columns, bool colours) {
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);
        table_print_fitted(table, out, columns, colours);
        fclose(out);
        return text;
}

static void tables_fit_but_ids_and_numbers_stay_whole(void **state) {
        (void)state;
        struct table table;
        table_init(&table, (const char *[]){"=ID", "STATE", ">N", "PARAMETERS", NULL});
        table_add(&table, (const char *[]){"t_123456789", "running", "1234567", "learning_rate=0.1 größe=3 dropout=0.5"});
        char *text = print(&table, 50, false);
        assert_string_equal(text, "ID           STATE          N  PARAMETERS\n"
                                  "t_123456789  running  1234567  learning_rate=0.1 …\n");
        free(text);
        text = print(&table, 10, false); /* there is no room at all: what people copy is whole all the same */
        assert_non_null(strstr(text, "t_123456789"));
        assert_non_null(strstr(text, "1234567"));
        free(text);
        text = print(&table, 0, true);
        assert_non_null(strstr(text, "\033[36mrunning\033[0m"));
        free(text);
        table_fini(&table);
}

int main(void) {
        setlocale(LC_CTYPE, "C.UTF-8");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(texts_take_the_columns_that_a_terminal_gives_them),
                cmocka_unit_test(texts_are_cut_at_whole_characters),
                cmocka_unit_test(a_sparkline_spans_from_least_to_greatest),
                cmocka_unit_test(what_terminals_obey_is_not_written),
                cmocka_unit_test(tables_fit_but_ids_and_numbers_stay_whole),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
