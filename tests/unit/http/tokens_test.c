/* Tokens: the file, those kept elsewhere, and what wrong ones cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "http/failures.h"
#include "http/tokens.h"

/* Loads a token file with this content and mode; the result of tokens_new. */
static int load(const char *content, mode_t mode, struct tokens **ret, struct error *err) {
        char path[] = "/tmp/tokens-test-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
        fchmod(fd, mode);
        close(fd);
        int r = tokens_new(path, ret, err);
        unlink(path);
        return r;
}

/* Who the token belongs to; ROLE_NONE when nobody. */
static struct token_holder find(struct tokens *tokens, const char *text, uint64_t now_ms) {
        struct token_holder holder = {0};
        int r = tokens_find(tokens, text, now_ms, &holder);
        assert_int_equal(r, holder.role == ROLE_NONE ? TOKENS_UNKNOWN : TOKENS_KNOWN);
        return holder;
}

static void tokens_have_the_role_of_their_line(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        assert_int_equal(load("# people\nadmin  alice\tsecret-a\r\n\nworker w1 secret-w\nviewer v secret-v", 0600, &tokens, &err), 0);
        struct token_holder holder = find(tokens, "secret-a", 0);
        assert_int_equal(holder.role, ROLE_ADMIN);
        assert_string_equal(holder.name, "alice");
        assert_false(holder.is_drawn);
        assert_int_equal(find(tokens, "secret-w", 0).role, ROLE_WORKER);
        assert_int_equal(find(tokens, "secret-v", 0).role, ROLE_VIEWER);
        assert_int_equal(find(tokens, "secret", 0).role, ROLE_NONE);
        assert_int_equal(find(tokens, "", 0).role, ROLE_NONE);
        assert_int_equal(tokens_count(tokens, 0), 3);
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
        assert_int_equal(tokens_new("/nonexistent/tokens", &tokens, &err), -ENOENT);
}

/* --- tokens kept elsewhere --------------------------------------------------------------------------- */

struct fake_source {
        int64_t n_changes;
        int fault, n_reads;
        struct token_info items[4];
        size_t n;
        char hashes[4][DIGEST_HEX_SIZE];
};

static int fake_changes(void *data, int64_t *ret) {
        struct fake_source *source = data;
        *ret = source->n_changes;
        return source->fault;
}

static int fake_each(void *data, int (*visit)(void *visitor, const struct token_info *info), void *visitor) {
        struct fake_source *source = data;
        source->n_reads++;
        for (size_t i = 0; i < source->n; i++)
                assert_int_equal(visit(visitor, &source->items[i]), 0);
        return 0;
}

static void fake_add(struct fake_source *source, struct token_info info, const char *secret) {
        digest_bytes(secret, strlen(secret), source->hashes[source->n]);
        info.hash = source->hashes[source->n];
        source->items[source->n++] = info;
        source->n_changes++;
}

static void tokens_of_the_source_come_and_go_at_once(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        struct fake_source fake = {0};
        assert_int_equal(tokens_new(NULL, &tokens, &err), 0);
        assert_int_equal(tokens_count(tokens, 0), 0);
        tokens_set_source(tokens, &(struct token_source){fake_changes, fake_each, &fake});
        assert_int_equal(find(tokens, "one", 0).role, ROLE_NONE);
        fake_add(&fake, (struct token_info){.name = "w", .role = "worker", .sweep = "s1"}, "one");
        struct token_holder holder = find(tokens, "one", 0);
        assert_int_equal(holder.role, ROLE_WORKER);
        assert_string_equal(holder.name, "w");
        assert_string_equal(holder.sweep, "s1");
        assert_true(holder.is_drawn);
        assert_int_equal(fake.n_reads, 2); /* it is read again when it has changed, and only then */
        fake.n = 0;
        fake.n_changes++;
        assert_int_equal(find(tokens, "one", 0).role, ROLE_NONE);
        tokens_free(tokens);
}

static void a_token_ends_at_its_time(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        struct fake_source fake = {0};
        assert_int_equal(tokens_new(NULL, &tokens, &err), 0);
        tokens_set_source(tokens, &(struct token_source){fake_changes, fake_each, &fake});
        fake_add(&fake, (struct token_info){.name = "v", .role = "viewer", .expires_ms = 1000}, "short");
        assert_int_equal(find(tokens, "short", 999).role, ROLE_VIEWER);
        assert_int_equal(tokens_count(tokens, 999), 1);
        assert_int_equal(find(tokens, "short", 1000).role, ROLE_NONE);
        assert_int_equal(tokens_count(tokens, 1000), 0);
        tokens_free(tokens);
}

static void a_source_that_cannot_be_read_opens_no_door(void **state) {
        (void)state;
        struct tokens *tokens = NULL;
        struct error err;
        struct fake_source fake = {0};
        assert_int_equal(load("admin a secret-a\n", 0600, &tokens, &err), 0);
        tokens_set_source(tokens, &(struct token_source){fake_changes, fake_each, &fake});
        fake_add(&fake, (struct token_info){.name = "odd", .role = "root"}, "odd");
        assert_int_equal(find(tokens, "odd", 0).role, ROLE_NONE);
        fake.fault = -EIO;
        struct token_holder holder = {0};
        assert_int_equal(tokens_find(tokens, "secret-b", 0, &holder), -EIO);
        assert_int_equal(holder.role, ROLE_NONE);
        assert_int_equal(find(tokens, "secret-a", 0).role, ROLE_ADMIN); /* the file's do not hang on it */
        tokens_free(tokens);
}

static void a_file_that_is_read_again_replaces_the_old_one_when_it_is_right(void **state) {
        (void)state;
        char path[] = "/tmp/tokens-test-XXXXXX";
        int fd = mkstemp(path);
        struct tokens *tokens = NULL;
        struct error err;
        assert_int_equal(write(fd, "admin a one\n", 12), 12);
        assert_int_equal(tokens_new(path, &tokens, &err), 0);
        assert_int_equal(pwrite(fd, "admin a two\n", 12, 0), 12);
        assert_int_equal(tokens_reload(tokens, &err), 0);
        assert_int_equal(find(tokens, "one", 0).role, ROLE_NONE);
        assert_int_equal(find(tokens, "two", 0).role, ROLE_ADMIN);
        assert_int_equal(pwrite(fd, "nonsense xyz", 12, 0), 12);
        assert_int_equal(tokens_reload(tokens, &err), -EINVAL);
        assert_int_equal(find(tokens, "two", 0).role, ROLE_ADMIN);
        close(fd);
        unlink(path);
        tokens_free(tokens);
}

/* --- wrong ones -------------------------------------------------------------------------------------- */

static struct sockaddr_in source_of(unsigned n) {
        return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + n)};
}

static void an_address_with_too_many_wrong_tokens_waits(void **state) {
        (void)state;
        struct failures *failures = calloc(1, sizeof *failures);
        struct sockaddr_in bad = source_of(1), good = source_of(2);
        uint64_t now = 5000000;
        for (unsigned i = 0; i < FAILURES_BURST; i++) {
                assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&bad, now), 0);
                failures_add(failures, (struct sockaddr *)&bad, now);
        }
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&bad, now), 1);
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&good, now), 0);
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&bad, now + 1000), 0); /* one try a second */
        failures_add(failures, (struct sockaddr *)&bad, now + 1000);
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&bad, now + 1000), 1);
        free(failures);
}

static void the_table_of_addresses_is_bounded_and_forgets_the_harmless_ones(void **state) {
        (void)state;
        struct failures *failures = calloc(1, sizeof *failures);
        struct sockaddr_in worst = source_of(0);
        uint64_t now = 5000000;
        for (unsigned i = 0; i < FAILURES_BURST; i++)
                failures_add(failures, (struct sockaddr *)&worst, now);
        for (unsigned n = 1; n < 10 * FAILURES_ADDRESSES; n++) {
                struct sockaddr_in other = source_of(n);
                failures_add(failures, (struct sockaddr *)&other, now);
        }
        assert_true(failures->n <= FAILURES_ADDRESSES);
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&worst, now), 1);
        free(failures);
}

static void an_ipv6_network_is_one_source(void **state) {
        (void)state;
        struct failures *failures = calloc(1, sizeof *failures);
        struct sockaddr_in6 one = {.sin6_family = AF_INET6}, mapped = {.sin6_family = AF_INET6};
        assert_int_equal(inet_pton(AF_INET6, "::ffff:10.0.0.1", &mapped.sin6_addr), 1);
        assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &one.sin6_addr), 1);
        for (unsigned i = 0; i < FAILURES_BURST; i++) {
                one.sin6_addr.s6_addr[15] = (uint8_t)i;
                failures_add(failures, (struct sockaddr *)&one, 5000000);
                failures_add(failures, (struct sockaddr *)&mapped, 5000000);
        }
        one.sin6_addr.s6_addr[8] = 77;
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&one, 5000000), 1);
        one.sin6_addr.s6_addr[7] = 77;
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&one, 5000000), 0);
        struct sockaddr_in v4 = source_of(1);
        assert_int_equal(failures_wait_s(failures, (struct sockaddr *)&v4, 5000000), 1);
        free(failures);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tokens_have_the_role_of_their_line),
                cmocka_unit_test(files_that_others_may_read_are_refused),
                cmocka_unit_test(wrong_lines_are_named_without_their_secret),
                cmocka_unit_test(an_empty_file_is_refused),
                cmocka_unit_test(tokens_of_the_source_come_and_go_at_once),
                cmocka_unit_test(a_token_ends_at_its_time),
                cmocka_unit_test(a_source_that_cannot_be_read_opens_no_door),
                cmocka_unit_test(a_file_that_is_read_again_replaces_the_old_one_when_it_is_right),
                cmocka_unit_test(an_address_with_too_many_wrong_tokens_waits),
                cmocka_unit_test(the_table_of_addresses_is_bounded_and_forgets_the_harmless_ones),
                cmocka_unit_test(an_ipv6_network_is_one_source),
        };
        return cmocka_run_group_tests_name("http/tokens", tests, NULL, NULL);
}
