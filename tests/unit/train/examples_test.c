#include "train/examples.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/fs.h"

/* Four examples of lengths 3, 1, 2, 3. */
static int32_t ids[] = {10, 11, 12, 20, 30, 31, 40, 41, 42};
static size_t starts[] = {0, 3, 4, 6, 9};
static int32_t labels[] = {0, 1, 0, 1};
static const struct examples four = {.n = 4, .ids = ids, .starts = starts, .labels = labels};

static void batches_are_packed_in_the_order_given(void **state) {
        (void)state;
        struct pack pack;
        assert_int_equal(pack_init(&pack, 3, 6), 0);
        struct batch batch = pack_fill(&pack, &four, (uint32_t[]){2, 0, 1}, 3);
        assert_int_equal(batch.n_sequences, 3);
        assert_int_equal(batch.n_tokens, 6);
        assert_memory_equal(batch.ids, ((int32_t[]){30, 31, 10, 11, 12, 20}), 6 * sizeof(int32_t));
        assert_memory_equal(batch.offsets, ((int32_t[]){0, 2, 5, 6}), 4 * sizeof(int32_t));
        assert_memory_equal(batch.labels, ((int32_t[]){0, 0, 1}), 3 * sizeof(int32_t));
        pack_fini(&pack);
}

static void evaluation_goes_by_length_then_file_order(void **state) {
        (void)state;
        uint32_t order[4];
        examples_sort(&four, order);
        assert_memory_equal(order, ((uint32_t[]){1, 2, 0, 3}), sizeof order);
}

static void largest_possible_batch_is_the_longest_examples(void **state) {
        (void)state;
        assert_int_equal(examples_most_tokens(&four, 1), 3);
        assert_int_equal(examples_most_tokens(&four, 3), 8);
        assert_int_equal(examples_most_tokens(&four, 99), 9);
        assert_int_equal(examples_longest(&four), 3);
}

static void every_epoch_has_every_example_once(void **state) {
        (void)state;
        uint32_t order[100];
        for (uint64_t epoch = 0; epoch < 5; epoch++) {
                bool seen[100] = {0};
                examples_shuffle(order, 100, 7, epoch);
                for (int i = 0; i < 100; i++) {
                        assert_true(order[i] < 100 && !seen[order[i]]);
                        seen[order[i]] = true;
                }
        }
}

static void order_is_a_function_of_seed_and_epoch(void **state) {
        (void)state;
        uint32_t first[50], again[50], other_epoch[50], other_seed[50];
        examples_shuffle(first, 50, 3, 2);
        examples_shuffle(again, 50, 3, 2);
        examples_shuffle(other_epoch, 50, 3, 1);
        examples_shuffle(other_seed, 50, 4, 2);
        assert_memory_equal(first, again, sizeof first);
        assert_memory_not_equal(first, other_epoch, sizeof first);
        assert_memory_not_equal(first, other_seed, sizeof first);
}

static struct tokenizer *open_tokenizer(void) {
        char path[] = "/tmp/examples_test.XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntwo\n";
        struct tokenizer *tokenizer;
        struct error err = {0};
        assert_int_equal(fs_write_atomic(path, vocab, sizeof vocab - 1, 0600, &err), 0);
        if (tokenizer_open(path, &tokenizer, &err) < 0)
                fail_msg("%s", err.text);
        unlink(path);
        return tokenizer;
}

static void pairs_become_ids_up_to_the_limit(void **state) {
        (void)state;
        struct pair items[] = {{"one two", "two", 7, 3, 1}, {"two", "one", 3, 3, 0}, {"one", "one", 3, 3, 1}};
        struct pairs pairs = {.items = items, .n = 3};
        struct tokenizer *tokenizer = open_tokenizer();
        struct examples examples;
        assert_int_equal(examples_encode(&pairs, 2, tokenizer, TRUNCATION_HF_FAST, 16, &examples, NULL), 0);
        assert_int_equal(examples.n, 2);
        assert_int_equal(examples_length(&examples, 0), 6);
        assert_memory_equal(examples.ids, ((int32_t[]){2, 5, 6, 3, 6, 3, 2, 6, 3, 5, 3}), 11 * sizeof(int32_t));
        assert_memory_equal(examples.labels, ((int32_t[]){1, 0}), 2 * sizeof(int32_t));
        examples_fini(&examples);
        assert_int_equal(examples_encode(&pairs, 0, tokenizer, TRUNCATION_HF_FAST, 16, &examples, NULL), 0);
        assert_int_equal(examples.n, 3);
        examples_fini(&examples);
        tokenizer_free(tokenizer);
}

static void bad_text_is_named_by_its_pair(void **state) {
        (void)state;
        struct pair items[] = {{"one", "two", 3, 3, 1}, {"one", "\xff", 3, 1, 0}};
        struct pairs pairs = {.items = items, .n = 2};
        struct tokenizer *tokenizer = open_tokenizer();
        struct examples examples;
        struct error err = {0};
        assert_true(examples_encode(&pairs, 0, tokenizer, TRUNCATION_HF_FAST, 16, &examples, &err) < 0);
        assert_non_null(strstr(err.text, "pair 2"));
        tokenizer_free(tokenizer);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(batches_are_packed_in_the_order_given),
                cmocka_unit_test(evaluation_goes_by_length_then_file_order),
                cmocka_unit_test(largest_possible_batch_is_the_longest_examples),
                cmocka_unit_test(every_epoch_has_every_example_once),
                cmocka_unit_test(order_is_a_function_of_seed_and_epoch),
                cmocka_unit_test(pairs_become_ids_up_to_the_limit),
                cmocka_unit_test(bad_text_is_named_by_its_pair),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
