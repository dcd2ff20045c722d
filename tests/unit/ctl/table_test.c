#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "table.h"

static void columns_are_aligned_by_characters(void **state) {
        (void)state;
        struct table table;
        char *text = NULL;
        size_t len;
        assert_int_equal(table_init(&table, (const char *[]){"NAME", ">N", "END", NULL}), 0);
        table_add(&table, (const char *[]){"größe", "5", "x"});
        table_add(&table, (const char *[]){"a", "120", NULL});
        FILE *out = open_memstream(&text, &len);
        table_print(&table, out);
        fclose(out);
        assert_string_equal(text, "NAME     N  END\ngröße    5  x\na      120  \n");
        free(text);
        table_fini(&table);
}

static void texts_are_short_and_harmless(void **state) {
        (void)state;
        char text[64], small[12];
        assert_string_equal(text_of_seconds(41, text, sizeof text), "41s");
        assert_string_equal(text_of_seconds(200, text, sizeof text), "3m 20s");
        assert_string_equal(text_of_seconds(11520, text, sizeof text), "3h 12m");
        assert_string_equal(text_of_seconds(-1, text, sizeof text), "-");
        json_t *escape = json_string("a\033[2Jb\xc2\x9b" "2Jé"), *wide = json_string("ääääääääää"), *real = json_real(0.84999999999);
        assert_string_equal(text_of(escape, text, sizeof text), "a [2Jb 2Jé");
        assert_string_equal(text_of(wide, small, sizeof small), "ääää…");
        assert_string_equal(text_of_number(real, text, sizeof text), "0.85");
        assert_string_equal(text_of(NULL, text, sizeof text), "-");
        json_t *params = json_pack("{s:f, s:{s:s}, s:b}", "lr", 2e-5, "opt", "name", "adam", "x", 1);
        assert_string_equal(text_of_params(params, text, sizeof text), "lr=2e-05 opt.name=adam x=true");
        json_decref(escape);
        json_decref(wide);
        json_decref(real);
        json_decref(params);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(columns_are_aligned_by_characters),
                cmocka_unit_test(texts_are_short_and_harmless),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
