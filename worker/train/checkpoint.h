/* The state of a training on disk, so that a process killed at any instant goes on exactly where it was.
 *
 * A folder holds two generations, `checkpoint` and `checkpoint.previous`. A new one is written under a temporary name,
 * synced and renamed into place; the one before it stays, and is used when the newest turns out damaged. Each file ends
 * in the SHA-256 of all before it. It names what it belongs to (identity, a flat JSON object: settings, fingerprints of
 * model and data, threads, build): one of anything else is never continued. */
#pragma once
#include <jansson.h>
#include <stddef.h>

#include "common/error.h"

#define CHECKPOINT_ARRAYS 3

struct checkpoint {
        const json_t *identity;
        void *state; /* plain memory without pointers or padding */
        size_t state_bytes;
        float *arrays[CHECKPOINT_ARRAYS]; /* weights and both moments */
        size_t n_floats;                  /* of each */
};

/* Writes a new generation. Errors name the file; the older generations are then as they were. */
int checkpoint_save(const char *folder, const struct checkpoint *checkpoint, struct error *err);

/* Reads the newest sound generation into state and arrays. 0 · CHECKPOINT_NONE: the folder has none ·
 * CHECKPOINT_UNUSABLE: what is there is damaged or belongs to something else, err says which. Otherwise negative.
 * After anything but 0 and CHECKPOINT_NONE, state and arrays are undefined. */
#define CHECKPOINT_NONE 1
#define CHECKPOINT_UNUSABLE 2
int checkpoint_load(const char *folder, const struct checkpoint *checkpoint, struct error *err);
