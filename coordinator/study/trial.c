#include "study/trial.h"

#include <math.h>
#include <stdio.h>

double trial_value(const json_t *trial) {
        const json_t *value = json_object_get(trial, "value");
        return json_is_number(value) ? json_number_value(value) : NAN;
}

void trial_names(json_t *names, const char *prefix, const json_t *params) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                char name[128];
                snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (json_is_object(value) && json_object_size(value) > 0)
                        trial_names(names, name, value);
                else
                        json_object_set_new(names, name, json_true());
        }
}
