/* Requests of the contract, decoded. Each decoder refuses unknown keys by name, collects every fault with its pointer,
 * and returns 0 · MESSAGE_FAULTY · -ENOMEM. Strings and JSON inside a message are borrowed from the document that it
 * was decoded from, so the document outlives the message. A *_fini frees the arrays. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/problem.h"
#include "proto/state.h"

#define MESSAGE_FAULTY 1

struct worker_registration {
        const char *name;
        const char *instance; /* NULL when left out */
        unsigned slots;
        const char **trainers; /* array of n_trainers */
        size_t n_trainers;
        json_t *trainers_json;
        json_t *model, *data, *facts; /* objects or NULL */
        const char *model_sha256, *data_sha256; /* NULL when left out */
        const char *unfit; /* why it must not be given trials; NULL when it may */
};
int worker_registration_decode(json_t *document, struct faults *faults, struct worker_registration *ret);
void worker_registration_fini(struct worker_registration *message);

struct claim_request {
        const char *worker, *claim_id;
        unsigned slots; /* default 1 */
        double wait_s;  /* default 0, 0–60 */
        const char *sweep; /* NULL = any */
};
int claim_request_decode(json_t *document, struct faults *faults, struct claim_request *ret);

struct metric_point {
        const char *name;
        int64_t step;
        bool has_epoch;
        double epoch;
        double value;
        uint64_t time_ms; /* 0 when left out */
};

enum outcome_kind { OUTCOME_NONE, OUTCOME_COMPLETED, OUTCOME_STOPPED, OUTCOME_FAILED, OUTCOME_RELEASED };

struct report {
        const char *lease;
        int64_t seq; /* ≥ 1 */
        struct metric_point *points;
        size_t n_points;
        bool has_progress;
        double progress; /* 0–1 */
        enum outcome_kind outcome;
        bool has_value;
        double value;
        enum failure_reason reason; /* of OUTCOME_FAILED */
        const char *detail; /* NULL when left out */
        json_t *resume;     /* opaque, of OUTCOME_RELEASED; NULL when left out */
};
int report_decode(json_t *document, struct faults *faults, struct report *ret);
void report_fini(struct report *message);

/* What a worker has kept of a trial that it ended. */
struct model_offer {
        const char *lease;
        struct {
                const char *name, *sha256;
                int64_t bytes;
        } files[LIMIT_MODEL_FILES];
        size_t n_files;
};
int model_offer_decode(json_t *document, struct faults *faults, struct model_offer *ret);

/* One configuration to enqueue, or a finished one to import. */
struct enqueue_item {
        json_t *params;
        bool has_value;
        double value;
        /* of a finished one */
        enum trial_state state; /* completed (default) or stopped */
        struct metric_point *points;
        size_t n_points;
};
struct enqueue_request {
        struct enqueue_item *items;
        size_t n;
        bool many; /* given as {"trials":[…]}: pointers of later faults start with /trials/INDEX */
};
int enqueue_request_decode(json_t *document, struct faults *faults, struct enqueue_request *ret);
void enqueue_request_fini(struct enqueue_request *message);

struct sweep_patch {
        int state; /* enum sweep_state running, paused or cancelled; -1 when left out */
        bool has_run_cap, has_priority;
        uint64_t run_cap; /* 0 = null given: no cap */
        int priority;
        json_t *spec; /* a merge patch (RFC 7396) of the spec; NULL when left out */
};
int sweep_patch_decode(json_t *document, struct faults *faults, struct sweep_patch *ret);

/* A POST without fields: nothing, or an empty object. */
int empty_decode(json_t *document, struct faults *faults);

/* Query strings of lists. `query` is an object of strings as the transport decoded it; unknown keys are faults. */
struct list_query {
        unsigned limit;    /* default 100 */
        const char *after; /* opaque cursor, NULL = first page */
        int state;         /* enum of the resource, -1 = all */
        enum { SORT_CREATED, SORT_VALUE_ASCENDING, SORT_VALUE_DESCENDING } sort;
        const char *name;   /* of …/metrics */
        const char *sweep;  /* of /v1/events */
        const char *parameter, *parameter2; /* of …/slice; the first is there, the second may be NULL */
        const char *format; /* of …/export: "json" (default), "csv", "jsonl"; of …/report: "html" (default), "md" */
};
enum list_kind { LIST_SWEEPS, LIST_TRIALS, LIST_WORKERS, LIST_METRICS, LIST_EXPORT, LIST_REPORT, LIST_SLICE, LIST_EVENTS, LIST_HISTORY, LIST_NOTHING };
int list_query_decode(json_t *query, enum list_kind kind, struct faults *faults, struct list_query *ret);
