/* What a worker says about itself, and how many slots and threads the machine carries. */
#pragma once
#include <jansson.h>

#include "agent/agent.h"

#define INSTANCE_SIZE 40

/* Cores that this process may use; memory in MiB that it may use. */
unsigned machine_cores(void);
uint64_t machine_memory_mib(void);

/* Fills in what the options leave to the machine: a slot for two cores as far as the memory goes, all cores shared out. */
void registration_divide(const struct agent_options *options, unsigned *ret_slots, unsigned *ret_threads);

/* The body of POST /v1/workers. Reads model and data for their fingerprints: takes a second. New reference in *ret.
 * Errors name the folder. */
int registration_make(const struct agent_options *options, const char *instance, unsigned slots, unsigned threads, json_t **ret, struct error *err);
