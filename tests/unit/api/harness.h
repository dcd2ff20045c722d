/* A whole coordinator in memory: a real store in a temporary folder, simulated time, proposals computed at once. */
#pragma once
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/api.h"
#include "common/buf.h"

struct house {
        char folder[64], path[96];
        struct store *store;
        struct api *api;
        struct world world;
        uint64_t now_ms; /* both clocks; wall is far from 0 */
        uint64_t random; /* state of the random bytes */
        struct plan_job *jobs[64];
        size_t n_jobs;
        bool is_watched;   /* somebody follows the events */
        struct buf events; /* "name sweep JSON" lines of what was published */
        bool hold_jobs; /* computations do not come back by themselves */
        uint64_t free_bytes; /* of the disk; 100 MiB are to stay free */
        double lease_s;      /* from the next opening on */
};

/* One request and what came of it. */
struct ask {
        struct api_call call;
        bool is_done, is_gone; /* answered; the client has hung up */
        int status;
        json_t *body; /* parsed answer, owned */
        char *text;   /* as sent */
        char sweep_state[16], worker_state[16];
        bool name_shared;
        unsigned retry_after_s;
};

int house_setup(void **state);
int house_teardown(void **state);
void house_reopen(struct house *house); /* as after a restart of the process */

/* Starts a request: body is JSON text with ' for ", NULL for none. The turn runs, and the jobs that it started. */
struct ask *house_ask(struct house *house, enum route route, const char *id, const char *body);
struct ask *house_ask_as(struct house *house, enum route route, const char *body, const char *instance);
struct ask *house_ask_keyed(struct house *house, enum route route, const char *id, const char *body, const char *key);
struct ask *house_query(struct house *house, enum route route, const char *id, const char *key, const char *value, const char *key2,
                        const char *value2);
void house_wait(struct house *house, double seconds); /* time passes, in one step; then a turn */
void house_turn(struct house *house);
void ask_free(struct ask *ask);

/* The request, which must be answered with this status; its body (owned by the caller). */
json_t *house_must(struct house *house, int status, enum route route, const char *id, const char *body);

/* Short forms. Ids are owned by the caller. */
char *house_worker(struct house *house, const char *name);
char *house_sweep(struct house *house, const char *spec);
json_t *house_claim(struct house *house, const char *worker, const char *claim_id);                    /* the one trial, NULL for 204 */
json_t *house_report(struct house *house, int status, const json_t *trial, int seq, const char *rest); /* rest: ",'outcome':…" or "" */
void house_expect_worker(struct house *house, const char *state); /* of the first worker there is */
void house_complete(struct house *house, const json_t *trial, double value);
json_t *house_get(struct house *house, enum route route, const char *id);
const char *text_of(const json_t *object, const char *path);
int64_t number_of(const json_t *object, const char *path);
