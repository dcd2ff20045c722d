/* What several sections of the report read of a trial's JSON. */
#pragma once
#include <jansson.h>

/* NaN where there is none. */
double trial_value(const json_t *trial);

/* Adds the names of its parameters, dotted for those in groups, to the object `names`. prefix: of the group, "" at the top. */
void trial_names(json_t *names, const char *prefix, const json_t *params);
