#include "plan/domain.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"

/* Log scale for a held dimension: positive values that span at least this factor. */
#define LOG_SCALE_SPAN 8.0

void domain_from_parameter(const struct parameter *p, struct opt_dim *ret) {
        struct opt_dim dim = {.low = p->min, .high = p->max, .mu = p->mu, .sigma = p->sigma, .a = p->a, .b = p->b};
        if (distribution_is_quantised(p->distribution))
                dim.step = p->q;
        switch (p->distribution) {
        case DIST_CONSTANT:
        case DIST_CATEGORICAL:
                dim.kind = OPT_CATEGORICAL;
                dim.n_choices = p->distribution == DIST_CONSTANT ? 1 : json_array_size(p->values);
                dim.probabilities = p->probabilities;
                break;
        case DIST_INT_UNIFORM:
                dim.kind = OPT_INTEGER;
                break;
        case DIST_UNIFORM:
        case DIST_Q_UNIFORM:
                dim.kind = OPT_UNIFORM;
                break;
        case DIST_LOG_UNIFORM: /* the old form gives base-e exponents */
        case DIST_Q_LOG_UNIFORM:
                dim.kind = OPT_LOG_UNIFORM;
                dim.low = exp(p->min);
                dim.high = exp(p->max);
                break;
        case DIST_LOG_UNIFORM_VALUES:
        case DIST_Q_LOG_UNIFORM_VALUES:
                dim.kind = OPT_LOG_UNIFORM;
                break;
        case DIST_INV_LOG_UNIFORM: /* log(1/x) lies between the exponents */
                dim.kind = OPT_INV_LOG_UNIFORM;
                dim.low = exp(-p->max);
                dim.high = exp(-p->min);
                break;
        case DIST_INV_LOG_UNIFORM_VALUES:
                dim.kind = OPT_INV_LOG_UNIFORM;
                break;
        case DIST_NORMAL:
        case DIST_Q_NORMAL:
                dim.kind = OPT_NORMAL;
                break;
        case DIST_LOG_NORMAL:
        case DIST_Q_LOG_NORMAL:
                dim.kind = OPT_LOG_NORMAL;
                break;
        case DIST_BETA:
        case DIST_Q_BETA:
                dim.kind = OPT_BETA;
                dim.low = 0;
                dim.high = 1;
                break;
        case N_DISTRIBUTIONS:
                break;
        }
        *ret = dim;
}

static json_t *distinct(const json_t *const *values, size_t n) {
        json_t *choices = json_array();
        for (size_t i = 0; choices && i < n; i++) {
                size_t k = 0;
                while (k < json_array_size(choices) && !json_same(json_array_get(choices, k), values[i]))
                        k++;
                if (k == json_array_size(choices) && json_array_append(choices, (json_t *)values[i]) < 0) {
                        json_decref(choices);
                        return NULL;
                }
        }
        return choices;
}

int domain_from_values(const json_t *const *values, size_t n, const json_t *held, struct opt_dim *ret, json_t **ret_choices) {
        struct opt_dim dim = {.kind = OPT_UNIFORM, .low = INFINITY, .high = -INFINITY, .held = true};
        *ret_choices = NULL;
        for (size_t i = 0; i < n; i++) {
                if (!json_is_number(values[i])) {
                        dim.kind = OPT_CATEGORICAL;
                        break;
                }
                dim.low = fmin(dim.low, json_number_value(values[i]));
                dim.high = fmax(dim.high, json_number_value(values[i]));
        }
        if (dim.kind == OPT_CATEGORICAL) {
                *ret_choices = distinct(values, n);
                if (!*ret_choices)
                        return -ENOMEM;
                dim.n_choices = json_array_size(*ret_choices);
        } else if (dim.low > 0 && dim.high / dim.low >= LOG_SCALE_SPAN) {
                dim.kind = OPT_LOG_UNIFORM;
        } else if (!(dim.high > dim.low)) {
                dim.high = dim.low + 1;
        }
        domain_number(&dim, *ret_choices, held, &dim.held_value);
        *ret = dim;
        return 0;
}

json_t *domain_value(const struct opt_dim *dim, const json_t *choices, bool integer, double x) {
        if (dim->kind == OPT_CATEGORICAL)
                return json_incref(json_array_get(choices, (size_t)x));
        return json_number(x, integer);
}

bool domain_number(const struct opt_dim *dim, const json_t *choices, const json_t *value, double *ret) {
        if (dim->kind == OPT_CATEGORICAL) {
                for (size_t i = 0; i < json_array_size(choices); i++) {
                        if (json_same(json_array_get(choices, i), value)) {
                                *ret = (double)i;
                                return true;
                        }
                }
                return false;
        }
        if (!json_is_number(value))
                return false;
        *ret = json_number_value(value);
        return true;
}

/* A deep copy in which whole reals have become integers; all of it, or NULL when out of memory: a part would be the key of another one. */
static json_t *normalise(const json_t *value) {
        if (json_is_real(value))
                return json_number(json_real_value(value), true);
        if (json_is_array(value)) {
                json_t *copy = json_array();
                for (size_t i = 0; copy && i < json_array_size(value); i++)
                        if (json_array_append_new(copy, normalise(json_array_get(value, i))) < 0) {
                                json_decref(copy);
                                return NULL;
                        }
                return copy;
        }
        if (json_is_object(value)) {
                json_t *copy = json_object(), *member;
                const char *key;
                json_object_foreach((json_t *)value, key, member)
                        if (json_object_set_new(copy, key, normalise(member)) < 0) {
                                json_decref(copy);
                                return NULL;
                        }
                return copy;
        }
        return json_incref((json_t *)value);
}

char *config_key(const json_t *params) {
        _cleanup_json_ json_t *copy = normalise(params);
        return copy ? json_canonical(copy) : NULL;
}
