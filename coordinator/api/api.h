/* The coordinator without HTTP and sockets: takes decoded requests, gives decoded answers, or parks them.
 *
 * Thread rule: every function here is called from one thread, the core thread; nothing in api/, plan/, sweep/ or store/
 * takes a lock. Truth lives in the store; what api keeps in memory (plans, parked claims, when workers were last seen)
 * can be rebuilt from it at any time, and is after a failed commit.
 *
 * One turn of the core thread: api_turn(all requests that have arrived) runs them in one transaction, commits, and only
 * then answers them: a 2xx is never sent before its data is on disk, and many writes share one fsync. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/world.h"
#include "proto/limits.h"
#include "proto/route.h"

struct models;
struct store;
struct plan_job;
struct api_export;

struct api_request {
        enum route route;
        char id[41];           /* of the path, empty when the route has none */
        json_t *body;          /* owned by the call; NULL when the body was empty */
        json_t *query;         /* owned; object of strings, never NULL */
        char *idempotency_key; /* owned; NULL when left out */
        char instance[LIMIT_NAME_BYTES + 1]; /* header Worker-Instance of a claim: the process, as it registered; empty when left out */
        char *body_sha256;     /* owned; set when there is a key: tells another body under the same key */
        const char *token;     /* who asks: the token's name, "" without authentication; scope of idempotency keys */
        const char *sweep_limit; /* public id of the only sweep that this token is good for; NULL = no limit */
};

struct api_response {
        int status;
        json_t *body; /* owned by the call; NULL = none (204) or text below */
        char *text;   /* owned; a body that is not JSON (report) or JSON as it was first answered */
        struct api_export *export; /* owned; a body that is read piece by piece (api/export.h) */
        size_t text_len;
        const char *content_type; /* static; NULL = application/json, or application/problem+json from 400 up */
        unsigned retry_after_s;   /* 0 = no such header */
        char sweep_state[16];     /* header Sweep-State; empty = no such header */
        char worker_state[16];    /* the same for Worker-State */
        bool name_shared;         /* header Name-Shared */
};

struct api_call {
        struct api_request request;
        struct api_response response;
        void (*done)(struct api_call *call);             /* the answer stands in response; the transport takes the call back */
        bool (*is_waiting)(const struct api_call *call); /* is the client still there? asked before work is handed out; NULL = yes */
        void *transport;                                 /* the transport's own */
        struct api_call *next;                           /* lists: the transport's queue, then api's parked claims */
        uint64_t deadline_ms;                            /* of a parked claim, world's mono clock */
};

void api_call_fini(struct api_call *call); /* frees what is owned, not the call */

/* Who is to be told of what, in the store's outbox; another thread sends it. */
struct api_webhooks {
        const char *const *urls; /* outlive the api */
        size_t n_urls;
        unsigned events; /* 1 << webhook_event: of sweeps whose spec does not say which */
};

struct api_config {
        double lease_s;    /* default 60 */
        size_t max_parked; /* waiting claims; one more gets 503 with Retry-After. Default 10000 */
        /* Computes a proposal, or a question to the model (plan_job_is_question), somewhere else and hands the job back with api_job_done on the core thread. The job is
         * self-contained. In a test this may compute at once and queue the job for the next turn. */
        void (*submit_job)(void *data, struct plan_job *job);
        void *job_data;
        /* What happened, one event a call, after the commit that made it true. name: "trial", "sweep", "metric", "worker",
         * "deleted", "reset"; sweep: public id, "" when it belongs to none; text: JSON. Asked at the start of each turn
         * whether anybody watches; both NULL = never. */
        void (*publish)(void *data, const char *name, const char *sweep, const char *text);
        bool (*is_watched)(void *data);
        void *publish_data;
        /* Free bytes on the disk of the database; with less than min_free_bytes no new work is taken. 0 or NULL: not watched. */
        uint64_t min_free_bytes;
        int (*free_bytes)(void *data, uint64_t *ret);
        void *free_data;
        struct models *models; /* kept ones; NULL = none are. Outlives the api */
        struct api_webhooks webhooks;
};

struct api;

/* store and world outlive the api. Resumes what the store holds (leases go on, sweeps continue). */
int api_new(const struct api_config *config, struct store *store, const struct world *world, struct api **ret, struct error *err);
void api_free(struct api *api); /* parked calls are answered 503 first */

/* One turn: the list of calls (linked by next, in order of arrival; may be NULL), then expired leases, timeouts and
 * parked claims. Every call is answered through done() after the commit, or stays parked inside api. */
void api_turn(struct api *api, struct api_call *calls);

/* When api_turn must run again at the latest (mono ms), UINT64_MAX = only when something arrives. */
uint64_t api_next_deadline(const struct api *api);

/* A computed proposal comes back. Takes the job; the claims that waited for it are answered in the next turn. */
void api_job_done(struct api *api, struct plan_job *job);

/* No new work from now on: parked claims are answered 503, new requests too. */
void api_drain(struct api *api);

/* Whether the last transaction could be committed: /readyz. */
bool api_is_healthy(const struct api *api);

/* Whether new work is refused because the disk is nearly full: told by /readyz. */
bool api_is_room_short(const struct api *api);
