/* The state of a training on disk, so that a process killed at any instant goes on exactly where it was.
 *
 * A folder holds two generations, `checkpoint` and `checkpoint.previous`. A new one is written under a temporary name of
 * its own, synced and renamed into place; the one before it stays, and is used when the newest turns out damaged. Each file
 * ends in a checksum of all before it. It names what it belongs to (identity, a flat JSON object: settings, fingerprints of
 * model and data, threads, build): one of anything else is never continued. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
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

/* What happens beside the writing of a checkpoint. Any function may be NULL. */
struct checkpoint_pace {
        void *data;
        void (*arrays_read)(void *data); /* state and arrays are in the file, though not yet on the disk: they may change */
        bool (*in_a_hurry)(void *data);  /* asked between pieces of the sync. True: the kernel may do the rest when it likes */
};

/* Writes a new generation. Errors name the file; the older generations are then as they were. pace may be NULL.
 * A file that was renamed in a hurry survives a kill, but not a power loss within the next half minute: its checksum tells,
 * and the one before it counts. */
int checkpoint_save(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_pace *pace, struct error *err);

/* Deletes what a killed process left half written. Never fails. */
void checkpoint_clear(const char *folder);

/* Reads the newest sound generation into state and arrays. 0 · CHECKPOINT_NONE: the folder has none ·
 * CHECKPOINT_UNUSABLE: what is there is damaged or belongs to something else, err says which. Otherwise negative.
 * After anything but 0 and CHECKPOINT_NONE, state and arrays are undefined. */
#define CHECKPOINT_NONE 1
#define CHECKPOINT_UNUSABLE 2
int checkpoint_load(const char *folder, const struct checkpoint *checkpoint, struct error *err);
