/* The server over real sockets, with a stand-in for the api. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/world.h"
#include "fake_api.h"
#include "http/core.h"
#include "http/exporter.h"
#include "http/feed.h"
#include "http/http.h"
#include "http/tokens.h"

#define BODY_MAX 4096
#define FEED_BYTES (1u << 20)

struct server {
        struct feed *feed;
        struct exporter *exporter;
        struct core *core;
        struct http *http;
        bool drained;
};

static int set_up(void **state) {
        struct server *server = calloc(1, sizeof *server);
        struct error err;
        memset(&fake, 0, sizeof fake);
        if (feed_new(&(struct feed_config){.max_bytes = FEED_BYTES, .max_readers = 8, .keepalive_ms = 300}, &server->feed, &err) < 0)
                return -1;
        if (exporter_new(NULL, &server->exporter, &err) < 0)
                return -1;
        struct core_config core_config = {.lease_s = 60, .max_parked = 10, .max_calls = 4, .feed = server->feed};
        if (core_new(&core_config, NULL, world_real(), &server->core, &err) < 0)
                return -1;
        struct http_config config = {.listen = "127.0.0.1:0", .no_auth = true, .max_body_bytes = BODY_MAX, .max_connections = 64,
                                     .core = server->core, .feed = server->feed, .exporter = server->exporter};
        if (http_open(&config, &server->http, &err) < 0) {
                print_error("%s\n", err.text);
                return -1;
        }
        *state = server;
        return 0;
}

static void shut_down(struct server *server) {
        if (server->drained)
                return;
        server->drained = true;
        http_drain(server->http);
        assert_int_equal(core_free(server->core, 1000), 0);
}

static int tear_down(void **state) {
        struct server *server = *state;
        shut_down(server);
        http_wait_idle(server->http, 1000);
        http_close(server->http);
        exporter_free(server->exporter);
        feed_free(server->feed);
        free(server);
        return 0;
}

static int dial(const struct server *server) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)atoi(strrchr(http_url(server->http), ':') + 1))};
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        return fd;
}

static void send_all(int fd, const char *data, size_t len) {
        while (len > 0) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
                if (n <= 0)
                        return; /* the server may close on us; what it said is read then */
                data += n;
                len -= (size_t)n;
        }
}

/* Reads until the answer holds `until` or the server closes; five seconds at most. */
static void receive(int fd, const char *until, struct buf *ret) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        while ((!until || !ret->data || !strstr(ret->data, until)) && poll(&poller, 1, 5000) == 1) {
                char piece[4096];
                ssize_t n = recv(fd, piece, sizeof piece, 0);
                if (n <= 0)
                        break;
                buf_append(ret, piece, (size_t)n);
        }
}

/* One request on its own connection; the whole answer. */
static char *ask(const struct server *server, const char *head, const char *body) {
        _cleanup_fd_ int fd = dial(server);
        _cleanup_free_ char *request = NULL;
        assert_true(asprintf(&request, "%s\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body) > 0);
        send_all(fd, request, strlen(request));
        struct buf answer = BUF_INIT(1 << 20);
        receive(fd, NULL, &answer);
        return answer.data;
}

static void assert_answer(const struct server *server, const char *head, const char *body, const char *const *words) {
        _cleanup_free_ char *answer = ask(server, head, body);
        for (size_t i = 0; words[i]; i++)
                if (!answer || !strstr(answer, words[i]))
                        fail_msg("no '%s' in the answer to %s: %s", words[i], head, answer ? answer : "nothing");
}
#define expect(state, head, body, ...) assert_answer(*(state), head, body, (const char *const[]){__VA_ARGS__, NULL})

#define JSON_POST "POST /v1/sweeps HTTP/1.1\r\nContent-Type: application/json"

static void a_request_reaches_the_api_and_its_answer_returns(void **state) {
        expect(state, JSON_POST "; charset=utf-8\r\nIdempotency-Key: k1", "{\"a\":0.85}", "HTTP/1.1 201", "Content-Type: application/json\r\n",
               "\"body\":{\"a\":0.85}", "\"key\":\"k1\"", "\"sha256\":\"");
        expect(state, "GET /v1/sweeps?limit=5&after=a%20b+c HTTP/1.1", "", "HTTP/1.1 200", "\"limit\":\"5\"", "\"after\":\"a b c\"");
        expect(state, "POST /v1/trials/t-1/cancel HTTP/1.1", "", "HTTP/1.1 200", "\"id\":\"t-1\"");
        expect(state, "GET /v1/sweeps/finished HTTP/1.1", "", "HTTP/1.1 204", "Sweep-State: finished");
        expect(state, "GET /v1/sweeps/none HTTP/1.1", "", "HTTP/1.1 404", "application/problem+json");
}

static void exports_stream_in_chunks_and_end_with_the_last_one(void **state) {
        expect(state, "GET /v1/sweeps/300/export HTTP/1.1", "", "HTTP/1.1 200", "Content-Type: text/csv", "Transfer-Encoding: chunked", "line 1 ",
               "line 300 ", "\r\n0\r\n\r\n");
        assert_int_equal(fake.n_export_reads, 300);
        assert_int_equal(fake.n_exports_freed, 1);
        expect(state, "HEAD /v1/sweeps/300/export HTTP/1.1", "", "HTTP/1.1 200", "Content-Type: text/csv");
        assert_int_equal(fake.n_exports_freed, 2);
}

/* No last chunk, and the connection ends: what is missing is not taken for the end. */
static void an_export_that_fails_is_cut_off(void **state) {
        _cleanup_free_ char *answer = ask(*state, "GET /v1/sweeps/-20/export HTTP/1.1", "");
        assert_non_null(strstr(answer, "HTTP/1.1 200"));
        assert_null(strstr(answer, "\r\n0\r\n"));
}

static void an_export_that_nobody_reads_takes_no_memory(void **state) {
        const struct server *server = *state;
        _cleanup_fd_ int fd = dial(server);
        static const char head[] = "GET /v1/sweeps/1000000/export HTTP/1.1\r\nHost: localhost\r\n\r\n";
        send_all(fd, head, strlen(head));
        for (size_t before = 0, same = 0; same < 10; before = fake.n_export_reads) { /* sockets hold some megabytes */
                nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
                same = before > 0 && fake.n_export_reads == before ? same + 1 : 0;
        }
        assert_true(fake.n_export_reads < 20000);
        expect(state, "GET /v1/sweeps?limit=5 HTTP/1.1", "", "HTTP/1.1 200");
        assert_int_equal(exporter_count(server->exporter), 1);
        shutdown(fd, SHUT_RDWR);
}

static void a_shutdown_cuts_exports_off(void **state) {
        struct server *server = *state;
        _cleanup_fd_ int fd = dial(server);
        static const char head[] = "GET /v1/sweeps/1000000/export HTTP/1.1\r\nHost: localhost\r\n\r\n";
        send_all(fd, head, strlen(head));
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "line 5 ", &answer);
        shut_down(server);
        char piece[4096];
        while (recv(fd, piece, sizeof piece, 0) > 0)
                ;
        assert_true(http_wait_idle(server->http, 1000));
}

static void bad_bodies_are_refused(void **state) {
        expect(state, JSON_POST, "{\"a\":", "HTTP/1.1 400", "application/problem+json", "not valid JSON");
        expect(state, JSON_POST, "{\"a\":1,\"a\":2}", "HTTP/1.1 400", "duplicate");
        expect(state, JSON_POST, "{\"a\":NaN}", "HTTP/1.1 400");
        expect(state, JSON_POST, "{\"a\":1e999}", "HTTP/1.1 400");
        expect(state, JSON_POST, "{\"a\":\"\xff\"}", "HTTP/1.1 400");
        expect(state, JSON_POST, "{} {}", "HTTP/1.1 400");
        expect(state, "POST /v1/sweeps HTTP/1.1\r\nContent-Type: text/plain", "{}", "HTTP/1.1 415");
        expect(state, "POST /v1/sweeps HTTP/1.1\r\nContent-Type: application/jsonl", "{}", "HTTP/1.1 415");
        expect(state, JSON_POST "; charset=latin1", "{}", "HTTP/1.1 415");
        expect(state, JSON_POST "\r\nContent-Encoding: gzip", "{}", "HTTP/1.1 415");
        expect(state, "POST /v1/sweeps HTTP/1.1", "{}", "HTTP/1.1 415");
        assert_int_equal(fake.n_calls, 0);
}

static void wrong_places_are_named(void **state) {
        expect(state, "GET /v2 HTTP/1.1", "", "HTTP/1.1 404", "application/problem+json");
        expect(state, "GET /v1/sweeps%00/x HTTP/1.1", "", "HTTP/1.1 404");
        expect(state, "PUT /v1/sweeps HTTP/1.1", "{}", "HTTP/1.1 405", "Allow: POST, GET, HEAD", "application/problem+json");
        expect(state, "GET /v1/sweeps?limit=1&limit=2 HTTP/1.1", "", "HTTP/1.1 422", "/limit");
        expect(state, "GET /v1/sweeps?limit=%FF HTTP/1.1", "", "HTTP/1.1 400");
        expect(state, JSON_POST "\r\nIdempotency-Key: ", "{}", "HTTP/1.1 422");
}

static void health_and_contract_are_open(void **state) {
        expect(state, "GET /healthz HTTP/1.1", "", "HTTP/1.1 200", "\"ok\"");
        expect(state, "GET /readyz HTTP/1.1", "", "HTTP/1.1 200", "\"ready\"");
        expect(state, "GET /openapi.json HTTP/1.1", "", "HTTP/1.1 200", "\"openapi\":\"3.1.0\"", "/v1/claims");
}

static void failing_commits_make_it_unready(void **state) {
        fake.unhealthy = true;
        expect(state, "GET /v1/sweeps HTTP/1.1", "", "HTTP/1.1 200");
        for (int i = 0; i < 100; i++) { /* the turn's verdict follows its answers */
                _cleanup_free_ char *answer = ask(*state, "GET /readyz HTTP/1.1", "");
                if (strstr(answer, "HTTP/1.1 503") && strstr(answer, "Retry-After: 1"))
                        return;
        }
        fail_msg("readyz never said 503");
}

static void head_has_headers_only(void **state) {
        _cleanup_free_ char *answer = ask(*state, "HEAD /v1/sweeps HTTP/1.1", "");
        assert_non_null(strstr(answer, "HTTP/1.1 200"));
        assert_non_null(strstr(answer, "Content-Length: 2"));
        assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void large_bodies_get_413_and_are_not_kept(void **state) {
        static const size_t lengths[] = {BODY_MAX + 1, 64 << 20};
        for (size_t i = 0; i < 2; i++) {
                _cleanup_free_ char *body = malloc(lengths[i] + 1);
                memset(body, ' ', lengths[i]);
                body[lengths[i]] = 0;
                expect(state, JSON_POST, body, "HTTP/1.1 413", "application/problem+json");
        }
}

static void large_chunked_bodies_get_413(void **state) {
        _cleanup_fd_ int fd = dial(*state);
        static const char head[] = JSON_POST "\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        send_all(fd, head, strlen(head));
        char chunk[1024 + 7];
        memcpy(chunk, "400\r\n", 5);
        memset(chunk + 5, ' ', 1024);
        memcpy(chunk + 1029, "\r\n", 2);
        for (int i = 0; i < 8; i++)
                send_all(fd, chunk, 1031);
        send_all(fd, "0\r\n\r\n", 5);
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "\r\n\r\n", &answer);
        assert_non_null(strstr(answer.data, "HTTP/1.1 413"));
}

static void a_client_that_expects_100_is_refused_before_it_sends(void **state) {
        _cleanup_fd_ int fd = dial(*state);
        static const char head[] = JSON_POST "\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n";
        send_all(fd, head, strlen(head));
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "\r\n\r\n", &answer);
        assert_non_null(strstr(answer.data, "HTTP/1.1 413"));
}

static void pipelined_requests_are_answered_in_order(void **state) {
        _cleanup_fd_ int fd = dial(*state);
        _cleanup_buf_ struct buf requests = BUF_INIT(1 << 20), answer = BUF_INIT(1 << 20);
        for (int i = 0; i < 50; i++)
                buf_printf(&requests, "POST /v1/trials/t%d/cancel HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        send_all(fd, requests.data, requests.len);
        receive(fd, "\"t49\"", &answer);
        const char *at = answer.data;
        for (int i = 0; i < 50; i++) {
                char id[16];
                snprintf(id, sizeof id, "\"t%d\"", i);
                at = at ? strstr(at, id) : NULL;
        }
        assert_non_null(at);
}

static void a_slow_client_holds_nobody_up(void **state) {
        _cleanup_fd_ int fd = dial(*state);
        static const char part[] = JSON_POST "\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{";
        send_all(fd, part, strlen(part));
        expect(state, "GET /v1/sweeps HTTP/1.1", "", "HTTP/1.1 200");
        send_all(fd, "}", 1);
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "\r\n\r\n", &answer);
        assert_non_null(strstr(answer.data, "HTTP/1.1 201"));
}

static void a_parked_claim_is_answered_at_its_deadline(void **state) {
        uint64_t before = world_mono_ms(world_real());
        expect(state, "POST /v1/claims HTTP/1.1\r\nContent-Type: application/json", "{\"wait_s\":0.3}", "HTTP/1.1 204");
        uint64_t took = world_mono_ms(world_real()) - before;
        assert_true(took >= 300 && took < 3000);
        assert_true(fake.n_turns <= 6); /* it slept meanwhile */
}

static void a_claim_whose_client_left_is_noticed(void **state) {
        int fd = dial(*state);
        static const char head[] = "POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                                   "13\r\n\r\n{\"wait_s\":60}";
        send_all(fd, head, strlen(head));
        while (fake.n_calls == 0)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        close(fd);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        expect(state, "GET /v1/sweeps HTTP/1.1", "", "HTTP/1.1 200"); /* a turn, which finds the client gone */
        assert_true(http_wait_idle(((struct server *)*state)->http, 2000));
}

static void a_job_is_computed_on_the_other_thread(void **state) {
        expect(state, "POST /v1/claims HTTP/1.1", "", "HTTP/1.1 200");
        assert_int_equal(fake.n_jobs_computed, 1);
        assert_int_equal(fake.n_jobs_done, 1);
}

static void more_calls_than_the_queue_holds_get_429(void **state) {
        enum { N = 24 };
        int fds[N];
        fake.slow_turns = true;
        static const char head[] = "GET /v1/sweeps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        for (int i = 0; i < N; i++) {
                fds[i] = dial(*state);
                send_all(fds[i], head, strlen(head));
        }
        int n_200 = 0, n_429 = 0;
        for (int i = 0; i < N; i++) {
                _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
                receive(fds[i], NULL, &answer);
                n_200 += answer.data && strstr(answer.data, "HTTP/1.1 200") != NULL;
                n_429 += answer.data && strstr(answer.data, "HTTP/1.1 429") && strstr(answer.data, "Retry-After: 1");
                close(fds[i]);
        }
        assert_int_equal(n_200 + n_429, N);
        assert_true(n_200 >= 4 && n_429 > 0);
}

static void a_core_thread_that_hangs_is_noticed(void **state) {
        struct server *server = *state;
        core_has_turned(server->core);
        for (int i = 0; i < 1000 && !core_has_turned(server->core); i++) /* idle: it makes the turn that was asked for */
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        fake.slow_turns = true;
        _cleanup_fd_ int fd = dial(server);
        static const char head[] = "GET /v1/sweeps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        send_all(fd, head, strlen(head));
        size_t n_calls = fake.n_calls;
        while (fake.n_calls == n_calls) /* now it is in the middle of that turn */
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        core_has_turned(server->core);
        assert_false(core_has_turned(server->core));
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, NULL, &answer);
        fake.slow_turns = false;
        bool turned = false;
        for (int i = 0; i < 1000 && !turned; i++) {
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
                turned = core_has_turned(server->core);
        }
        assert_true(turned);
}

static void a_shutdown_answers_what_is_parked(void **state) {
        struct server *server = *state;
        _cleanup_fd_ int fd = dial(server);
        static const char head[] = "POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                                   "13\r\n\r\n{\"wait_s\":60}";
        send_all(fd, head, strlen(head));
        while (fake.n_calls == 0)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        shut_down(server);
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "\r\n\r\n", &answer);
        assert_non_null(strstr(answer.data, "HTTP/1.1 503"));
        assert_non_null(strstr(answer.data, "Retry-After"));
        assert_non_null(strstr(answer.data, "Connection: close"));
        assert_true(http_wait_idle(server->http, 1000));
}

static void without_tokens_only_this_machine_is_served(void **state) {
        expect(state, "GET /v1/sweeps HTTP/1.1\r\nOrigin: http://evil.example", "", "HTTP/1.1 403");
        expect(state, "GET /v1/sweeps HTTP/1.1\r\nOrigin: null", "", "HTTP/1.1 403");
        expect(state, "GET /v1/sweeps HTTP/1.1\r\nOrigin: http://localhost", "", "HTTP/1.1 200");
}

static void a_foreign_host_name_is_refused(void **state) {
        _cleanup_fd_ int fd = dial(*state);
        static const char head[] = "GET /v1/sweeps HTTP/1.1\r\nHost: rebound.example:8484\r\n\r\n";
        send_all(fd, head, strlen(head));
        _cleanup_buf_ struct buf answer = BUF_INIT(1 << 20);
        receive(fd, "\r\n\r\n", &answer);
        assert_non_null(strstr(answer.data, "HTTP/1.1 403"));
}

static void addresses_that_nobody_guards_are_refused(void **state) {
        (void)state;
        struct error err;
        assert_int_equal(http_check(&(struct http_config){.listen = "0.0.0.0:0", .no_auth = true}, &err), -EACCES);
        assert_int_equal(http_check(&(struct http_config){.listen = "[::]:0", .no_auth = true}, &err), -EACCES);
        assert_int_equal(http_check_callers(&(struct http_config){.listen = "127.0.0.1:0"}, &err), -EACCES);
        assert_int_equal(http_check_callers(&(struct http_config){.listen = "127.0.0.1:0", .no_auth = true}, &err), 0);
        assert_int_equal(http_check(&(struct http_config){.listen = "127.0.0.1:0", .no_auth = true}, &err), 0);
        assert_int_equal(http_check(&(struct http_config){.listen = "[::1]:8484", .no_auth = true}, &err), 0);
        static const char *const wrong[] = {"", "localhost", "localhost:", ":80", "localhost:99999", "localhost:80x", "::1:80", "[::1:80"};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_int_equal(http_check(&(struct http_config){.listen = wrong[i], .no_auth = true}, &err), -EINVAL);
}

#define server_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        log_set_level(LOG_ERROR);
        const struct CMUnitTest tests[] = {
                server_test(a_request_reaches_the_api_and_its_answer_returns),
                server_test(exports_stream_in_chunks_and_end_with_the_last_one),
                server_test(an_export_that_fails_is_cut_off),
                server_test(an_export_that_nobody_reads_takes_no_memory),
                server_test(a_shutdown_cuts_exports_off),
                server_test(bad_bodies_are_refused),
                server_test(wrong_places_are_named),
                server_test(health_and_contract_are_open),
                server_test(failing_commits_make_it_unready),
                server_test(head_has_headers_only),
                server_test(large_bodies_get_413_and_are_not_kept),
                server_test(large_chunked_bodies_get_413),
                server_test(a_client_that_expects_100_is_refused_before_it_sends),
                server_test(pipelined_requests_are_answered_in_order),
                server_test(a_slow_client_holds_nobody_up),
                server_test(a_parked_claim_is_answered_at_its_deadline),
                server_test(a_claim_whose_client_left_is_noticed),
                server_test(a_job_is_computed_on_the_other_thread),
                server_test(more_calls_than_the_queue_holds_get_429),
                server_test(a_core_thread_that_hangs_is_noticed),
                server_test(a_shutdown_answers_what_is_parked),
                server_test(without_tokens_only_this_machine_is_served),
                server_test(a_foreign_host_name_is_refused),
                cmocka_unit_test(addresses_that_nobody_guards_are_refused),
        };
        return cmocka_run_group_tests_name("http/http", tests, NULL, NULL);
}
