/* What the replays of golden data share: one JSON line per compared quantity, and packed batches read from JSON. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "model/model.h"
#include "model/safetensors.h"
#include "train/schedule.h"

struct report {
        const char *name; /* the case */
        bool bf16;        /* products of bfloat16 factors: errors are told, not judged (tolerance and ok are null) */
        int threads;
        bool failed;      /* some quantity was not ok */
};

/* Prints the line; NaN is never ok. */
void report_quantity(struct report *report, const char *quantity, double max_error, double tolerance);
/* The same for quantity "PREFIX.NAME". */
void report_tensor(struct report *report, const char *prefix, const char *name, double max_error, double tolerance);

/* Reads DIR/NAME as one JSON value. */
int golden_read_json(const char *folder, const char *name, json_t **ret, struct error *err);

struct golden_batch {
        struct batch batch; /* points into the arrays below */
        int32_t *ids, *offsets, *labels;
};
void golden_batch_fini(struct golden_batch *batch);
/* From lists of ids and labels: [[2, 9, …], …], [0, 1, …]. */
int golden_batch_init(struct golden_batch *ret, const json_t *ids, const json_t *labels, struct error *err);

/* Largest |a[i] - b[i]|; NaN if one is. b as JSON: a list, or a list of lists, of numbers. */
double golden_max_difference(const float *a, const double *b, size_t n);
double golden_max_difference_json(const float *a, const json_t *b);
double golden_l2(const float *a, size_t n);
/* max(have), keeping a NaN that was there or comes */
double golden_worst(double have, double next);

/* |value - truth| / |truth|, or the plain difference where the truth is 0. */
double golden_relative(double value, double truth);

/* One optimizer step of a trajectory, in the trainer's order: forward and backward, norm, clip, AdamW. */
struct golden_step {
        double lr, loss, grad_norm;
};
struct golden_step golden_train_step(struct model *model, const struct batch *batch, const struct schedule *schedule,
                                     uint64_t step, float *logits);

/* How all of them compute. */
struct golden_mode {
        bool bf16;
        int threads;
};

int golden_replay_case(const char *folder, const struct golden_mode *mode, bool *ret_ok, struct error *err);
int golden_replay_fullsize(const char *folder, const char *expected, const struct golden_mode *mode, bool *ret_ok, struct error *err);
int golden_replay_real(const char *folder, const char *model, const char *data, const struct golden_mode *mode, bool *ret_ok, struct error *err);
