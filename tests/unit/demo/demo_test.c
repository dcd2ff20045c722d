/* The demo's generator: the same bytes everywhere, files that the trainer reads, pairs that are fair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "data/data.h"
#include "demo/corpus.h"
#include "demo/encoder.h"
#include "demo/words.h"
#include "model/folder.h"
#include "token/token.h"

enum { N_PAIRS = 300 };

static char folder[] = "/tmp/demo_test.XXXXXX";

static char *place(const char *name) {
        char *path = fs_join(folder, name);
        assert_non_null(path);
        return path;
}

static int make_files(void **state) {
        (void)state;
        struct error err;
        if (!mkdtemp(folder) || encoder_write(folder, 7, &err) < 0)
                return -1;
        _cleanup_free_ char *train = place("train.tsv"), *dev = place("dev.tsv");
        return corpus_write(train, N_PAIRS, 7, 1, &err) < 0 || corpus_write(dev, N_PAIRS, 7, 2, &err) < 0 ? -1 : 0;
}

static int remove_files(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

static void digest_of(const char *name, char ret[DIGEST_HEX_SIZE]) {
        _cleanup_free_ char *path = place(name);
        assert_int_equal(digest_file(path, ret, NULL), 0);
}

/* Digests of one machine, for all others: a fingerprint that differed would keep workers apart. */
static void bytes_are_those_of_every_machine(void **state) {
        (void)state;
        char weights[DIGEST_HEX_SIZE], pairs[DIGEST_HEX_SIZE];
        digest_of("model.safetensors", weights);
        digest_of("train.tsv", pairs);
        assert_string_equal(weights, "de58a1bf0e241eaa4ced71388883f381e2c34cbd4a15f09277bdc659aca6caab");
        assert_string_equal(pairs, "ea10004aeb954f01799bca5867114eb2e92b3d0d6f7b5f7669aea356ab8ac33c");
}

static void no_word_has_two_senses(void **state) {
        (void)state;
        for (size_t i = 0; i < n_senses * N_SYNONYMS; i++) {
                const char *word = senses[i / N_SYNONYMS].words[i % N_SYNONYMS];
                for (size_t j = 0; j < i; j++)
                        assert_string_not_equal(word, senses[j / N_SYNONYMS].words[j % N_SYNONYMS]);
                for (size_t j = 0; j < n_function_words; j++)
                        assert_string_not_equal(word, function_words[j]);
        }
}

static void senses_of_a_role_stand_together(void **state) {
        (void)state;
        size_t n = 0;
        for (int role = 0; role < N_ROLES; role++) {
                assert_true(senses_count(role) > 1);
                n += senses_count(role);
        }
        assert_int_equal(n, n_senses);
}

static void the_model_folder_reads_like_a_downloaded_one(void **state) {
        (void)state;
        struct model_shape shape;
        struct error err;
        assert_int_equal(model_folder_read_shape(folder, &shape, &err), 0);
        struct model_limits limits = {.max_sequences = 1, .max_tokens = 64, .max_length = 64, .threads = 1};
        struct model *model;
        assert_int_equal(model_new(&shape, &limits, &model, &err), 0);
        bool drew_head = false;
        int r = model_folder_read_weights(folder, model, 1, &drew_head, &err);
        model_free(model);
        assert_int_equal(r, 0);
        assert_true(drew_head);
}

static void the_data_folder_reads_as_mrpc_with_a_fair_majority(void **state) {
        (void)state;
        struct dataset *dataset;
        struct error err;
        assert_int_equal(dataset_open(folder, NULL, &dataset, &err), 0);
        size_t positive = 0;
        for (size_t i = 0; i < dataset->train.n; i++)
                positive += dataset->train.items[i].label;
        size_t n = dataset->train.n;
        dataset_free(dataset);
        assert_int_equal(n, N_PAIRS);
        assert_in_range(positive, N_PAIRS * 60 / 100, N_PAIRS * 75 / 100);
}

/* Every word is a whole token: no [UNK], no pieces, and no sentence that max_seq_length 48 would cut. */
static void the_vocabulary_covers_the_corpus(void **state) {
        (void)state;
        _cleanup_free_ char *vocab = place("vocab.txt");
        struct tokenizer *tokenizer;
        struct dataset *dataset;
        struct error err;
        assert_int_equal(tokenizer_open(vocab, &tokenizer, &err), 0);
        assert_int_equal(dataset_open(folder, NULL, &dataset, &err), 0);
        for (size_t i = 0; i < dataset->train.n; i++) {
                const struct pair *pair = &dataset->train.items[i];
                int32_t ids[64];
                size_t n, words = 2;
                for (const char *c = pair->a; c < pair->b + pair->b_len; c++)
                        words += *c == ' ';
                assert_int_equal(
                        tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, pair->a, pair->a_len, pair->b, pair->b_len, 64, ids, &n, &err),
                        0);
                assert_int_equal(n, words + 3);
                assert_in_range(n, 12, 48);
                for (size_t t = 0; t < n; t++)
                        assert_int_not_equal(ids[t], 1);
        }
        dataset_free(dataset);
        tokenizer_free(tokenizer);
}

static void no_dev_pair_is_a_training_pair(void **state) {
        (void)state;
        struct dataset *dataset;
        struct error err;
        assert_int_equal(dataset_open(folder, NULL, &dataset, &err), 0);
        for (size_t i = 0; i < dataset->dev.n; i++)
                for (size_t j = 0; j < dataset->train.n; j++) {
                        const struct pair *d = &dataset->dev.items[i], *t = &dataset->train.items[j];
                        assert_false(d->a_len == t->a_len && d->b_len == t->b_len && !memcmp(d->a, t->a, t->a_len) &&
                                     !memcmp(d->b, t->b, t->b_len));
                }
        dataset_free(dataset);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bytes_are_those_of_every_machine),
                cmocka_unit_test(no_word_has_two_senses),
                cmocka_unit_test(senses_of_a_role_stand_together),
                cmocka_unit_test(the_model_folder_reads_like_a_downloaded_one),
                cmocka_unit_test(the_data_folder_reads_as_mrpc_with_a_fair_majority),
                cmocka_unit_test(the_vocabulary_covers_the_corpus),
                cmocka_unit_test(no_dev_pair_is_a_training_pair),
        };
        return cmocka_run_group_tests(tests, make_files, remove_files);
}
