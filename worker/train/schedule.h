/* Learning-rate schedules as Hugging Face's get_scheduler defines them, computed in double. Pure functions: step k of a
 * training (counted from 0) uses rate · factor(k), so that with warmup the first step has rate 0. */
#pragma once
#include <stdint.h>

enum schedule_kind {
        SCHEDULE_LINEAR,
        SCHEDULE_COSINE,
        SCHEDULE_COSINE_WITH_RESTARTS,
        SCHEDULE_POLYNOMIAL,
        SCHEDULE_CONSTANT,
        SCHEDULE_CONSTANT_WITH_WARMUP,
};

struct schedule {
        enum schedule_kind kind;
        uint64_t warmup_steps, total_steps;
        double learning_rate; /* the rate that factors multiply; polynomial decay ends at an absolute rate */
};

/* Where polynomial decay ends; its learning rate must be above this. */
#define SCHEDULE_POLYNOMIAL_END 1e-7

/* "linear", "cosine", … → kind; -EINVAL. */
int schedule_kind_parse(const char *text, enum schedule_kind *ret);

/* The multiplier of the rate that optimizer step `step` (from 0) uses. */
double schedule_factor(const struct schedule *schedule, uint64_t step);

/* ceil(total · ratio), as transformers turns warmup_ratio into steps. */
uint64_t schedule_warmup_from_ratio(uint64_t total_steps, double ratio);

/* Optimizer steps of a whole epoch and of a training: batches // accumulation (at least 1), ceil(epochs · that). */
uint64_t schedule_steps_per_epoch(uint64_t batches, uint64_t accumulation);
uint64_t schedule_total_steps(uint64_t steps_per_epoch, double epochs);
