/* The HTTP server: the only user of libmicrohttpd. It turns requests into api_calls for the core thread and answers
 * back into responses; what a request may cost (connections, header and body bytes, calls in hand) is capped here.
 *
 * One thread of libmicrohttpd does all of it (epoll). A request that waits for the core thread is suspended. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct buf;
struct core;
struct exporter;
struct feed;
struct http;
struct models;
struct tokens;

struct http_config {
        const char *listen;          /* "127.0.0.1:8484", "[::1]:0", "localhost:0" */
        int listen_fd;               /* a listening socket that someone else keeps, instead of listen; 0 = none. Not closed here */
        struct tokens *tokens;       /* NULL = none; outlives the server */
        bool no_auth;                /* requests without a token are the admin's; loopback only */
        const char *tls_cert, *tls_key; /* PEM text, both or neither */
        size_t max_body_bytes;
        unsigned max_connections;
        unsigned max_connections_per_address; /* 0 = no limit of its own; loopback ones never have any */
        struct core *core; /* outlives the server's last push: free it after http_drain */
        struct feed *feed; /* of events; outlives the server */
        struct exporter *exporter; /* outlives the server */
        struct models *models; /* kept ones; NULL = none are. Outlives the server */
        /* Appends what others count to GET /metrics, on the server's thread; NULL = nothing. */
        void (*measure)(void *data, struct buf *buf);
        void *measure_data; /* outlives the server */
};

/* Would http_open accept this listen address? Opens nothing. -EINVAL, -EACCES with a sentence. */
int http_check(const struct http_config *config, struct error *err);

/* Could anyone call? -EACCES with a sentence when there is no token and --no-auth was not given. */
int http_check_callers(const struct http_config *config, struct error *err);

/* Could http_open listen there now? -EADDRINUSE, -EACCES and the like with a sentence. */
int http_check_address(const struct http_config *config, struct error *err);

/* Would the PEM texts do as a certificate and its key? When the certificate begins and ceases to be valid, seconds since 1970. */
int http_check_certificate(const char *cert, const char *key, int64_t *ret_from_s, int64_t *ret_to_s, struct error *err);

/* Listens and serves. */
int http_open(const struct http_config *config, struct http **ret, struct error *err);

/* "http://127.0.0.1:43211"; lives as long as http. */
const char *http_url(const struct http *http);

/* Another certificate and key (PEM texts) for the connections to come; those that are open go on. On failure all stays as it
 * was. -EINVAL when it was opened without TLS. */
int http_set_certificate(struct http *http, const char *cert, const char *key, struct error *err);

/* Cuts connections that have been between two requests for too long, whatever trickles in. To be called every few seconds. */
void http_tend(struct http *http);

/* Accepts no more connections and pushes no more calls: new requests get 503. Streams of events end, exports are cut off. */
void http_drain(struct http *http);

/* Waits until every answer is sent, at most timeout_ms. False when some were not. */
bool http_wait_idle(struct http *http, unsigned timeout_ms);

/* Closes all connections. No call may be in the core any more. */
void http_close(struct http *http);
