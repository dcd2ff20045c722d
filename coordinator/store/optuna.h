/* A study of Optuna (its SQLite storage) as a sweep spec of ours with its finished trials as warm_start. Reads only, and only
 * what versions 3 to 5 write. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define OPTUNA_TRIALS_MAX 10000 /* what a warm_start takes */

struct optuna_tally {
        uint64_t n_taken, n_unfinished, n_without_value, n_partial, n_too_many; /* trials; partial: without some of the parameters */
};

/* study NULL: the only one. metric: what the value shall be called. The spec: {"name","method","trainer","metric","parameters",
 * "warm_start"}, new reference. -EINVAL, -ENOENT with a sentence. */
int store_read_optuna(const char *path, const char *study, const char *metric, json_t **ret_spec, struct optuna_tally *ret_tally, struct error *err);
