/* The token file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/tokens.h"

/* Loads a token file with this content and mode; the result of tokens_load. */
static int load(const char *content, mode_t mode, struct tokens **ret, struct error *err) {
        char path[] = "/tmp/tokens-test-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
        fchmod(fd, mode);
        close(fd);
        int r = tokens_load(path, ret, err);
        unlink(path);
        return r;
}

static void tokens_have_the_role_of_their_line(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        assert_int_equal(load("# people\nadmin  alice\tsecret-a\r\n\nworker w1 secret-w\nviewer v secret-v", 0600, &tokens, &err), 0);
        const char *name = NULL;
        assert_int_equal(tokens_find(tokens, "secret-a", &name), ROLE_ADMIN);
        assert_string_equal(name, "alice");
        assert_int_equal(tokens_find(tokens, "secret-w", &name), ROLE_WORKER);
        assert_int_equal(tokens_find(tokens, "secret-v", &name), ROLE_VIEWER);
        assert_int_equal(tokens_find(tokens, "secret", &name), ROLE_NONE);
        assert_int_equal(tokens_find(tokens, "", &name), ROLE_NONE);
        tokens_free(tokens);
}

static void files_that_others_may_read_are_refused(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        assert_int_equal(load("admin a s\n", 0640, &tokens, &err), -EPERM);
        assert_int_equal(load("admin a s\n", 0604, &tokens, &err), -EPERM);
        assert_int_equal(load("admin a s\n", 0400, &tokens, &err), 0);
        tokens_free(tokens);
}

static void wrong_lines_are_named_without_their_secret(void **state) {
        (void)state;
        static const char *const contents[] = {"admin a s\nroot r hunter2\n", "admin a s\nadmin hunter2\n", "admin a s\nadmin b hunter2 x\n",
                                               "admin b hunter2\nworker b other\n", "admin a hunter2\nworker b hunter2\n"};
        for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
                struct tokens *tokens = NULL;
                struct error err;
                assert_int_equal(load(contents[i], 0600, &tokens, &err), -EINVAL);
                assert_non_null(strstr(err.text, ":2: "));
                assert_null(strstr(err.text, "hunter2"));
        }
}

static void an_empty_file_is_refused(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        assert_int_equal(load("# nobody\n", 0600, &tokens, &err), -EINVAL);
        assert_int_equal(tokens_load("/nonexistent/tokens", &tokens, &err), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tokens_have_the_role_of_their_line),
                cmocka_unit_test(files_that_others_may_read_are_refused),
                cmocka_unit_test(wrong_lines_are_named_without_their_secret),
                cmocka_unit_test(an_empty_file_is_refused),
        };
        return cmocka_run_group_tests_name("http/tokens", tests, NULL, NULL);
}
