#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "common/rfc3339.h"
#include "common/rng.h"
#include "common/world.h"

static void reals_are_written_as_the_shortest_decimal_that_reads_back(void **state) {
        (void)state;
        static const struct {
                double value;
                const char *text;
        } cases[] = {{0.85, "0.85"}, {1, "1.0"}, {1e-5, "1e-5"}, {0.1 + 0.2, "0.30000000000000004"}, {-2.5e300, "-2.5e300"}, {0, "0.0"}, {5e-324, "5e-324"}, {1.0 / 3, "0.3333333333333333"}, {1e14, "100000000000000.0"}, {1e15, "1e15"}, {1e16, "1e16"}, {1e100, "1e100"}, {-1.7976931348623157e308, "-1.7976931348623157e308"},
                     {2.2250738585072014e-308, "2.2250738585072014e-308"}, {-0.0, "-0.0"}};
        char text[32];
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_format_real(cases[i].value, text);
                assert_string_equal(text, cases[i].text);
        }
        struct rng rng;
        rng_init(&rng, 1, 2);
        for (int i = 0; i < 20000; i++) {
                union {
                        uint64_t bits;
                        double value;
                } any = {.bits = rng_u64(&rng)};
                if (!isfinite(any.value))
                        continue;
                json_format_real(any.value, text);
                assert_true(strtod(text, NULL) == any.value);
        }
}

static void json_refuses_duplicates_trailing_bytes_and_huge_numbers(void **state) {
        (void)state;
        static const char *const bad[] = {"{\"a\":1,\"a\":2}", "{} x", "1e999", "{\"a\":NaN}", "", "\"\xff\"", "[1,]"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                json_t *value = NULL;
                struct error err;
                assert_int_equal(json_read(bad[i], strlen(bad[i]), &value, &err), -EINVAL);
                assert_non_null(strstr(err.text, "not valid JSON"));
        }
}

static unsigned n_allocations, failing_allocation;

static void *failing_malloc(size_t size) {
        if (++n_allocations != failing_allocation)
                return malloc(size);
        errno = ENOMEM;
        return NULL;
}

static void json_without_memory_is_neither_malformed_nor_another_number(void **state) {
        (void)state;
        static const char text[] = "{\"a\":[1,2.5,\"x\\u00e9\"],\"b\":{\"c\":true}}";
        json_set_alloc_funcs(failing_malloc, free);
        int r = -1;
        for (failing_allocation = 1; r < 0; failing_allocation++) {
                json_t *value = NULL;
                struct error err;
                n_allocations = 0;
                r = json_read(text, strlen(text), &value, &err);
                assert_true(r == 0 || r == -ENOMEM);
                json_decref(value);
        }
        assert_true(failing_allocation > 10);
        char number[32];
        for (failing_allocation = 1; failing_allocation < 4; failing_allocation++) {
                n_allocations = 0;
                json_format_real(0.85, number);
                assert_string_equal(number, "0.85");
        }
        json_set_alloc_funcs(malloc, free);
}

static void json_text_keeps_order_and_canonical_sorts(void **state) {
        (void)state;
        static const char text[] = "{\"b\":[1,2.5,null,true],\"a\":\"x\\u0000\\n\\u00e9\"}";
        json_t *value;
        assert_int_equal(json_read(text, strlen(text), &value, NULL), 0);
        _cleanup_free_ char *plain = json_text(value), *canonical = json_canonical(value);
        assert_string_equal(plain, "{\"b\":[1,2.5,null,true],\"a\":\"x\\u0000\\n\xc3\xa9\"}");
        assert_string_equal(canonical, "{\"a\":\"x\\u0000\\n\xc3\xa9\",\"b\":[1,2.5,null,true]}");
        json_decref(value);
}

static void json_is_the_same_however_its_numbers_are_written(void **state) {
        (void)state;
        static const struct {
                const char *a, *b;
                bool same;
        } cases[] = {{"1", "1.0", true},       {"{\"a\":[1,{\"b\":2.0}],\"c\":\"x\"}", "{\"c\":\"x\",\"a\":[1.0,{\"b\":2}]}", true},
                     {"1", "\"1\"", false},   {"1", "true", false}, {"[1,2]", "[1]", false}, {"{\"a\":1}", "{\"b\":1}", false},
                     {"1", "1.5", false},      {"null", "null", true}};
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                _cleanup_json_ json_t *a = NULL, *b = NULL;
                assert_int_equal(json_read(cases[i].a, strlen(cases[i].a), &a, NULL), 0);
                assert_int_equal(json_read(cases[i].b, strlen(cases[i].b), &b, NULL), 0);
                assert_int_equal(json_same(a, b), cases[i].same);
                assert_int_equal(json_same(b, a), cases[i].same);
                assert_false(json_same(a, NULL));
        }
        assert_false(json_same(NULL, NULL));
}

static void dotted_paths_make_and_find_nested_objects(void **state) {
        (void)state;
        _cleanup_json_ json_t *object = json_object();
        assert_int_equal(json_set_dotted(object, "opt.sgd.lr", json_real(0.5)), 0);
        assert_int_equal(json_set_dotted(object, "opt.name", json_string("x")), 0);
        assert_true(json_real_value(json_get_dotted(object, "opt.sgd.lr")) == 0.5);
        assert_null(json_get_dotted(object, "opt.sgd.momentum"));
        assert_int_equal(json_set_dotted(object, "opt.name.deeper", json_true()), -EINVAL);
}

static void buffers_keep_their_cap_and_content_when_full(void **state) {
        (void)state;
        _cleanup_buf_ struct buf buf = BUF_INIT(8);
        assert_int_equal(buf_puts(&buf, "12345678"), 0);
        assert_int_equal(buf_puts(&buf, "9"), -EFBIG);
        assert_string_equal(buf.data, "12345678");
        buf_consume(&buf, 3);
        assert_string_equal(buf.data, "45678");
}

static void times_survive_a_round_trip_and_nonsense_is_refused(void **state) {
        (void)state;
        char text[RFC3339_SIZE];
        uint64_t ms;
        rfc3339_format(1700000000123, text);
        assert_string_equal(text, "2023-11-14T22:13:20.123Z");
        assert_int_equal(rfc3339_parse(text, &ms), 0);
        assert_int_equal(ms, 1700000000123);
        assert_int_equal(rfc3339_parse("2023-11-15T00:13:20.1234567+02:00", &ms), 0);
        assert_int_equal(ms, 1700000000123);
        static const char *const bad[] = {"", "2023-02-30T00:00:00Z", "2023-11-14 22:13", "2023-11-14T22:13:20", "2023-13-01T00:00:00Z", "x"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(rfc3339_parse(bad[i], &ms), -EINVAL);
}

static const struct config_option options[] = {
        {.name = "config", .type = CONFIG_TEXT, .argument = "FILE", .help = "", .command_line_only = true},
        {.name = "listen", .type = CONFIG_TEXT, .argument = "A", .fallback = "x:1", .help = ""},
        {.name = "slots", .type = CONFIG_INTEGER, .argument = "N", .fallback = "2", .low = 1, .high = 9, .help = ""},
        {.name = "no-auth", .type = CONFIG_FLAG, .help = ""},
        {.name = "allow", .type = CONFIG_LIST, .argument = "N", .help = ""},
        {0},
};
static const struct config_program program = {"thing", "", "", "THING_TEST_", options, 0};

static void command_line_wins_over_environment_over_file(void **state) {
        (void)state;
        char path[] = "/tmp/sweepd-config-XXXXXX";
        int fd = mkstemp(path);
        static const char text[] = "# c\nlisten = file:1\nslots = 3\nallow = a\nallow = b\nno-auth = true\n";
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
        setenv("THING_TEST_LISTEN", "env:1", 1);
        char *argv[] = {"thing", "--config", path, "--slots=4", NULL};
        struct config *config;
        struct error err;
        assert_int_equal(config_parse(&program, 4, argv, &config, &err), 0);
        assert_string_equal(config_text(config, "listen"), "env:1");
        assert_int_equal(config_integer(config, "slots"), 4);
        assert_true(config_flag(config, "no-auth"));
        size_t n;
        const char *const *list = config_list(config, "allow", &n);
        assert_int_equal(n, 2);
        assert_string_equal(list[1], "b");
        config_free(config);
        unsetenv("THING_TEST_LISTEN");
        unlink(path);
}

static void unknown_options_and_bad_values_are_errors_that_name_them(void **state) {
        (void)state;
        static char *const lines[][2] = {{"--banana", "banana"}, {"--slots=99", "slots"}, {"--slots=2x", "slots"}, {"extra", "extra"}, {"--no-auth=maybe", "no-auth"}, {"--listen", "listen"}};
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                char *argv[] = {"thing", lines[i][0], NULL};
                struct config *config;
                struct error err;
                assert_true(config_parse(&program, 2, argv, &config, &err) < 0);
                assert_non_null(strstr(err.text, lines[i][1]));
        }
}

static void log_lines_cannot_be_forged(void **state) {
        (void)state;
        int pipe_fds[2], kept = dup(STDERR_FILENO);
        assert_int_equal(pipe(pipe_fds), 0);
        dup2(pipe_fds[1], STDERR_FILENO);
        log_info("hello world", log_s("name", "a\nlevel=error msg=\"x\""), log_i("n", -3), log_s("id", "t_1"));
        dup2(kept, STDERR_FILENO);
        close(kept);
        char line[1024] = {0};
        assert_true(read(pipe_fds[0], line, sizeof line - 1) > 0);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        assert_true(strchr(line, '\n') == line + strlen(line) - 1);
        assert_non_null(strstr(line, "level=info msg=\"hello world\" name=\"a\\nlevel=error msg=\\\"x\\\"\" n=-3 id=t_1\n"));
}

static void atomic_writes_replace_whole_files(void **state) {
        (void)state;
        char folder[] = "/tmp/sweepd-fs-XXXXXX";
        assert_non_null(mkdtemp(folder));
        struct error err;
        _cleanup_free_ char *deep = fs_join(folder, "a/b"), *file = fs_join(deep, "f");
        assert_int_equal(fs_make_dirs(deep, 0755, &err), 0);
        assert_int_equal(fs_write_atomic(file, "one", 3, 0600, &err), 0);
        assert_int_equal(fs_write_atomic(file, "second", 6, 0600, &err), 0);
        _cleanup_buf_ struct buf buf = BUF_INIT(5);
        assert_int_equal(fs_read(file, &buf, &err), -EFBIG);
        struct buf all = BUF_INIT(100);
        assert_int_equal(fs_read(file, &all, &err), 0);
        assert_string_equal(all.data, "second");
        buf_fini(&all);
        assert_true(fs_write_atomic("/nonexistent/x", "a", 1, 0600, &err) < 0);
        assert_non_null(strstr(err.text, "/nonexistent/x"));
        assert_int_equal(fs_remove_tree(folder, &err), 0);
        assert_int_equal(access(folder, F_OK), -1);
        assert_int_equal(fs_remove_tree(folder, &err), 0);
}

static void digests_equal_the_published_vector(void **state) {
        (void)state;
        char hex[DIGEST_HEX_SIZE];
        digest_bytes("abc", 3, hex);
        assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4 */
}

static void random_numbers_repeat_by_seed_and_fill_the_range(void **state) {
        (void)state;
        struct rng a, b, c;
        rng_init(&a, 5, 1);
        rng_init(&b, 5, 1);
        rng_init(&c, 5, 2);
        double sum = 0, squares = 0;
        bool differs = false;
        for (int i = 0; i < 20000; i++) {
                double x = rng_normal(&a);
                assert_true(x == rng_normal(&b));
                differs |= x != rng_normal(&c);
                sum += x;
                squares += x * x;
        }
        assert_true(differs && fabs(sum / 20000) < 0.03 && fabs(squares / 20000 - 1) < 0.04);
        unsigned seen = 0;
        for (int i = 0; i < 1000; i++) {
                uint64_t k = rng_below(&a, 7);
                assert_true(k < 7);
                seen |= 1u << k;
        }
        assert_int_equal(seen, 127);
}

static void ids_are_url_safe_and_differ(void **state) {
        (void)state;
        char a[40], b[40];
        world_make_id(world_real(), "t_", 20, a);
        world_make_id(world_real(), "t_", 20, b);
        assert_int_equal(strlen(a), 22);
        assert_int_equal(strspn(a + 2, "0123456789abcdefghjkmnpqrstvwxyz"), 20);
        assert_string_not_equal(a, b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reals_are_written_as_the_shortest_decimal_that_reads_back),
                cmocka_unit_test(json_refuses_duplicates_trailing_bytes_and_huge_numbers),
                cmocka_unit_test(json_without_memory_is_neither_malformed_nor_another_number),
                cmocka_unit_test(json_text_keeps_order_and_canonical_sorts),
                cmocka_unit_test(json_is_the_same_however_its_numbers_are_written),
                cmocka_unit_test(dotted_paths_make_and_find_nested_objects),
                cmocka_unit_test(buffers_keep_their_cap_and_content_when_full),
                cmocka_unit_test(times_survive_a_round_trip_and_nonsense_is_refused),
                cmocka_unit_test(command_line_wins_over_environment_over_file),
                cmocka_unit_test(unknown_options_and_bad_values_are_errors_that_name_them),
                cmocka_unit_test(log_lines_cannot_be_forged),
                cmocka_unit_test(atomic_writes_replace_whole_files),
                cmocka_unit_test(digests_equal_the_published_vector),
                cmocka_unit_test(random_numbers_repeat_by_seed_and_fill_the_range),
                cmocka_unit_test(ids_are_url_safe_and_differ),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
