#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/division.h"
#include "common/cleanup.h"
#include "common/json.h"

static void expect(unsigned cores, unsigned slots, unsigned threads, const char *said) {
        struct division list[DIVISION_MAX];
        char text[512] = "";
        size_t n = division_list(cores, slots, threads, list);
        assert_in_range(n, 1, DIVISION_MAX);
        for (size_t i = 0; i < n; i++)
                snprintf(text + strlen(text), sizeof text - strlen(text), "%s%ux%u", i ? " " : "", list[i].slots, list[i].threads);
        assert_string_equal(text, said);
}

static void threads_are_halved_until_one_is_left(void **state) {
        (void)state;
        expect(1, 0, 0, "1x1");
        expect(2, 0, 0, "1x2 2x1");
        expect(6, 0, 0, "1x6 2x3 6x1");
        expect(7, 0, 0, "1x7 2x3 7x1");
        expect(16, 0, 0, "1x16 2x8 4x4 8x2 16x1");
        expect(0, 0, 0, "1x1");
}

static void what_is_asked_for_stays(void **state) {
        (void)state;
        expect(8, 3, 0, "3x2");
        expect(8, 3, 5, "3x5");
        expect(2, 9, 0, "9x1");
        expect(12, 0, 2, "1x2 2x2 4x2 6x2");
        expect(4, 0, 9, "1x9");
}

static void most_tokens_win_and_nearly_as_many_with_fewer_slots(void **state) {
        (void)state;
        struct division list[] = {{1, 4, 100, 500}, {2, 2, 160, 500}, {4, 1, 164, 500}};
        assert_ptr_equal(division_best(list, 3, 1e9), &list[1]);
        list[2].tokens_per_s = 170;
        assert_ptr_equal(division_best(list, 3, 1e9), &list[2]);
}

static void what_does_not_fit_is_no_choice(void **state) {
        (void)state;
        struct division list[] = {{1, 4, 100, 1000}, {2, 2, 160, 1000}, {4, 1, 200, 1000}};
        assert_ptr_equal(division_best(list, 3, 3000), &list[1]);
        assert_ptr_equal(division_best(list, 3, 2000), &list[0]); /* room to grow is counted */
        assert_null(division_best(list, 3, 500));
        struct division unmeasured[] = {{1, 2, 0, 0}, {2, 1, 0, 0}};
        assert_null(division_best(unmeasured, 2, 1e9));
}

static void what_was_measured_is_remembered_for_its_key_alone(void **state) {
        (void)state;
        char path[] = "/tmp/division_test.XXXXXX";
        struct error err = {0};
        close(mkstemp(path)); /* empty: no JSON */
        _cleanup_json_ json_t *key = json_pack("{s:s}", "model", "a"), *other = json_pack("{s:s}", "model", "b");
        struct division list[] = {{1, 2, 50, 700}, {2, 1, 80.5, 600}, {4, 1, 0, 0}}, found[] = {{1, 2, 0, 0}, {2, 1, 0, 0}, {4, 1, 0, 0}};
        division_recall(path, key, found, 3);
        assert_true(found[0].tokens_per_s == 0);
        assert_int_equal(division_remember(path, key, list, 3, &err), 0);
        list[0].tokens_per_s = 9;
        assert_int_equal(division_remember(path, other, list, 1, &err), 0);
        division_recall(path, key, found, 3);
        assert_true(found[0].tokens_per_s == 50 && found[0].memory_mib == 700 && found[1].tokens_per_s == 80.5 && found[2].tokens_per_s == 0);
        /* another wish for the same key adds to it */
        struct division more[] = {{4, 1, 90, 600}}, all[] = {{2, 1, 0, 0}, {4, 1, 0, 0}};
        assert_int_equal(division_remember(path, key, more, 1, &err), 0);
        division_recall(path, key, all, 2);
        assert_true(all[0].tokens_per_s == 80.5 && all[1].tokens_per_s == 90);
        for (int i = 0; i < 40; i++) {
                _cleanup_json_ json_t *another = json_pack("{s:i}", "model", i);
                assert_int_equal(division_remember(path, another, list, 2, &err), 0);
        }
        struct division gone = {1, 2, 0, 0};
        division_recall(path, key, &gone, 1);
        assert_true(gone.tokens_per_s == 0); /* the file does not grow for ever */
        unlink(path);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(threads_are_halved_until_one_is_left),
                cmocka_unit_test(what_is_asked_for_stays),
                cmocka_unit_test(most_tokens_win_and_nearly_as_many_with_fewer_slots),
                cmocka_unit_test(what_does_not_fit_is_no_choice),
                cmocka_unit_test(what_was_measured_is_remembered_for_its_key_alone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
