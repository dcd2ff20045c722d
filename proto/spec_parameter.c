/* `parameters` of a sweep spec: which distribution each one has, and whether its numbers make sense.
 *
 * As in Weights & Biases' schema, the distribution may be left out: `value` means constant, `values` categorical,
 * `min` and `max` int_uniform when both are integer literals (1.0 is none), else uniform. Each distribution takes
 * exactly the keys of its row in the table; any other key is a fault, never ignored. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spec_parts.h"

#define NESTING_MAX 16
#define INTEGER_MAX 9007199254740992.0 /* 2^53 */
#define EXPONENT_MAX 700.0             /* e^709.8 is the largest double */

enum { KEY_VALUE = 1, KEY_VALUES = 2, KEY_PROBABILITIES = 4, KEY_BOUNDS = 8, KEY_Q = 16, KEY_NORMAL = 32, KEY_BETA = 64 };

static const struct {
        const char *name;
        unsigned keys;
} table[N_DISTRIBUTIONS] = {
        [DIST_CONSTANT] = {"constant", KEY_VALUE},
        [DIST_CATEGORICAL] = {"categorical", KEY_VALUES | KEY_PROBABILITIES},
        [DIST_INT_UNIFORM] = {"int_uniform", KEY_BOUNDS},
        [DIST_UNIFORM] = {"uniform", KEY_BOUNDS},
        [DIST_Q_UNIFORM] = {"q_uniform", KEY_BOUNDS | KEY_Q},
        [DIST_LOG_UNIFORM] = {"log_uniform", KEY_BOUNDS},
        [DIST_LOG_UNIFORM_VALUES] = {"log_uniform_values", KEY_BOUNDS},
        [DIST_Q_LOG_UNIFORM] = {"q_log_uniform", KEY_BOUNDS | KEY_Q},
        [DIST_Q_LOG_UNIFORM_VALUES] = {"q_log_uniform_values", KEY_BOUNDS | KEY_Q},
        [DIST_INV_LOG_UNIFORM] = {"inv_log_uniform", KEY_BOUNDS},
        [DIST_INV_LOG_UNIFORM_VALUES] = {"inv_log_uniform_values", KEY_BOUNDS},
        [DIST_NORMAL] = {"normal", KEY_NORMAL},
        [DIST_Q_NORMAL] = {"q_normal", KEY_NORMAL | KEY_Q},
        [DIST_LOG_NORMAL] = {"log_normal", KEY_NORMAL},
        [DIST_Q_LOG_NORMAL] = {"q_log_normal", KEY_NORMAL | KEY_Q},
        [DIST_BETA] = {"beta", KEY_BETA},
        [DIST_Q_BETA] = {"q_beta", KEY_BETA | KEY_Q},
};

const char *distribution_name(enum distribution distribution) {
        return table[distribution].name;
}

bool distribution_is_quantised(enum distribution distribution) {
        return table[distribution].keys & KEY_Q;
}

/* --- which distribution ------------------------------------------------------------------------------ */

/* -1 after a fault. */
static int distribution_given(const struct reader *reader) {
        const char *name = reader_text(reader, "distribution", LIMIT_NAME_BYTES);
        if (!name)
                return -1;
        if (strcmp(name, "categorical_w_probabilities") == 0) {
                reader_require(reader, "probabilities");
                return DIST_CATEGORICAL;
        }
        for (int i = 0; i < N_DISTRIBUTIONS; i++)
                if (strcmp(table[i].name, name) == 0)
                        return i;
        reader_fault(reader, "distribution", "unknown distribution '%.64s'", name);
        return -1;
}

static int distribution_inferred(const struct reader *reader) {
        const json_t *min = reader_get(reader, "min"), *max = reader_get(reader, "max");
        if (json_object_get(reader->object, "value"))
                return DIST_CONSTANT;
        if (reader_get(reader, "values"))
                return DIST_CATEGORICAL;
        if (min && max && !reader_get(reader, "q"))
                return json_is_integer(min) && json_is_integer(max) ? DIST_INT_UNIFORM : DIST_UNIFORM;
        if (json_object_size(reader->object) == 0)
                faults_add(reader->faults, reader->pointer, "is empty: needs value, values, or min and max");
        else if (min || max)
                faults_add(reader->faults, reader->pointer, "needs both min and max%s",
                           reader_get(reader, "q") ? ", and with q a distribution such as q_uniform" : "");
        else
                faults_add(reader->faults, reader->pointer, "needs a distribution, or value, values, or min and max");
        return -1;
}

static void refuse_meaningless_keys(const struct reader *reader, enum distribution distribution) {
        static const struct {
                const char *key;
                unsigned bit;
        } keys[] = {
                {"value", KEY_VALUE}, {"values", KEY_VALUES}, {"probabilities", KEY_PROBABILITIES}, {"min", KEY_BOUNDS},
                {"max", KEY_BOUNDS},  {"q", KEY_Q},           {"mu", KEY_NORMAL},                   {"sigma", KEY_NORMAL},
                {"a", KEY_BETA},      {"b", KEY_BETA},
        };
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
                if (reader_get(reader, keys[i].key) && !(table[distribution].keys & keys[i].bit))
                        reader_fault(reader, keys[i].key, "has no meaning for %s", table[distribution].name);
}

/* --- numbers ----------------------------------------------------------------------------------------- */

static bool bound_parse(const struct reader *reader, const char *key, enum distribution distribution, double *ret) {
        if (!reader_require(reader, key) || !reader_number(reader, key, -HUGE_VAL, HUGE_VAL, ret))
                return false;
        double x = *ret;
        switch (distribution) {
        case DIST_INT_UNIFORM:
                if (x == floor(x) && fabs(x) <= INTEGER_MAX)
                        return true;
                reader_fault(reader, key, "must be a whole number for int_uniform");
                return false;
        case DIST_LOG_UNIFORM:
        case DIST_Q_LOG_UNIFORM:
        case DIST_INV_LOG_UNIFORM:
                if (fabs(x) <= EXPONENT_MAX)
                        return true;
                reader_fault(reader, key, "is a base-e exponent for %s and must be from %g to %g", table[distribution].name,
                             -EXPONENT_MAX, EXPONENT_MAX);
                return false;
        case DIST_LOG_UNIFORM_VALUES:
        case DIST_Q_LOG_UNIFORM_VALUES:
        case DIST_INV_LOG_UNIFORM_VALUES:
                if (x > 0)
                        return true;
                reader_fault(reader, key, "must be > 0 for %s", table[distribution].name);
                return false;
        default:
                return true;
        }
}

static bool bounds_parse(const struct reader *reader, struct parameter *parameter) {
        bool min_ok = bound_parse(reader, "min", parameter->distribution, &parameter->min);
        bool max_ok = bound_parse(reader, "max", parameter->distribution, &parameter->max);
        if (!min_ok || !max_ok)
                return false;
        if (parameter->min >= parameter->max)
                reader_fault(reader, "min", "must be less than max");
        else if (!isfinite(parameter->max - parameter->min))
                reader_fault(reader, "max", "is too far from min");
        else
                return true;
        return false;
}

static void positive_parse(const struct reader *reader, const char *key, double fallback, double *ret) {
        *ret = fallback;
        reader_positive(reader, key, ret);
}

void distribution_support(const struct parameter *parameter, double *ret_low, double *ret_high) {
        double low = parameter->min, high = parameter->max;
        switch (parameter->distribution) {
        case DIST_LOG_UNIFORM:
        case DIST_Q_LOG_UNIFORM:
                low = exp(parameter->min), high = exp(parameter->max);
                break;
        case DIST_INV_LOG_UNIFORM:
                low = exp(-parameter->max), high = exp(-parameter->min);
                break;
        case DIST_NORMAL:
        case DIST_Q_NORMAL:
                low = -HUGE_VAL, high = HUGE_VAL;
                break;
        case DIST_LOG_NORMAL:
        case DIST_Q_LOG_NORMAL:
                low = 0, high = HUGE_VAL;
                break;
        case DIST_BETA:
        case DIST_Q_BETA:
                low = 0, high = 1;
                break;
        default:
                break;
        }
        *ret_low = low, *ret_high = high;
}

/* Quantised values are clamped to the outermost multiples inside the bounds, so there must be one. */
static void quantum_check(const struct reader *reader, const struct parameter *parameter) {
        double low, high;
        distribution_support(parameter, &low, &high);
        if (ceil(low / parameter->q - 1e-9) > floor(high / parameter->q + 1e-9))
                reader_fault(reader, "q", "no multiple of q lies between the bounds");
}

static void numbers_parse(const struct reader *reader, struct parameter *parameter) {
        unsigned keys = table[parameter->distribution].keys;
        bool bounds_ok = !(keys & KEY_BOUNDS) || bounds_parse(reader, parameter);
        parameter->mu = 0;
        if (keys & KEY_NORMAL) {
                reader_number(reader, "mu", -HUGE_VAL, HUGE_VAL, &parameter->mu);
                positive_parse(reader, "sigma", 1, &parameter->sigma);
        }
        if (keys & KEY_BETA) {
                positive_parse(reader, "a", 1, &parameter->a);
                positive_parse(reader, "b", 1, &parameter->b);
        }
        parameter->integer = parameter->distribution == DIST_INT_UNIFORM;
        if (keys & KEY_Q) {
                const json_t *q = reader_get(reader, "q");
                positive_parse(reader, "q", 1, &parameter->q);
                parameter->integer = !q || json_is_integer(q);
                if (bounds_ok)
                        quantum_check(reader, parameter);
        }
}

/* --- choices ----------------------------------------------------------------------------------------- */

static bool probability_parse(const struct reader *reader, const json_t *list, size_t i, double *ret) {
        const json_t *item = json_array_get(list, i);
        double p = json_number_value(item);
        if (json_is_number(item) && isfinite(p) && p >= 0) {
                *ret = p;
                return true;
        }
        char pointer[POINTER_SIZE];
        pointer_join(pointer, sizeof pointer, reader->pointer, "probabilities");
        faults_add(reader->faults, pointer_join_index(pointer, sizeof pointer, pointer, i), "must be a number >= 0");
        return false;
}

static int probabilities_parse(const struct reader *reader, struct parameter *parameter) {
        json_t *list = reader_array(reader, "probabilities", 1, LIMIT_CHOICES);
        size_t n = json_array_size(list);
        if (!list || !parameter->values)
                return 0;
        if (n != json_array_size(parameter->values)) {
                reader_fault(reader, "probabilities", "must have as many items as values (%zu, not %zu)",
                             json_array_size(parameter->values), n);
                return 0;
        }
        parameter->probabilities = calloc(n, sizeof *parameter->probabilities);
        if (!parameter->probabilities)
                return -ENOMEM;
        bool valid = true;
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
                valid &= probability_parse(reader, list, i, &parameter->probabilities[i]);
                sum += parameter->probabilities[i];
        }
        if (valid && fabs(sum - 1) > 1e-9 * fmax(sum, 1))
                reader_fault(reader, "probabilities", "must add up to 1, not %.12g", sum);
        return 0;
}

static int choices_parse(const struct reader *reader, struct parameter *parameter) {
        if (parameter->distribution == DIST_CONSTANT) {
                json_t *value = json_object_get(reader->object, "value");
                if (!value)
                        reader_require(reader, "value");
                parameter->value = json_incref(value);
                return 0;
        }
        if (parameter->distribution != DIST_CATEGORICAL)
                return 0;
        reader_require(reader, "values");
        parameter->values = json_incref(reader_array(reader, "values", 1, LIMIT_CHOICES));
        return probabilities_parse(reader, parameter);
}

/* As a baseline it may lie outside of the bounds. */
static void fallback_parse(const struct reader *reader, struct parameter *parameter) {
        json_t *value = reader_get(reader, "default");
        if (value && (table[parameter->distribution].keys & ~(unsigned)(KEY_VALUE | KEY_VALUES | KEY_PROBABILITIES)) && !json_is_number(value))
                reader_fault(reader, "default", "must be a number, not %s", json_type_word(value));
        else
                parameter->fallback = json_incref(value);
}

/* --- one parameter, and all of them ------------------------------------------------------------------ */

static int leaf_parse(const struct reader *reader, struct parameter *parameter) {
        static const char *const keys[] = {"distribution", "value", "values", "probabilities", "min", "max", "q",
                                           "mu",           "sigma", "a",      "b",             "default", NULL};
        reader_refuse_unknown(reader, keys);
        int distribution = reader_get(reader, "distribution") ? distribution_given(reader) : distribution_inferred(reader);
        if (distribution < 0)
                return 0;
        parameter->distribution = (enum distribution)distribution;
        refuse_meaningless_keys(reader, parameter->distribution);
        numbers_parse(reader, parameter);
        fallback_parse(reader, parameter);
        return choices_parse(reader, parameter);
}

bool parameter_name_check(const struct reader *reader, const char *name, const char *full_name) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
        static const char others[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.-";
        if (strlen(full_name) > LIMIT_NAME_BYTES)
                reader_fault(reader, name, "has a name of more than %d bytes", LIMIT_NAME_BYTES);
        else if (!*name || !strchr(letters, *name) || name[strspn(name, others)])
                reader_fault(reader, name, "has a name that is not letters, digits, '_', '.' and '-' after a first letter or '_'");
        else
                return true;
        return false;
}

/* New item with its name; NULL without memory. */
static struct parameter *list_append(struct parameter_list *list, const char *name) {
        struct parameter *items = realloc(list->items, (list->n + 1) * sizeof *items);
        if (!items)
                return NULL;
        list->items = items;
        items[list->n] = (struct parameter){.name = strdup(name)};
        return items[list->n].name ? &items[list->n++] : NULL;
}

static int group_parse(const struct reader *reader, const char *prefix, unsigned depth, struct parameter_list *list);

static int nested_parse(const struct reader *reader, const char *name, unsigned depth, struct parameter_list *list) {
        static const char *const keys[] = {"parameters", NULL};
        reader_refuse_unknown(reader, keys);
        if (depth >= NESTING_MAX) {
                faults_add(reader->faults, reader->pointer, "is nested more than %d deep", NESTING_MAX);
                return 0;
        }
        const json_t *inner = json_object_get(reader->object, "parameters");
        char pointer[POINTER_SIZE];
        struct reader group;
        if (!reader_init(&group, inner, pointer_join(pointer, sizeof pointer, reader->pointer, "parameters"), reader->faults))
                return 0;
        if (json_object_size(inner) == 0)
                faults_add(reader->faults, pointer, "must have at least one parameter");
        return group_parse(&group, name, depth + 1, list);
}

static int member_parse(const struct reader *group, const char *key, const json_t *value, const char *prefix, unsigned depth,
                        struct parameter_list *list) {
        char name[2 * POINTER_SIZE], pointer[POINTER_SIZE];
        snprintf(name, sizeof name, "%.*s%s%.*s", POINTER_SIZE, prefix, *prefix ? "." : "", POINTER_SIZE - 2, key);
        struct reader reader;
        bool named = parameter_name_check(group, key, name);
        if (!reader_init(&reader, value, pointer_join(pointer, sizeof pointer, group->pointer, key), group->faults) || !named)
                return 0;
        if (json_object_get(value, "parameters"))
                return nested_parse(&reader, name, depth, list);
        if (list->n >= LIMIT_PARAMETERS) {
                faults_add(group->faults, pointer, "is one parameter too many: at most %d", LIMIT_PARAMETERS);
                return 0;
        }
        if (parameter_find(list, name)) {
                faults_add(group->faults, pointer, "is given twice: '%.128s'", name);
                return 0;
        }
        struct parameter *parameter = list_append(list, name);
        return parameter ? leaf_parse(&reader, parameter) : -ENOMEM;
}

static int group_parse(const struct reader *reader, const char *prefix, unsigned depth, struct parameter_list *list) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)reader->object, key, value) {
                int r = member_parse(reader, key, value, prefix, depth, list);
                if (r < 0)
                        return r;
        }
        return 0;
}

int parameters_parse(const struct reader *reader, const char *key, struct parameter_list *list) {
        const json_t *object = reader_object(reader, key);
        if (!object)
                return 0;
        char pointer[POINTER_SIZE];
        struct reader group;
        reader_init(&group, object, pointer_join(pointer, sizeof pointer, reader->pointer, key), reader->faults);
        if (json_object_size(object) == 0)
                faults_add(reader->faults, pointer, "must have at least one parameter");
        return group_parse(&group, "", 0, list);
}

void parameters_fini(struct parameter_list *list) {
        for (size_t i = 0; i < list->n; i++) {
                free(list->items[i].name);
                json_decref(list->items[i].value);
                json_decref(list->items[i].values);
                json_decref(list->items[i].fallback);
                free(list->items[i].probabilities);
        }
        free(list->items);
        *list = (struct parameter_list){0};
}

const struct parameter *parameter_find(const struct parameter_list *list, const char *name) {
        for (size_t i = 0; i < list->n; i++)
                if (strcmp(list->items[i].name, name) == 0)
                        return &list->items[i];
        return NULL;
}
