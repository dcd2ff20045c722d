/* A study of Optuna (its SQLite storage) as a sweep spec of ours and trials to begin with: those that were completed, and those that
 * were pruned, which have the value of their last step. Reads only, and only what versions 3 to 5 write. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define OPTUNA_TRIALS_MAX 10000 /* what a warm_start takes */

struct optuna_tally {
        uint64_t n_taken, n_pruned; /* trials; pruned: of those that were taken */
        uint64_t n_failed, n_open, n_without_value, n_partial, n_too_many; /* open: running or waiting; partial: without some of the parameters */
        uint64_t n_points, stride; /* with series: points taken, of each trial every stride-th and its last */
};

/* study NULL: the only one. metric: what the value shall be called. *ret_spec: {"name","method","trainer","metric","parameters"};
 * *ret_trials: [{"params","value"},…], pruned ones with "state":"stopped", and with_series with the intermediate values as "metrics".
 * New references. -EINVAL, -ENOENT with a sentence. */
int store_read_optuna(const char *path, const char *study, const char *metric, bool with_series, json_t **ret_spec, json_t **ret_trials,
                      struct optuna_tally *ret_tally, struct error *err);
