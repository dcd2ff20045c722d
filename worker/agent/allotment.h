/* How many slots with how many threads: as the options say, and where they leave it open, as measured once for this
 * machine, model, data and trainer (DIR/divisions.json remembers) and as the memory of now allows. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/division.h"
#include "common/world.h"

struct allotment_plan {
        uv_loop_t *loop;
        const struct world *world;
        const struct agent_options *options;
        const char *folder;         /* the work folder */
        const json_t *registration; /* its fingerprints; borrowed until done */
        void *data;
        /* Once, from allotment_pump or the loop: the decision, and what was measured (new reference, may be empty). Frees
         * the allotment. chosen NULL: cancelled. */
        void (*done)(void *data, const struct division *chosen, json_t *measured);
};

struct allotment;

int allotment_new(const struct allotment_plan *plan, struct allotment **ret, struct error *err);
void allotment_free(struct allotment *allotment); /* from done, or after it */
void allotment_pump(struct allotment *allotment);
void allotment_cancel(struct allotment *allotment); /* done comes soon, with NULL */
