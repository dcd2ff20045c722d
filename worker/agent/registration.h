/* What a worker says about itself. */
#pragma once
#include <jansson.h>

#include "agent/agent.h"
#include "agent/division.h"

#define INSTANCE_SIZE 40

/* Cores that this process may use; memory in MiB that it may use. */
unsigned machine_cores(void);
uint64_t machine_memory_mib(void);

/* Slots and threads where nothing was measured: a slot for two cores as far as the memory goes, all cores shared out. */
void registration_guess(const struct agent_options *options, struct division *ret);

/* The body of POST /v1/workers, but for slots and facts. Reads model and data for their fingerprints: takes a second. New
 * reference in *ret. Errors name the folder. */
int registration_make(const struct agent_options *options, const char *instance, json_t **ret, struct error *err);

/* Adds slots and facts. Takes the reference of measured, an array for the facts; NULL or empty: nothing was measured. */
int registration_divide(json_t *registration, const struct division *chosen, json_t *measured);

/* Adds to the facts what the trainer computes with, as its self-test told (may be NULL): kernels, f32, bf16, core. */
void registration_add_numerics(json_t *registration, const json_t *told);

/* What speed depends on: machine, model, data, trainer. New reference; NULL when out of memory. */
json_t *registration_key(const struct agent_options *options, const json_t *registration);
