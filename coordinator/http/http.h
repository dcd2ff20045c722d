/* The HTTP server: the only user of libmicrohttpd. It turns requests into api_calls for the core thread and answers
 * back into responses; what a request may cost (connections, header and body bytes, calls in hand) is capped here.
 *
 * One thread of libmicrohttpd does all of it (epoll). A request that waits for the core thread is suspended. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

struct core;
struct http;
struct tokens;

struct http_config {
        const char *listen;          /* "127.0.0.1:8484", "[::1]:0", "localhost:0" */
        const struct tokens *tokens; /* NULL = none; outlives the server */
        bool no_auth;                /* requests without a token are the admin's; loopback only */
        const char *tls_cert, *tls_key; /* PEM text, both or neither */
        size_t max_body_bytes;
        unsigned max_connections;
        struct core *core; /* outlives the server's last push: free it after http_drain */
};

/* Would http_open accept this listen address and these tokens? Opens nothing. -EINVAL, -EACCES with a sentence. */
int http_check(const struct http_config *config, struct error *err);

/* Listens and serves. */
int http_open(const struct http_config *config, struct http **ret, struct error *err);

/* "http://127.0.0.1:43211"; lives as long as http. */
const char *http_url(const struct http *http);

/* Accepts no more connections and pushes no more calls: new requests get 503. */
void http_drain(struct http *http);

/* Waits until every answer is sent, at most timeout_ms. False when some were not. */
bool http_wait_idle(struct http *http, unsigned timeout_ms);

/* Closes all connections. No call may be in the core any more. */
void http_close(struct http *http);
