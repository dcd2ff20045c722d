/* Between the JSON of specs and params and the doubles of opt/: one dimension at a time. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "opt/opt.h"
#include "proto/spec.h"

/* The dimension of a parameter that is not constant; choices and probabilities stay borrowed from it. */
void domain_from_parameter(const struct parameter *parameter, struct opt_dim *ret);

/* A dimension that only the evidence varies, proposals stay at `held`: its range is that of the values given (on a log
 * scale where they are positive and span a decade), or categorical when any is not a number. *ret_choices is a new array of
 * the distinct values for a categorical, else NULL. 0 or -ENOMEM. */
int domain_from_values(const json_t *const *values, size_t n, const json_t *held, struct opt_dim *ret, json_t **ret_choices);

/* The JSON of a dimension's value. choices: of a categorical, else NULL. New reference. */
json_t *domain_value(const struct opt_dim *dim, const json_t *choices, bool integer, double x);

/* And back; false when the value is none of the dimension's (wrong type, unknown choice). */
bool domain_number(const struct opt_dim *dim, const json_t *choices, const json_t *value, double *ret);

/* One text for all ways to write the same configuration: keys sorted, whole numbers without a fraction. The caller frees. */
char *config_key(const json_t *params);
