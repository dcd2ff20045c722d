/* The best model of a training: written to the output folder whenever it improves, and held a second time beside the
 * checkpoints (a hard link where that is possible), so that a resumed training also resumes its best so far. */
#pragma once
#include <stdint.h>

#include "common/error.h"
#include "model/model.h"

struct best_folders {
        const char *output;     /* where people look; not NULL */
        const char *checkpoint; /* NULL: not resumable */
        const char *source;     /* the model folder: vocabulary and tokenizer settings come from there */
};

/* The weights of now are the best, as of this step. */
int best_keep(const struct best_folders *folders, const struct model *model, uint64_t step, struct error *err);

/* Puts the best model of `step` back into the output folder. -ENOENT: it is not beside the checkpoints. */
int best_restore(const struct best_folders *folders, const struct model *model, uint64_t step, struct error *err);

/* Removes what no generation of checkpoints refers to, nor any to come. Never fails: what stays is only room. */
void best_prune(const struct best_folders *folders, uint64_t newest_step, uint64_t previous_step);
