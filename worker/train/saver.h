/* Writes checkpoints and best models beside the training, in a thread of its own.
 *
 * No copy is made. Weights and moments change in an optimizer step alone, and nine tenths of the time are forward and
 * backward passes: the thread reads the live arrays meanwhile, and the optimizer waits for it where it is slower (see
 * saver_wait_arrays). What follows, the long wait for the disk, nobody waits for. Rejected: fork(), whose child outlives a killed
 * trainer and whose copied pages double the memory within one optimizer step; a copy, for the memory.
 *
 * One piece of work at a time. All functions are called by the one thread that trains. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"
#include "train/best.h"
#include "train/checkpoint.h"

struct saver_work {
        const struct model *model;
        const struct best_folders *folders;
        bool best;          /* the weights are the best so far, as of best_step; written before the checkpoint that says so */
        uint64_t best_step;
        bool checkpoint;    /* into folders->checkpoint */
        struct checkpoint content;                   /* its state must stay until the work is done */
        uint64_t newest_best_step, previous_best_step; /* what this checkpoint and the one before refer to: the rest is pruned */
};

struct saver;

int saver_new(struct saver **ret, struct error *err);
void saver_free(struct saver *saver); /* hurries what is under way, and waits for it */

/* Begins; nothing else may be under way. */
void saver_start(struct saver *saver, const struct saver_work *work);

bool saver_is_busy(struct saver *saver);

/* Until the arrays may change. Returns milliseconds waited. */
uint64_t saver_wait_arrays(struct saver *saver);

/* Waits for the end of the work and returns its result: 0, also when there was none, or negative with a text. From the
 * moment hurry_ms (monotonic) on it is not synced any more (UINT64_MAX: always synced). *ret_took_ms: from start to end. */
int saver_finish(struct saver *saver, uint64_t hurry_ms, uint64_t *ret_took_ms, struct error *err);
