/* One training from files to outcome. */
#pragma once
#include <signal.h>
#include <stdint.h>

#include "train/events.h"
#include "train/job.h"

/* What computes here. Checkpoints of anything else are refused: they might not continue exactly. */
struct train_build {
        const char *program;         /* its version, its own bytes, the C library */
        const char *blas, *blas_core; /* the library, and the processor that it takes this one for */
        const char *kernels;         /* our own: the instruction set */
};

/* What training a model within these limits takes. */
struct model_shape;
struct model_limits;
struct train_need {
        uint64_t arena_bytes, resident_bytes, address_bytes; /* the model's own, with the libraries' buffers, of address space */
};
struct train_need train_need(const struct model_shape *shape, const struct model_limits *limits);

/* Reads model and data, resumes where a checkpoint says so, trains, and fills *ret, which is not yet sent. Returns soon
 * after *stop becomes non-zero, with a checkpoint written. */
void train_run(const struct job *job, const struct train_build *build, struct events *events, const volatile sig_atomic_t *stop, struct outcome *ret);
