#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "opt/memory.h"

static void what_was_kept_is_found_by_all_that_it_is_of(void **state) {
        (void)state;
        struct opt_memory *memory = opt_memory_new();
        double one[] = {1, 2, 3}, two[] = {4, 5}, found[3] = {0};
        memory_keep(memory, MEMORY_WHOLE, 7, 3, one);
        memory_keep(memory, MEMORY_REFINED, 7, 2, two);
        assert_true(memory_recall(memory, MEMORY_WHOLE, 7, 3, found));
        assert_memory_equal(found, one, sizeof one);
        assert_true(memory_recall(memory, MEMORY_REFINED, 7, 2, found));
        assert_memory_equal(found, two, sizeof two);
        assert_false(memory_recall(memory, MEMORY_GUIDE, 7, 3, found));
        assert_false(memory_recall(memory, MEMORY_WHOLE, 8, 3, found));
        assert_false(memory_recall(memory, MEMORY_WHOLE, 7, 2, found));
        assert_false(memory_recall(memory, MEMORY_WHOLE, 0, 0, found)); /* an empty place holds nothing */
        memory_keep(memory, MEMORY_WHOLE, 7, 3, found);
        assert_true(memory_recall(memory, MEMORY_WHOLE, 7, 3, one));
        assert_memory_equal(found, one, sizeof one);
        assert_int_equal(memory_count_kept(memory), 3);
        opt_memory_free(memory);
}

static void what_was_used_least_recently_goes(void **state) {
        (void)state;
        struct opt_memory *memory = opt_memory_new();
        for (uint64_t key = 0; key < 10 * MEMORY_SLOTS; key++) {
                double theta[] = {(double)key, 0, 0, 0}, found[4];
                memory_keep(memory, MEMORY_REFINED, key, 1 + key % 4, theta);
                assert_true(memory_recall(memory, MEMORY_REFINED, 0, 1, found)); /* always asked for again: it stays */
                assert_true(found[0] == 0);
                for (uint64_t old = 1; old <= key; old++) {
                        bool is_kept = old + MEMORY_SLOTS - 1 > key;
                        if (!is_kept || old == key) /* those between are left alone, so that their order stays */
                                assert_int_equal(memory_recall(memory, MEMORY_REFINED, old, 1 + old % 4, found), is_kept);
                }
        }
        opt_memory_free(memory);
}

static void without_memory_nothing_is_remembered(void **state) {
        (void)state;
        double theta[] = {1};
        memory_keep(NULL, MEMORY_WHOLE, 1, 1, theta);
        assert_false(memory_recall(NULL, MEMORY_WHOLE, 1, 1, theta));
        assert_int_equal(memory_count_kept(NULL), 0);
        memory_note_proposal(NULL, true);
        assert_int_equal(opt_memory_use(NULL).proposals, 0);
        opt_memory_free(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_kept_is_found_by_all_that_it_is_of),
                cmocka_unit_test(what_was_used_least_recently_goes),
                cmocka_unit_test(without_memory_nothing_is_remembered),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
