/* What is remembered between proposals (struct opt_memory): hyperparameters, by what they were found for. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/opt.h"

#define MEMORY_SLOTS 8 /* the least recently used goes; a history and what it becomes by the next results need two or three */

enum memory_kind { MEMORY_WHOLE, MEMORY_REFINED, MEMORY_GUIDE };

/* memory may be NULL in all of these: nothing is remembered then. */

/* False when it is not there. */
bool memory_recall(struct opt_memory *memory, enum memory_kind kind, uint64_t key, size_t n_theta, double *ret_theta);
void memory_keep(struct opt_memory *memory, enum memory_kind kind, uint64_t key, size_t n_theta, const double *theta);

/* How often something was kept. */
uint64_t memory_count_kept(const struct opt_memory *memory);

/* A proposal had its hyperparameters: was nothing to be found for it? */
void memory_note_proposal(struct opt_memory *memory, bool was_ready);
