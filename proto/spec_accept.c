/* Does a value lie in the domain of its parameter? */
#include <math.h>
#include <stdio.h>

#include "proto/limits.h"
#include "proto/spec_parts.h"

/* 1 and 1.0 are the same choice, as in Python. */
static bool same_value(const json_t *a, const json_t *b) {
        if (json_is_number(a) && json_is_number(b))
                return json_number_value(a) == json_number_value(b);
        return json_equal(a, b);
}

static bool accepts_choice(const struct parameter *parameter, const json_t *value, char detail[static 256]) {
        for (size_t i = 0; i < json_array_size(parameter->values); i++)
                if (same_value(json_array_get(parameter->values, i), value))
                        return true;
        snprintf(detail, 256, "is none of the parameter's values");
        return false;
}

/* Bounds that went through exp() may be off in their last digits. */
static bool accepts_number(const struct parameter *parameter, double x, char detail[static 256]) {
        double low, high;
        distribution_support(parameter, &low, &high);
        double slack = 1e-12 * fmin(fmax(fabs(low), fabs(high)), 1e300);
        bool open = parameter->distribution == DIST_LOG_NORMAL;
        if (parameter->integer && x != floor(x))
                snprintf(detail, 256, "must be a whole number");
        else if (x < low - slack || (open && x <= 0))
                snprintf(detail, 256, "must be %s %.12g", open ? ">" : "at least", low);
        else if (x > high + slack)
                snprintf(detail, 256, "must be at most %.12g", high);
        else
                return true;
        return false;
}

bool parameter_accepts(const struct parameter *parameter, const json_t *value, char detail[static 256]) {
        if (parameter->distribution == DIST_CATEGORICAL)
                return accepts_choice(parameter, value, detail);
        if (parameter->distribution == DIST_CONSTANT) {
                if (same_value(parameter->value, value))
                        return true;
                snprintf(detail, 256, "must be the parameter's constant value");
                return false;
        }
        if (!json_is_number(value)) {
                snprintf(detail, 256, "must be a number, not %s", json_type_word(value));
                return false;
        }
        return accepts_number(parameter, json_number_value(value), detail);
}
