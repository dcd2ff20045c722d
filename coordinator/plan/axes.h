/* The grid of a stage: one axis a parameter, sorted by name, the last one varying fastest (Weights & Biases' order). */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/spec.h"

struct axis {
        const char *name;     /* borrowed from the spec */
        const json_t *values; /* borrowed array, or NULL for a range */
        double first, step;   /* of a range */
        bool integer;
        uint64_t count;
};

void axis_from_levels(const struct level_set *levels, struct axis *ret);

/* A discrete parameter: choices, int_uniform's every value, q_uniform's multiples from min, max excluded as in W&B. */
void axis_from_parameter(const struct parameter *parameter, struct axis *ret);

void axes_sort(struct axis *axes, size_t n);

/* Number of grid points; saturates at UINT64_MAX. */
uint64_t axes_count(const struct axis *axes, size_t n);

/* The values of grid point `index` into params (dotted names become nested objects). 0 or -ENOMEM, -EINVAL. */
int axes_apply(const struct axis *axes, size_t n, uint64_t index, json_t *params);
