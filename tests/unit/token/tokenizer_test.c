#include "token/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "token/words.h"

#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
#define WORDS "un\n##able\n##a\nable\nhello\nworld\n,\n[\n]\na\n##b\nb\n\xe4\xb8\xad\ne\n!\nsep\n"

enum { PAD, UNK, CLS, SEP, MASK, UN, _ABLE, _A, ABLE, HELLO, WORLD, COMMA, OPEN, CLOSE, A, _B, B, ZHONG, E, BANG, LOWER_SEP };

static char folder[] = "/tmp/tokenizer_test.XXXXXX";
static char path[64];
static struct tokenizer *tokenizer;

static int open_tokenizer(void **state) {
        (void)state;
        if (!mkdtemp(folder))
                return -1;
        snprintf(path, sizeof path, "%s/vocab.txt", folder);
        const char *text = SPECIALS WORDS;
        return fs_write_atomic(path, text, strlen(text), 0644, NULL) < 0 || tokenizer_open(path, &tokenizer, NULL) < 0 ? -1 : 0;
}

static int close_tokenizer(void **state) {
        (void)state;
        tokenizer_free(tokenizer);
        return fs_remove_tree(folder, NULL);
}

/* expected ends with -1 */
static void expect(enum truncation mode, const char *a, const char *b, size_t max_length, const int32_t *expected) {
        int32_t ids[512];
        size_t n = 0, n_expected = 0;
        assert_true(max_length <= 512);
        assert_int_equal(tokenizer_encode_pair(tokenizer, mode, a, strlen(a), b, strlen(b), max_length, ids, &n, NULL), 0);
        while (expected[n_expected] >= 0)
                n_expected++;
        bool same = n == n_expected && memcmp(ids, expected, n * sizeof *ids) == 0;
        for (size_t i = 0; !same && i < n; i++)
                print_message("%d ", ids[i]);
        if (!same)
                fail_msg("'%s' '%s' at %zu", a, b, max_length);
}

#define EXPECT(mode, a, b, max_length, ...) expect(mode, a, b, max_length, (const int32_t[]){__VA_ARGS__, -1})
#define EXPECT_BOTH(a, b, ...) \
        do { \
                EXPECT(TRUNCATION_HF_FAST, a, b, 512, __VA_ARGS__); \
                EXPECT(TRUNCATION_HF_SLOW, a, b, 512, __VA_ARGS__); \
        } while (0)

static void words_split_lowercase_and_lose_accents(void **state) {
        (void)state;
        EXPECT_BOTH("Hello, WORLD!", "h\xc3\xa9llo", CLS, HELLO, COMMA, WORLD, BANG, SEP, HELLO, SEP);
        EXPECT_BOTH("a\tb\nb", "a\xe2\x80\x8b" "b", CLS, A, B, B, SEP, A, _B, SEP); /* a zero-width space joins */
        EXPECT_BOTH("\xe4\xb8\xad\xe4\xb8\xad", "a", CLS, ZHONG, ZHONG, SEP, A, SEP);
}

static void the_longest_piece_wins_and_any_unknown_rest_spoils_the_word(void **state) {
        (void)state;
        EXPECT_BOTH("unable able", "unablex", CLS, UN, _ABLE, ABLE, SEP, UNK, SEP);
        EXPECT_BOTH("unaable", "una", CLS, UN, _A, _ABLE, SEP, UN, _A, SEP);
        EXPECT_BOTH("##able", "a", CLS, UNK, UNK, ABLE, SEP, A, SEP);
}

static void special_tokens_are_found_anywhere_in_exact_case(void **state) {
        (void)state;
        EXPECT_BOTH("a[SEP]b", "[[MASK]]", CLS, A, SEP, B, SEP, OPEN, MASK, CLOSE, SEP);
        EXPECT_BOTH("[sep]", "[UNK][PAD] [CLS]", CLS, OPEN, LOWER_SEP, CLOSE, SEP, UNK, PAD, CLS, SEP);
        EXPECT_BOTH("[SEP", "a", CLS, OPEN, LOWER_SEP, SEP, A, SEP);
}

static void a_word_of_a_hundred_is_read_and_one_more_is_unknown(void **state) {
        (void)state;
        char hundred[102];
        memset(hundred, 'b', sizeof hundred);
        hundred[0] = 'a';
        hundred[100] = 0;
        int32_t ids[512];
        size_t n;
        assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_SLOW, hundred, 100, "a", 1, 512, ids, &n, NULL), 0);
        assert_int_equal(n, 104);
        hundred[100] = 'b';
        hundred[101] = 0;
        EXPECT_BOTH(hundred, "a", CLS, UNK, SEP, A, SEP);
}

static void nul_is_text_and_vanishes(void **state) {
        (void)state;
        int32_t ids[8];
        size_t n;
        assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, "a\0b", 3, "\0", 1, 8, ids, &n, NULL), 0);
        const int32_t expected[] = {CLS, A, _B, SEP, SEP};
        assert_int_equal(n, 5);
        assert_memory_equal(ids, expected, sizeof expected);
}

static void an_empty_second_sentence_is_none_to_the_fast_rules_only(void **state) {
        (void)state;
        EXPECT(TRUNCATION_HF_FAST, "hello", "", 64, CLS, HELLO, SEP);
        EXPECT(TRUNCATION_HF_SLOW, "hello", "", 64, CLS, HELLO, SEP, SEP);
        EXPECT(TRUNCATION_HF_FAST, "hello", " ", 64, CLS, HELLO, SEP, SEP);
        EXPECT(TRUNCATION_HF_FAST, "", "", 64, CLS, SEP);
        EXPECT(TRUNCATION_HF_FAST, "a b a b a b", "", 5, CLS, A, B, A, SEP);
}

/* What a loop that drops one id after the other gives. */
static void truncate_by_loop(size_t budget, size_t *n1, size_t *n2) {
        while (*n1 + *n2 > budget)
                (*n1 > *n2) ? --*n1 : --*n2;
}

static void slow_truncation_equals_dropping_one_id_after_the_other(void **state) {
        (void)state;
        for (size_t max_length = 3; max_length < 14; max_length++)
                for (size_t la = 0; la < 14; la++)
                        for (size_t lb = 0; lb < 14; lb++) {
                                char a[16], b[16];
                                memset(a, ',', sizeof a);
                                memset(b, '!', sizeof b);
                                int32_t ids[16];
                                size_t n, n1 = la, n2 = lb;
                                truncate_by_loop(max_length - 3, &n1, &n2);
                                assert_int_equal(
                                        tokenizer_encode_pair(tokenizer, TRUNCATION_HF_SLOW, a, la, b, lb, max_length, ids, &n, NULL), 0);
                                assert_int_equal(n, n1 + n2 + 3);
                                assert_int_equal(ids[n1 + 1], SEP);
                        }
}

static void the_odd_id_goes_to_the_first_or_to_the_longer_sentence(void **state) {
        (void)state;
        EXPECT(TRUNCATION_HF_SLOW, ",,,,", "!!!!", 8, CLS, COMMA, COMMA, COMMA, SEP, BANG, BANG, SEP);
        EXPECT(TRUNCATION_HF_FAST, ",,,,", "!!!!", 8, CLS, COMMA, COMMA, SEP, BANG, BANG, BANG, SEP);
        EXPECT(TRUNCATION_HF_FAST, ",,,,,", "!!!!", 8, CLS, COMMA, COMMA, COMMA, SEP, BANG, BANG, SEP);
        EXPECT(TRUNCATION_HF_FAST, ",,,,,,,,,", "!", 8, CLS, COMMA, COMMA, COMMA, COMMA, SEP, BANG, SEP);
        EXPECT(TRUNCATION_HF_FAST, ",", "!!!!!!!!!", 8, CLS, COMMA, SEP, BANG, BANG, BANG, BANG, SEP);
}

static void expect_word(enum truncation mode, const char *text, size_t n, const uint32_t *points) {
        struct words words = {.text = text, .len = strlen(text), .mode = mode};
        struct word word;
        assert_int_equal(words_next(&words, &word), 1);
        assert_int_equal(word.n, n);
        assert_memory_equal(word.points, points, n * sizeof *points);
        assert_int_equal(words_next(&words, &word), 0);
}

/* Combining classes: U+1D16D 226, U+1D165 216; U+0901 is a mark of class 0; U+1193D is 9 since Unicode 13. */
static void marks_that_stay_are_put_in_canonical_order(void **state) {
        (void)state;
        static const uint32_t sorted[] = {'a', 0x1d165, 0x1d165, 0x1d16d}, barred[] = {'a', 0x1d16d, 0x1d165};
        static const uint32_t slow[] = {'a', 0x1193d, 0x1d165}, fast[] = {'a', 0x1d165, 0x1193d};
        for (int mode = TRUNCATION_HF_FAST; mode <= TRUNCATION_HF_SLOW; mode++) {
                expect_word(mode, "a\xf0\x9d\x85\xad\xcc\x81\xf0\x9d\x85\xa5\xe2\x80\x8b\xf0\x9d\x85\xa5", 4, sorted);
                expect_word(mode, "a\xf0\x9d\x85\xad\xe0\xa4\x81\xf0\x9d\x85\xa5", 3, barred);
        }
        expect_word(TRUNCATION_HF_SLOW, "a\xf0\x9d\x85\xa5\xf0\x91\xa4\xbd", 3, slow);
        expect_word(TRUNCATION_HF_FAST, "a\xf0\x9d\x85\xa5\xf0\x91\xa4\xbd", 3, fast);
}

static void malformed_text_and_lengths_are_refused(void **state) {
        (void)state;
        int32_t ids[8];
        size_t n = 77;
        struct error err = {0};
        assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, "ok \xff", 4, "", 0, 8, ids, &n, &err), -EILSEQ);
        assert_non_null(strstr(err.text, "at byte 3"));
        assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, "a", 1, "\xed\xa0\x80", 3, 8, ids, &n, &err), -EILSEQ);
        assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, "a", 1, "b", 1, 2, ids, &n, &err), -EINVAL);
        assert_int_equal(n, 77);
}

static void a_megabyte_without_a_space_takes_no_longer_than_with(void **state) {
        (void)state;
        size_t len = 1 << 20;
        static const char *const units[] = {"a", "\xf0\x9d\x85\xad\xf0\x9d\x85\xa5" /* marks that sort */, "[SEP", "\xcc\x81"};
        _cleanup_free_ char *text = malloc(len);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
                size_t size = strlen(units[u]), used = len / size * size;
                for (size_t i = 0; i < used; i += size)
                        memcpy(text + i, units[u], size);
                int32_t ids[16];
                size_t n;
                clock_t start = clock();
                assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_SLOW, text, used, "b", 1, 16, ids, &n, NULL), 0);
                assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 2);
        }
}

static void refuse_vocabulary(const char *text, size_t len, const char *expected) {
        char other[128];
        snprintf(other, sizeof other, "%s/bad.txt", folder);
        assert_int_equal(fs_write_atomic(other, text, len, 0644, NULL), 0);
        struct tokenizer *opened = NULL;
        struct error err = {0};
        int r = tokenizer_open(other, &opened, &err);
        if (r != -EINVAL || opened || !strstr(err.text, expected) || !strstr(err.text, other))
                fail_msg("expected '%s', got %d '%s'", expected, r, err.text);
}

#define REFUSE_VOCABULARY(text, expected) refuse_vocabulary(text, sizeof(text) - 1, expected)

static void errors_of_the_vocabulary_are_named(void **state) {
        (void)state;
        REFUSE_VOCABULARY("", "empty");
        REFUSE_VOCABULARY("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "token [MASK] is missing");
        REFUSE_VOCABULARY("[PAD]\n[CLS]\n[SEP]\n[MASK]\n", "token [UNK] is missing");
        REFUSE_VOCABULARY(SPECIALS "a\nb\na\n", "bad.txt:8: token 'a' is there already, on line 6");
        REFUSE_VOCABULARY(SPECIALS "a\n\xc3(\n", "bad.txt:7: not valid UTF-8");
        struct tokenizer *opened = NULL;
        struct error err = {0};
        assert_int_equal(tokenizer_open("/nonexistent/vocab.txt", &opened, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/vocab.txt"));
}

static void line_ends_of_either_kind_give_the_same_vocabulary(void **state) {
        (void)state;
        const char *text = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nx";
        char other[128];
        snprintf(other, sizeof other, "%s/crlf.txt", folder);
        assert_int_equal(fs_write_atomic(other, text, strlen(text), 0644, NULL), 0);
        struct tokenizer *opened = NULL;
        assert_int_equal(tokenizer_open(other, &opened, NULL), 0);
        assert_int_equal(tokenizer_vocab_size(opened), 6);
        int32_t ids[8];
        size_t n;
        assert_int_equal(tokenizer_encode_pair(opened, TRUNCATION_HF_FAST, "x", 1, "y", 1, 8, ids, &n, NULL), 0);
        assert_int_equal(ids[1], 5);
        tokenizer_free(opened);
}

static void the_names_of_the_rules_parse(void **state) {
        (void)state;
        enum truncation mode = TRUNCATION_HF_FAST;
        assert_int_equal(truncation_parse("hf_slow", &mode), 0);
        assert_int_equal(mode, TRUNCATION_HF_SLOW);
        assert_int_equal(truncation_parse("hf_fast", &mode), 0);
        assert_int_equal(mode, TRUNCATION_HF_FAST);
        assert_int_equal(truncation_parse("fast", &mode), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(words_split_lowercase_and_lose_accents),
                cmocka_unit_test(the_longest_piece_wins_and_any_unknown_rest_spoils_the_word),
                cmocka_unit_test(special_tokens_are_found_anywhere_in_exact_case),
                cmocka_unit_test(a_word_of_a_hundred_is_read_and_one_more_is_unknown),
                cmocka_unit_test(nul_is_text_and_vanishes),
                cmocka_unit_test(an_empty_second_sentence_is_none_to_the_fast_rules_only),
                cmocka_unit_test(slow_truncation_equals_dropping_one_id_after_the_other),
                cmocka_unit_test(the_odd_id_goes_to_the_first_or_to_the_longer_sentence),
                cmocka_unit_test(marks_that_stay_are_put_in_canonical_order),
                cmocka_unit_test(malformed_text_and_lengths_are_refused),
                cmocka_unit_test(a_megabyte_without_a_space_takes_no_longer_than_with),
                cmocka_unit_test(errors_of_the_vocabulary_are_named),
                cmocka_unit_test(line_ends_of_either_kind_give_the_same_vocabulary),
                cmocka_unit_test(the_names_of_the_rules_parse),
        };
        return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
