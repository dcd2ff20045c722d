/* Delivers the parcels of the outbox: each with its own retries, removed from disk once the coordinator has said yes or
 * has said that the lease is no longer valid. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/world.h"
#include "net/net.h"

struct delivery;

/* Loads what lies in the folder (kept by reference, as net and world are). -ENOMEM. */
int delivery_new(struct net *net, const struct world *world, const char *folder, struct delivery **ret);
void delivery_free(struct delivery *delivery);

/* Makes the parcel durable, then sends it. Takes the reference. When the disk refuses, it is still sent from memory. */
void delivery_add(struct delivery *delivery, json_t *parcel);

/* Sends what is due. */
void delivery_pump(struct delivery *delivery);

/* Forgets the waits: the coordinator was reached. */
void delivery_hurry(struct delivery *delivery);

/* Is something of this trial still to be delivered? */
bool delivery_has(const struct delivery *delivery, const char *trial);

size_t delivery_count(const struct delivery *delivery);

/* Has every parcel failed at least once since the last success, with nothing under way? Then waiting longer may not help. */
int delivery_is_stuck(const struct delivery *delivery);
