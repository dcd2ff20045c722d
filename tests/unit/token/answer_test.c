#include "trainer/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"

/* Answers with the lengths of both texts; refuses a text "no". */
static json_t *lengths(void *user, const char *a, size_t a_len, const char *b, size_t b_len, struct error *err) {
        (void)user, (void)b;
        if (a_len == 2 && memcmp(a, "no", 2) == 0)
                return error_set(err, -EINVAL, "refused"), NULL;
        return json_pack("[I, I]", (json_int_t)a_len, (json_int_t)b_len);
}

static char *converse(const char *input, size_t len) {
        char in_path[] = "/tmp/answer_test.XXXXXX", out_path[] = "/tmp/answer_test.XXXXXX";
        int in = mkstemp(in_path), out = mkstemp(out_path);
        struct buf text = BUF_INIT(0);
        assert_true(in >= 0 && out >= 0);
        assert_int_equal(write(in, input, len), (ssize_t)len);
        assert_int_equal(lseek(in, 0, SEEK_SET), 0);
        assert_int_equal(answer_pairs(in, out, lengths, NULL, NULL), 0);
        assert_int_equal(fs_read(out_path, &text, NULL), 0);
        close(in);
        close(out);
        unlink(in_path);
        unlink(out_path);
        return text.data;
}

static size_t count_lines(const char *text) {
        size_t n = 0;
        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static void every_line_has_one_answer_in_order(void **state) {
        (void)state;
        const char *input = "{\"a\":\"x\",\"b\":\"\"}\n"
                            "{\"a\":\"no\",\"b\":\"\"}\n"
                            "\n"
                            "{\"a\":1,\"b\":\"\"}\n"
                            "nonsense\n"
                            "{\"a\":\"xy\"}\n"
                            "{\"a\":\"\\u0000x\\u0000\",\"b\":\"\xc3\xa9\"}";
        _cleanup_free_ char *text = converse(input, strlen(input));
        assert_int_equal(count_lines(text), 7);
        char *rest = text;
        assert_string_equal(strsep(&rest, "\n"), "[1,0]");
        assert_string_equal(strsep(&rest, "\n"), "{\"error\":\"refused\"}");
        for (int i = 0; i < 4; i++)
                assert_true(strncmp(strsep(&rest, "\n"), "{\"error\":", 9) == 0);
        assert_string_equal(strsep(&rest, "\n"), "[3,2]");
}

static void malformed_bytes_are_answered_in_valid_json(void **state) {
        (void)state;
        static const char input[] = "\xff\xfe\n{\"a\":\"\xc3\",\"b\":\"\"}\n{\"a\":\"\\ud800\",\"b\":\"\"}\n\0\n{\"a\":\"\0\",\"b\":\"\"}\n";
        _cleanup_free_ char *text = converse(input, sizeof input - 1);
        assert_int_equal(count_lines(text), 5);
        for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line;) {
                _cleanup_json_ json_t *value = json_loads(line, 0, NULL);
                assert_true(json_is_string(json_object_get(value, "error")));
        }
}

static void lines_longer_than_a_read_are_whole_and_past_the_cap_an_error(void **state) {
        (void)state;
        size_t len = 2 * (size_t)ANSWER_MAX_LINE_BYTES;
        _cleanup_free_ char *input = malloc(len + 1);
        memset(input, 'x', len);
        memcpy(input, "{\"a\":\"", 6);
        memcpy(input + 300006, "\",\"b\":\"\"}\n", 10);
        memcpy(input + len - 20, "\n{\"a\":\"\",\"b\":\"1\"}\n\n\n", 20);
        _cleanup_free_ char *text = converse(input, len);
        char *rest = text;
        assert_string_equal(strsep(&rest, "\n"), "[300000,0]");
        assert_non_null(strstr(strsep(&rest, "\n"), "longer than"));
        assert_string_equal(strsep(&rest, "\n"), "[0,1]");
        assert_int_equal(count_lines(rest), 2);
}

static void an_answer_comes_before_the_next_line_is_asked_for(void **state) {
        (void)state;
        int in[2], out[2];
        assert_int_equal(pipe(in), 0);
        assert_int_equal(pipe(out), 0);
        pid_t child = fork();
        if (child == 0) {
                close(in[1]);
                _exit(answer_pairs(in[0], out[1], lengths, NULL, NULL) == 0 ? 0 : 1);
        }
        const char *line = "{\"a\":\"x\",\"b\":\"yy\"}\n";
        char answer[16] = "";
        for (int i = 0; i < 3; i++) {
                assert_int_equal(write(in[1], line, strlen(line)), (ssize_t)strlen(line));
                assert_int_equal(read(out[0], answer, sizeof answer - 1), 6);
                assert_string_equal(answer, "[1,2]\n");
        }
        close(in[1]);
}

int main(void) {
        alarm(30);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_line_has_one_answer_in_order),
                cmocka_unit_test(malformed_bytes_are_answered_in_valid_json),
                cmocka_unit_test(lines_longer_than_a_read_are_whole_and_past_the_cap_an_error),
                cmocka_unit_test(an_answer_comes_before_the_next_line_is_asked_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
