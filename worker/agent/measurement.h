/* Measures divisions of the cores by training: for each, as many trainers as it has slots run side by side for a few steps
 * on the worker's own model and data, then they are killed. Takes seconds a division with a small model, up to about a minute
 * with a large one on a slow machine. Runs on the loop and calls back when all is measured. */
#pragma once
#include <uv.h>

#include "agent/agent.h"
#include "agent/division.h"
#include "common/world.h"

struct measurement_result {
        const struct division *divisions; /* those given, with what was found */
        size_t n;
        const char *failure; /* NULL: every division that fits was measured */
};

struct measurement_plan {
        uv_loop_t *loop;
        const struct world *world;
        const struct agent_options *options;
        const char *folder; /* where the trainers run; they write nothing */
        struct division divisions[DIVISION_MAX]; /* measured ones are left alone */
        size_t n;
        void *data;
        void (*done)(void *data, const struct measurement_result *result); /* once; frees the measurement. Not called from measurement_start */
};

struct measurement;

int measurement_start(const struct measurement_plan *plan, struct measurement **ret); /* -ENOMEM */
void measurement_free(struct measurement *measurement); /* no trainer may run: from done, or after it */
void measurement_pump(struct measurement *measurement); /* now and then: starts what is next, ends what takes too long */
void measurement_cancel(struct measurement *measurement); /* ends soon, with a failure */
