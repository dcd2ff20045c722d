/* One training from files to outcome. */
#pragma once
#include <signal.h>

#include "train/events.h"
#include "train/job.h"

/* Reads model and data, resumes where a checkpoint says so, trains, and fills *ret, which is not yet sent. build names
 * the program and the BLAS library: checkpoints of another one are refused. Returns soon after *stop becomes non-zero,
 * with a checkpoint written. */
void train_run(const struct job *job, const char *build, struct events *events, const volatile sig_atomic_t *stop, struct outcome *ret);
