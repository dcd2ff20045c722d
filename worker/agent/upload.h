/* Sends kept models to the coordinator, which keeps those of the best trials of all workers: offered once the trial's end is
 * delivered, then sent piece by piece where they are wanted. A file .upload in the model's folder says that this is still to be
 * done, so that a worker that was killed goes on with it.
 *
 *   waiting ─▶ hashing (a thread of libuv's pool) ─▶ offered ─▶ declined, kept: done
 *                                                     ▲  └▶ wanted: pieces ─▶ offered again, until it is kept
 *                                                     └───── no answer, a piece refused: after a backoff
 *
 * One model at a time; at most UPLOADS_MAX wait. All on the loop's thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "agent/delivery.h"
#include "common/world.h"
#include "net/net.h"

#define UPLOADS_MAX 256

struct uploads;

/* folder: models/SWEEP/TRIAL lie in it; what is still to be sent is found there. Everything given outlives it but the loop's work. */
int uploads_new(struct net *net, const struct world *world, uv_loop_t *loop, const char *folder, const struct delivery *delivery,
                struct uploads **ret);
void uploads_free(struct uploads *uploads);

/* The trial's model was kept: it is to be sent, under the lease that the trial ended with. */
void uploads_add(struct uploads *uploads, const char *sweep, const char *trial, const char *lease);

void uploads_pump(struct uploads *uploads);

size_t uploads_count(const struct uploads *uploads);
/* Has the coordinator been away for several tries? Then waiting longer may not help. */
bool uploads_are_stuck(const struct uploads *uploads);
