/* Before a worker takes trials of the built-in trainer, `sweep-trainer selftest` trains a small fixed model for a moment on this
 * machine, with the kernels and the BLAS that trials would get, and its numbers are compared with those that are stored here.
 * A processor, a memory, a library or a build that computes something else must not evaluate anything. Runs on the loop. */
#pragma once
#include <jansson.h>
#include <uv.h>

#include "agent/agent.h"
#include "common/world.h"

#define SELFTEST_WORDS 512

struct selftest_plan {
        uv_loop_t *loop;
        const struct world *world;
        const struct agent_options *options;
        unsigned threads;
        const char *folder; /* where it runs; it writes nothing */
        void *data;
        /* Once, not from selftest_start: why this machine must not train, NULL when all is well. The selftest may be freed then.
         * was_killed: somebody else ended the trainer with signal 9 (a person, a kernel short of memory), which says nothing of its numbers. */
        void (*done)(void *data, const char *unfit, bool was_killed);
};

struct selftest;

int selftest_start(const struct selftest_plan *plan, struct selftest **ret, struct error *err);
void selftest_free(struct selftest *selftest); /* from done, or after it */
void selftest_pump(struct selftest *selftest); /* now and then: ends what takes too long */
void selftest_cancel(struct selftest *selftest); /* ends soon; done is called as ever */

/* What the trainer told, with the words kernels, f32, bf16 and core for what it computes with; NULL when it told nothing. Borrowed. */
const json_t *selftest_told(const struct selftest *selftest);

/* Are these the numbers that {"numbers": {name: value}, "repeats": true, …} should have? If not, says in words what is wrong. */
bool selftest_judge(const json_t *told, char ret_words[static SELFTEST_WORDS]);
