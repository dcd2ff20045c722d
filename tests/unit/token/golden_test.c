/* Both rules against what Hugging Face's tokenizers gave: every code point, and the golden pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "token/token.h"
#include "token/words.h"

static char shared[512];

static const char *in_shared(const char *name) {
        static char path[1024];
        snprintf(path, sizeof path, "%s/%s", shared, name);
        if (access(path, F_OK) == 0)
                return path;
        print_message("skipped: %s is not there\n", path);
        skip();
        return NULL;
}

static void read_lines(const char *name, struct buf *text) {
        struct error err = {0};
        if (fs_read(in_shared(name), text, &err) < 0)
                fail_msg("%s", err.text);
}

/* --- every code point ------------------------------------------------------------------------------- */

static size_t encode_utf8(uint32_t point, char *to) {
        if (point < 0x80)
                return *to = (char)point, 1;
        size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        for (size_t i = n - 1; i > 0; i--, point >>= 6)
                to[i] = (char)(0x80 | (point & 0x3f));
        to[0] = (char)((0xf00 >> n & 0xf0) | point);
        return n;
}

/* What becomes of "a" point "b", in the notation of the golden files' maps: "61 2C 62", "61-65-62". */
static void describe(uint32_t point, enum truncation mode, char ret[static 128]) {
        char text[8] = "a";
        size_t n = 1 + encode_utf8(point, text + 1), at = 0;
        text[n++] = 'b';
        struct words words = {.text = text, .len = n, .mode = mode};
        struct word word;
        int r;
        while ((r = words_next(&words, &word)) > 0)
                for (size_t i = 0; i < word.n; i++)
                        at += (size_t)snprintf(ret + at, 128 - at, "%s%X", at == 0 ? "" : i ? "-" : " ", word.points[i]);
        assert_int_equal(r, 0);
}

static void expected_of(uint32_t point, const char *class, char ret[static 128]) {
        if (strcmp(class, "removed") == 0)
                snprintf(ret, 128, "61-62");
        else if (strcmp(class, "space") == 0)
                snprintf(ret, 128, "61 62");
        else if (strcmp(class, "keep") == 0)
                snprintf(ret, 128, "61-%X-62", point);
        else if (strcmp(class, "isolate") == 0)
                snprintf(ret, 128, "61 %X 62", point);
        else
                snprintf(ret, 128, "%s", class + 4);
}

static void check_code_points(const char *name, enum truncation mode) {
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        read_lines(name, &text);
        size_t n_checked = 0;
        for (char *rest = text.data, *line; (line = strsep(&rest, "\n"));) {
                if (*line == '#' || !*line)
                        continue;
                char *next;
                uint32_t first = (uint32_t)strtoul(line, &next, 16), last = (uint32_t)strtoul(next, &next, 16);
                for (uint32_t point = first; point <= last; point++, n_checked++) {
                        char expected[128] = "", got[128] = "";
                        expected_of(point, next + 1, expected);
                        describe(point, mode, got);
                        if (strcmp(expected, got) != 0)
                                fail_msg("U+%04X: expected %s, got %s", point, expected, got);
                }
        }
        assert_int_equal(n_checked, 0x110000 - 0x800);
}

static void every_code_point_is_as_the_slow_tokenizer_has_it(void **state) {
        (void)state;
        check_code_points("golden/tokenizer/codepoints.tsv", TRUNCATION_HF_SLOW);
}

static void every_code_point_is_as_the_fast_tokenizer_has_it(void **state) {
        (void)state;
        check_code_points("golden/tokenizer/codepoints_fast.tsv", TRUNCATION_HF_FAST);
}

/* --- pairs ------------------------------------------------------------------------------------------ */

static size_t decode_hex(char *hex) {
        size_t n = 0;
        if (strcmp(hex, "-") == 0)
                return 0;
        for (const char *c = hex; c[0] && c[1]; c += 2) {
                const char digits[3] = {c[0], c[1], 0};
                hex[n++] = (char)strtoul(digits, NULL, 16);
        }
        return n;
}

static size_t parse_ids(const char *text, int32_t *ret) {
        size_t n = 0;
        for (char *end; *text; text = end)
                ret[n++] = (int32_t)strtol(text, &end, 10);
        return n;
}

/* "file/id" → list of ids, of the rows where the fast tokenizer differs. */
static json_t *read_differing(void) {
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        json_t *rows = json_object();
        read_lines("golden/tokenizer/fast_differs.jsonl", &text);
        for (char *rest = text.data, *line; (line = strsep(&rest, "\n"));) {
                _cleanup_json_ json_t *row = NULL;
                if (!*line)
                        continue;
                assert_int_equal(json_read(line, strlen(line), &row, NULL), 0);
                char key[128];
                snprintf(key, sizeof key, "%s/%s", json_string_value(json_object_get(row, "file")),
                         json_string_value(json_object_get(row, "id")));
                json_object_set(rows, key, json_object_get(row, "input_ids_fast"));
        }
        return rows;
}

static void expect_ids(const char *what, const int32_t *ids, size_t n, const int32_t *expected, size_t n_expected) {
        if (n != n_expected || memcmp(ids, expected, n * sizeof *ids) != 0)
                fail_msg("%s: %zu ids, %zu expected, or they differ", what, n, n_expected);
}

static size_t check_pairs(const char *file, const char *vocab) {
        in_shared("golden/tokenizer"); /* a skip leaves at once: nothing may be allocated before it */
        in_shared(vocab);
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        _cleanup_json_ json_t *differing = read_differing();
        struct tokenizer *tokenizer = NULL;
        size_t n_rows = 0, n_differing = 0;
        assert_int_equal(tokenizer_open(in_shared(vocab), &tokenizer, NULL), 0);
        char name[128];
        snprintf(name, sizeof name, "golden/tokenizer/%s.hex.tsv", file);
        read_lines(name, &text);
        for (char *rest = text.data, *line; (line = strsep(&rest, "\n"));) {
                if (!*line)
                        continue;
                char *id = strsep(&line, "\t");
                strsep(&line, "\t");
                size_t max_length = strtoul(strsep(&line, "\t"), NULL, 10);
                char *a = strsep(&line, "\t"), *b = strsep(&line, "\t");
                size_t a_len = decode_hex(a), b_len = decode_hex(b), n;
                int32_t expected[512], ids[512];
                size_t n_expected = parse_ids(line, expected);
                char key[128];
                snprintf(key, sizeof key, "%s/%s", file, id);
                assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_SLOW, a, a_len, b, b_len, max_length, ids, &n, NULL), 0);
                expect_ids(key, ids, n, expected, n_expected);
                const json_t *other = json_object_get(differing, key);
                for (size_t i = 0; i < json_array_size(other); i++)
                        expected[i] = (int32_t)json_integer_value(json_array_get(other, i));
                n_expected = other ? json_array_size(other) : n_expected;
                n_differing += other != NULL;
                assert_int_equal(tokenizer_encode_pair(tokenizer, TRUNCATION_HF_FAST, a, a_len, b, b_len, max_length, ids, &n, NULL), 0);
                expect_ids(key, ids, n, expected, n_expected);
                n_rows++;
        }
        assert_true(n_differing > 0);
        tokenizer_free(tokenizer);
        return n_rows;
}

static void pairs_with_the_real_vocabulary_are_as_both_tokenizers_have_them(void **state) {
        (void)state;
        assert_int_equal(check_pairs("pairs_bert_base_uncased", "data/vocab/bert-base-uncased-vocab.txt"), 513);
}

static void pairs_with_a_small_vocabulary_are_as_both_tokenizers_have_them(void **state) {
        (void)state;
        assert_int_equal(check_pairs("pairs_small_vocab", "golden/tokenizer/small_vocab.txt"), 257);
}

int main(void) {
        const char *given = getenv("SWEEPD_SHARED"), *root = getenv("SWEEPD_SOURCE_ROOT");
        snprintf(shared, sizeof shared, "%s%s", given ? given : root ? root : ".", given ? "" : "/../shared");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_code_point_is_as_the_slow_tokenizer_has_it),
                cmocka_unit_test(every_code_point_is_as_the_fast_tokenizer_has_it),
                cmocka_unit_test(pairs_with_the_real_vocabulary_are_as_both_tokenizers_have_them),
                cmocka_unit_test(pairs_with_a_small_vocabulary_are_as_both_tokenizers_have_them),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
