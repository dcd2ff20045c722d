/* One slot: runs the trainer of one trial at a time and says what becomes of it (slot_state.h has the diagram). */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/delivery.h"
#include "agent/slot_state.h"
#include "agent/upload.h"
#include "agent/workdir.h"
#include "common/world.h"
#include "net/net.h"

/* What all slots share; owned by the agent, outlives them. */
struct slot_shared {
        const struct agent_options *options;
        unsigned threads; /* of one trainer */
        const struct world *world;
        uv_loop_t *loop;
        struct net *net;
        struct workdir *workdir;
        struct delivery *delivery;
        struct uploads *uploads;
        struct slot **slots; /* n_slots */
        size_t n_slots;
        void *data;
        void (*freed)(void *data); /* a slot became idle */
        void (*ended)(void *data, bool suspect); /* before that: a trial ended; suspect: at once, and it may be this machine's fault */
};

struct slot;

int slot_new(struct slot_shared *shared, struct slot **ret);
void slot_free(struct slot *slot); /* without a running trainer */

/* An idle slot takes a claimed trial (kept by reference, id and lease already checked). */
void slot_take(struct slot *slot, json_t *trial);

/* Starts what waits, sends reports that are due, kills what did not end in time. */
void slot_pump(struct slot *slot);

/* The worker goes: the trainer is asked to save its state; a trial that has not started is given back at once. */
void slot_release(struct slot *slot);

/* At once: the trainer is killed and the trial's release is left in the outbox. */
void slot_abandon(struct slot *slot);

enum slot_state slot_state(const struct slot *slot);
bool slot_uses(const struct slot *slot, const char *trial); /* its folder */
const char *slot_lease(const struct slot *slot); /* NULL when idle */
