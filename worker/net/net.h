/* HTTP requests with JSON bodies to one coordinator, on whatever event loop the caller has: the only user of libcurl.
 *
 * The caller lends its loop as two functions (watch a socket, arm a timer) and tells back what happened; answers come as
 * callbacks out of net_socket_ready and net_timer_fired, never out of net_request itself. Connections are kept alive.
 * One thread. A request holds its body and its answer (capped); at most NET_REQUESTS_MAX are open at once. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define NET_REQUESTS_MAX 2048
#define NET_ANSWER_BYTES_MAX (16u << 20)

enum { NET_READ = 1, NET_WRITE = 2 };

struct net_host {
        void *data;
        void (*watch)(void *data, int socket, unsigned events); /* NET_READ | NET_WRITE, 0 = no longer */
        void (*arm)(void *data, long after_ms);                 /* call net_timer_fired then; -1 = disarm */
};

struct net_options {
        const char *base_url; /* "http://host:port", a path in front of /v1 is kept */
        const char *token;    /* NULL = none; never logged */
        const char *ca_file;  /* NULL = the system's */
        const char *user_agent;
        const char *instance; /* the header Worker-Instance: tells processes under one worker's name apart; NULL = none */
};

struct net_answer {
        int status;           /* HTTP status; 0 = there was no answer */
        const char *failure;  /* of status 0: why, for a log line */
        json_t *body;         /* borrowed, NULL when empty or not JSON */
        double retry_after_s; /* the header; 0 when absent */
        int64_t date_s;       /* the server's clock (Date), seconds since 1970; 0 when absent */
        const char *worker_state; /* the header Worker-State; NULL when absent */
        bool name_shared;         /* the header Name-Shared is there */
};

/* Why it is not the answer that was wished for: the server's "detail", or the failure; never NULL. */
const char *net_why(const struct net_answer *answer);

struct net;
struct net_request;
typedef void net_callback(void *data, const struct net_answer *answer);

/* The host outlives the net. -EINVAL for a URL that is not http or https. Proxies of the environment are used, but
 * not for loopback addresses. */
int net_new(const struct net_options *options, const struct net_host *host, struct net **ret, struct error *err);
void net_free(struct net *net); /* drops open requests without their callbacks */

/* Starts one request; path begins with '/'. body is borrowed for the call. *ret stays valid until the callback has
 * begun or it is cancelled. -EAGAIN when too many are open, -ENOMEM. */
int net_send(struct net *net, const char *method, const char *path, const json_t *body, double timeout_s, net_callback *callback,
             void *data, struct net_request **ret);

/* The same with plain bytes as the body, which are taken over (also on failure), and the header Lease. */
int net_send_bytes(struct net *net, const char *method, const char *path, char *bytes, size_t len, const char *lease, double timeout_s,
                   net_callback *callback, void *data, struct net_request **ret);

/* Drops it: no callback. NULL is fine. */
void net_cancel(struct net_request *request);

/* What the loop saw. */
void net_socket_ready(struct net *net, int socket, unsigned events);
void net_timer_fired(struct net *net);
