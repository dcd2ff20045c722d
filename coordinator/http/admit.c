/* May this request come in? Route, caller and headers are judged before a byte of the body is kept.
 *
 * Without authentication (--no-auth) every process of this machine is trusted, but not every web page that its browser
 * shows: a request that a page of another origin made, or that came through a name which is not this machine's, is
 * refused. That closes cross-site requests and DNS rebinding. */
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/world.h"
#include "http/clock.h"
#include "http/server.h"
#include "proto/limits.h"

static const char *header(const struct exchange *exchange, const char *name) {
        return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

/* --- caller ------------------------------------------------------------------------------------------ */

static const char *bearer_token(const char *authorization) {
        if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
                return NULL;
        authorization += 7;
        return authorization + strspn(authorization, " ");
}

/* "localhost:8484", "127.0.0.1", "[::1]:8484" */
static bool names_this_machine(const char *host) {
        static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                size_t len = strlen(names[i]);
                if (strncasecmp(host, names[i], len) == 0 && (!host[len] || host[len] == ':'))
                        return true;
        }
        return strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.:")] == 0;
}

static bool comes_from_elsewhere(const struct exchange *exchange) {
        const char *host = header(exchange, "Host"), *origin = header(exchange, "Origin");
        if (host && !names_this_machine(host))
                return true;
        const char *authority = origin ? strstr(origin, "://") : NULL;
        return origin && (!authority || !names_this_machine(authority + 3) || !host || strcasecmp(authority + 3, host) != 0);
}

static const char *address_text(const struct sockaddr *address, char ret[static 64]) {
        socklen_t len = address && address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        if (!address || getnameinfo(address, len, ret, 64, NULL, 0, NI_NUMERICHOST) != 0)
                snprintf(ret, 64, "unknown");
        return ret;
}

static const struct sockaddr *source_address(const struct exchange *exchange) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        return info ? info->client_addr : NULL;
}

static bool refuse_without_token(struct exchange *exchange) {
        answer_problem(&exchange->answer, 401, "a valid token is needed: Authorization: Bearer …");
        exchange->answer.challenge = true;
        return false;
}

/* Fills holder from the token, or refuses. An address that has given too many wrong ones is not listened to for a while,
 * unless it comes with a token that we drew: that one was not guessed, and its owner may share the address with others. */
static bool admit_token(struct exchange *exchange, const char *token) {
        struct http *http = exchange->http;
        const struct sockaddr *source = source_address(exchange);
        uint64_t now = clock_mono_ms();
        unsigned wait_s = failures_wait_s(&http->failures, source, now);
        int r = tokens_find(http->config.tokens, token, world_wall_ms(world_real()), &exchange->holder);
        if (r < 0) {
                log_error("cannot read the tokens", log_s("error", strerror(-r)));
                answer_problem(&exchange->answer, 503, "the tokens cannot be read now: try again");
                return false;
        }
        if (wait_s > 0 && (r == TOKENS_UNKNOWN || !exchange->holder.is_drawn)) {
                exchange->holder = (struct token_holder){0};
                exchange->answer.retry_after_s = wait_s;
                answer_problem(&exchange->answer, 429, "too many wrong tokens came from this address");
                return false;
        }
        if (r == TOKENS_UNKNOWN) {
                failures_add(&http->failures, source, now);
                if (failures_wait_s(&http->failures, source, now) > 0)
                        log_warning("too many wrong tokens from one address: it must wait", log_s("address", address_text(source, (char[64]){0})));
                return refuse_without_token(exchange);
        }
        return true;
}

static bool admit_caller(struct exchange *exchange) {
        const struct http_config *config = &exchange->http->config;
        enum role need = route_info(exchange->route)->role;
        if (need == ROLE_NONE)
                return true;
        const char *token = bearer_token(header(exchange, "Authorization"));
        bool is_open = config->no_auth && (!config->tokens || tokens_count(config->tokens, world_wall_ms(world_real())) == 0);
        if (token && config->tokens && !is_open) {
                if (!admit_token(exchange, token))
                        return false;
        } else if (config->no_auth)
                exchange->holder = (struct token_holder){.role = ROLE_ADMIN};
        else
                return refuse_without_token(exchange);
        if (!role_allows(exchange->holder.role, need)) {
                answer_problem(&exchange->answer, 403, "this token's role may not do this");
                return false;
        }
        if (config->no_auth && !exchange->holder.name[0] && comes_from_elsewhere(exchange)) {
                answer_problem(&exchange->answer, 403, "without authentication only requests to and from this machine are served");
                return false;
        }
        return true;
}

/* --- headers ----------------------------------------------------------------------------------------- */

/* Is `charset` absent or UTF-8 among the parameters after the media type? */
static bool charset_is_utf8(const char *parameters) {
        const char *charset = strcasestr(parameters, "charset=");
        if (!charset)
                return true;
        charset += strlen("charset=");
        charset += *charset == '"';
        return strncasecmp(charset, "utf-8", 5) == 0 && !isalnum((unsigned char)charset[5]) && charset[5] != '-';
}

static bool content_type_is_json(const char *type) {
        static const char json[] = "application/json";
        if (!type || strncasecmp(type, json, strlen(json)) != 0)
                return false;
        const char *rest = type + strlen(json);
        rest += strspn(rest, " \t");
        return !*rest || (*rest == ';' && charset_is_utf8(rest));
}

/* Where a request ends must have one reading, or a proxy before us and we disagree, and what it takes for a body is a request
 * to us. libmicrohttpd takes the first of two lengths, and a chunked body with a length beside it. The other two decide who
 * asks whom. */
static const char *const unique[] = {"Content-Length", "Transfer-Encoding", "Host", "Authorization", "Content-Type", "Lease", "Idempotency-Key",
                                     "Worker-Instance"};
#define N_UNIQUE (sizeof unique / sizeof *unique)

struct header_count {
        unsigned n[N_UNIQUE];
        bool has_odd_name;
};

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value) {
        (void)kind, (void)value;
        struct header_count *count = cls;
        for (size_t i = 0; i < N_UNIQUE; i++)
                count->n[i] += strcasecmp(key, unique[i]) == 0;
        for (const char *c = key; *c; c++)
                count->has_odd_name |= !isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c); /* "Transfer-Encoding : chunked" */
        return MHD_YES;
}

/* On a refusal nothing that follows on this connection can be trusted to begin where it seems to. */
static bool admit_framing(struct exchange *exchange) {
        struct header_count count = {0};
        MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, count_header, &count);
        exchange->answer.is_last = true;
        for (size_t i = 0; i < N_UNIQUE; i++)
                if (count.n[i] > 1) {
                        answer_problem(&exchange->answer, 400, "the header %s is given twice", unique[i]);
                        return false;
                }
        if (count.has_odd_name) {
                answer_problem(&exchange->answer, 400, "a header's name holds a character that none may have");
                return false;
        }
        if (count.n[0] && count.n[1]) {
                answer_problem(&exchange->answer, 400, "Content-Length and Transfer-Encoding exclude each other");
                return false;
        }
        exchange->answer.is_last = false;
        return true;
}

static void admit_headers(struct exchange *exchange) {
        const char *type = header(exchange, "Content-Type");
        bool is_right = exchange->route == ROUTE_MODEL_PIECE ? type && strcasecmp(type, "application/octet-stream") == 0 : content_type_is_json(type);
        exchange->wrong_type = !is_right || header(exchange, "Content-Encoding");
        const char *length = header(exchange, "Content-Length");
        const char *key = header(exchange, "Idempotency-Key"), *instance = header(exchange, "Worker-Instance");
        if (length && strtoull(length, NULL, 10) > exchange->http->config.max_body_bytes)
                answer_problem(&exchange->answer, 413, "the body is larger than %zu bytes", exchange->http->config.max_body_bytes);
        else if (instance && (!*instance || strlen(instance) > LIMIT_NAME_BYTES))
                answer_problem(&exchange->answer, 422, "Worker-Instance must have 1 to %d bytes", LIMIT_NAME_BYTES);
        else if (key && (!*key || strlen(key) > LIMIT_IDEMPOTENCY_KEY_BYTES))
                answer_problem(&exchange->answer, 422, "Idempotency-Key must have 1 to %d bytes", LIMIT_IDEMPOTENCY_KEY_BYTES);
}

/* --- all --------------------------------------------------------------------------------------------- */

void exchange_admit(struct exchange *exchange) {
        exchange->has_body_method = strcmp(exchange->method, "POST") == 0 || strcmp(exchange->method, "PATCH") == 0 ||
                                    strcmp(exchange->method, "PUT") == 0;
        if (!admit_framing(exchange))
                return;
        int r = route_match(exchange->method, exchange->path, &exchange->route, exchange->id, exchange->answer.allow);
        if (r == ROUTE_UNKNOWN_PATH) {
                exchange->answer.allow[0] = 0;
                answer_problem(&exchange->answer, 404, "there is nothing at this path");
                return;
        }
        if (r == ROUTE_WRONG_METHOD) {
                answer_problem(&exchange->answer, 405, "this path takes %s", exchange->answer.allow);
                return;
        }
        exchange->answer.allow[0] = 0;
        if (admit_caller(exchange))
                admit_headers(exchange);
}
