/* The core thread: the one thread that calls api/. It collects the calls that the transport brings while a turn runs,
 * gives them to the next turn all at once, and sleeps until something arrives or the api's next deadline.
 *
 * A second thread, the proposer, computes plan jobs meanwhile, so that a fit of a Gaussian process never delays a
 * heartbeat. All functions may be called from any thread, unless they say otherwise. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"
#include "common/error.h"
#include "common/metrics.h"

struct core;
struct feed;

struct core_config {
        double lease_s;
        size_t max_parked;
        size_t max_calls; /* waiting for a turn */
        struct feed *feed; /* gets the events; outlives the core */
        uint64_t min_free_bytes; /* as in api_config */
        int (*free_bytes)(void *data, uint64_t *ret);
        void *free_data;
        struct models *models; /* as in api_config */
        struct api_webhooks webhooks;
};

/* Makes the api over store and starts both threads; store and world outlive the core. */
int core_new(const struct core_config *config, struct store *store, const struct world *world, struct core **ret, struct error *err);

/* Takes the call; it comes back through call->done on the core thread. False (and nothing taken) when max_calls wait.
 * Only one thread may push: room that core_has_room saw stays. */
bool core_push(struct core *core, struct api_call *call);
bool core_has_room(struct core *core);

/* The last commit went well, and nobody is stopping it. */
bool core_is_ready(struct core *core);

/* No new work is taken because the disk is nearly full. */
bool core_is_room_short(struct core *core);

struct core_counts {
        size_t n_calls, max_calls; /* that wait for a turn */
        size_t n_jobs;             /* that wait for the proposer */
        struct histogram proposal_s, explanation_s;
};
void core_count(struct core *core, struct core_counts *ret);

/* Has the core thread made a turn since the last time someone asked? Asks it for another one: what a watchdog wants to know. */
bool core_has_turned(struct core *core);

/* Answers what was pushed, then parked claims with 503, stops the threads and frees the api. 0, or -ETIMEDOUT when a proposal was still being computed
 * after timeout_ms: then its thread runs on and core is not freed, and the process should end. */
int core_free(struct core *core, unsigned timeout_ms);
