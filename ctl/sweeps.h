/* What commands in files of their own share with those about sweeps. */
#pragma once
#include "ctl.h"

/* GET /v1/sweeps/ID followed by `rest`; exit code as ctl_call. */
int get_sweep(struct ctl *ctl, const char *id, const char *rest, struct answer *ret);

double count_of(const json_t *sweep, const char *state);
double count_ended(const json_t *sweep);

/* `export --format tensorboard`: a new folder with a run for every trial. The exit code. */
int export_tensorboard(struct ctl *ctl, const char *sweep, const char *target);
