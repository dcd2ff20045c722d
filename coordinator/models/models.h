/* The models of the best trials, kept as folders of files: taken piece by piece from the worker that made them, given to
 * whoever asks. No database: a model that is there stands in its folder with a manifest, or is not there.
 *
 *   FOLDER/TRIAL/manifest.json, FOLDER/TRIAL/files/NAME     a whole model: every file had its size and SHA-256
 *   FOLDER/.part-NUMBER/files/NAME                          on its way; deleted when it is given up, and at start
 *
 *   offered ─▶ wanted ─▶ pieces in order, file by file ─▶ storing (synced, renamed, by a thread of its own) ─▶ kept
 *       └▶ declined: worse than what the sweep has, or no room
 *
 * Caps: bytes of all (kept and on their way), models of a sweep, files of a model, models on their way. Where room is needed,
 * the oldest that is not the best of its sweep goes first, then the oldest.
 *
 * One lock guards everything in memory and is never held over slow work. models_offer, _forget_* and the queries only touch
 * memory: the core thread may call them. models_put writes and hashes one piece: the HTTP server's thread alone calls it. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define MODEL_FILES_MAX 16
#define MODEL_NAME_BYTES 64
#define MODEL_ID_SIZE 41
#define MODEL_LEASE_SIZE 129
#define MODEL_HASH_SIZE 65

struct models;

struct models_config {
        const char *folder;
        uint64_t max_bytes;
        unsigned per_sweep;
        uint64_t min_free_bytes; /* of its disk; 0 = do not watch */
};

struct model_file {
        char name[MODEL_NAME_BYTES + 1];
        char sha256[MODEL_HASH_SIZE]; /* lower-case hex */
        uint64_t bytes;
};

struct model {
        char trial[MODEL_ID_SIZE], sweep[MODEL_ID_SIZE]; /* public ids */
        uint64_t number;                                 /* of the trial */
        unsigned attempt;
        double value;
        bool maximize;
        uint64_t created_ms;
        struct model_file files[MODEL_FILES_MAX];
        size_t n_files;
};

/* Makes the folder where it is not there, deletes what was on its way, and starts the thread. */
int models_open(const struct models_config *config, struct models **ret, struct error *err);
void models_close(struct models *models);

/* A file's name as models may have it: letters, digits, '.', '_', '-', no dot in front, 1 to 64 bytes. */
bool model_accepts_name(const char *name);
uint64_t model_bytes(const struct model *model);
json_t *model_encode(const struct model *model); /* as the contract shows it; NULL = no memory */

/* --- taking one in ------------------------------------------------------------------------------------------ */

enum model_state { MODEL_WANTED, MODEL_STORING, MODEL_KEPT, MODEL_DECLINED };

struct model_progress {
        enum model_state state;
        uint64_t received[MODEL_FILES_MAX]; /* of MODEL_WANTED, by file */
        const char *why;                    /* static, of MODEL_DECLINED */
};

/* Is it wanted, and what is here of it? The same offer again goes on where the pieces end; another one of the trial (by
 * attempt or files) starts anew. lease: what the pieces must come with. */
int models_offer(struct models *models, const struct model *model, const char *lease, struct model_progress *ret);

/* A piece. sweep_limit: of the caller's token, NULL = none. 0 with what is here of the file in *ret_received · a status of HTTP
 * with a sentence in err: 404 no such offer, or not with this lease · 403 another sweep's · 409 not where the pieces end (*ret_received
 * says where) · 422 too much, or the SHA-256 differs (then the model is given up) · 503 the disk. */
int models_put(struct models *models, const char *trial, const char *lease, const char *sweep_limit, const char *name, uint64_t offset,
               const void *data, size_t len, uint64_t *ret_received, struct error *err);

/* --- giving one out ----------------------------------------------------------------------------------------- */

bool models_find(struct models *models, const char *trial, struct model *ret);

/* Those of a sweep (NULL = of all), best first: at most max. */
size_t models_list(struct models *models, const char *sweep, struct model *ret, size_t max);

/* An open descriptor of one file, with its size. -ENOENT when there is none, -EACCES when it is another sweep's. */
int models_open_file(struct models *models, const char *trial, const char *sweep_limit, const char *name, uint64_t *ret_bytes);

/* --- letting go --------------------------------------------------------------------------------------------- */

void models_forget_trial(struct models *models, const char *trial);
void models_forget_sweep(struct models *models, const char *sweep);

void models_count(struct models *models, size_t *ret_n, uint64_t *ret_bytes);
