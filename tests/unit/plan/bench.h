/* A plan and its spec, for the tests of this folder. */
#pragma once
#include <jansson.h>
#include <stdint.h>

#include "plan/plan.h"

struct bench {
        json_t *document;
        struct sweep_spec *spec;
        struct plan *plan;
        uint64_t n; /* trials so far */
};

void open_bench(struct bench *b, const char *text); /* of a valid spec */
void close_bench(struct bench *b);

/* The next configuration, added as a queued trial; NULL with *ret_answer otherwise. Jobs are computed on the spot. source (32 bytes) and ret_stage
 * may be NULL. */
json_t *propose(struct bench *b, enum plan_answer *ret_answer, char *source, unsigned *ret_stage);

double number(const json_t *params, const char *name);
