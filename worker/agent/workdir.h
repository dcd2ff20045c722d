/* The worker's folder. One worker at a time uses it.
 *
 *   lock                                  held while the worker lives
 *   outbox/                               endings that are not acknowledged yet
 *   trials/TRIAL/{checkpoint,output}/     of running trials, and checkpoints of released, killed and interrupted ones;
 *               points.jsonl              metric points that are not acknowledged yet
 *               with --checkpoint-dir DIR, checkpoint/ and points.jsonl lie under DIR/trials/TRIAL/ instead, which other workers
 *               share: whoever gets the trial next goes on from there
 *   divisions.json                        what was measured to choose slots and threads
 *   models/SWEEP/TRIAL/                   the best results of each sweep, with trial.json; all sweeps together within a room
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct workdir;

struct workdir_options {
        const char *path;
        const char *shared; /* where checkpoints lie instead; not locked; NULL: nowhere */
        unsigned keep_models;      /* of each sweep */
        uint64_t models_max_bytes; /* of all sweeps; 0: no bound but WORKDIR_MODELS_MAX of them */
        uint64_t min_free_bytes;
};

#define WORKDIR_MODELS_MAX 1000

/* Makes and locks it; models beyond the room go. -EBUSY when another worker uses the path. */
int workdir_open(const struct workdir_options *options, struct workdir **ret, struct error *err);
void workdir_close(struct workdir *workdir);
const char *workdir_path(const struct workdir *workdir); /* absolute */
const char *workdir_outbox(const struct workdir *workdir);
const char *workdir_models(const struct workdir *workdir);

/* May an id of the coordinator be the name of a folder? */
bool workdir_accepts_id(const char *id);

/* Paths of one trial; they may not exist. The caller frees; NULL = out of memory. */
char *workdir_trial(const struct workdir *workdir, const char *trial, const char *part); /* part NULL: the trial's folder itself */

/* Makes the folders of a trial, with an empty output. */
int workdir_prepare(struct workdir *workdir, const char *trial, struct error *err);
bool workdir_has_checkpoint(const struct workdir *workdir, const char *trial);
void workdir_drop_checkpoint(struct workdir *workdir, const char *trial);
void workdir_drop_trial(struct workdir *workdir, const char *trial);

/* The trial ended with a value: its output becomes a kept model if it is among the best of its sweep, worse ones go. Where the room
 * is too small, the oldest models of all sweeps go: first those that the coordinator need not get any more, the newest never, unless it is
 * larger than all the room. description: what to write to trial.json, with "value". */
void workdir_keep_output(struct workdir *workdir, const char *sweep, const char *trial, const json_t *description, bool maximize);

/* The file in a model's folder that says that it is still to be sent. */
#define WORKDIR_UNSENT ".upload"

bool workdir_is_shared(const struct workdir *workdir);

/* Deletes leftovers of trials that are not in use, all but the newest few; all of them when the disk is short. In the shared
 * folder, where others' trials lie, what nobody has touched for two weeks. */
void workdir_prune(struct workdir *workdir, bool (*in_use)(void *data, const char *trial), void *data);

/* Too little space to start another trial? */
bool workdir_is_short(struct workdir *workdir);
