/* `stages` of a staged sweep, and the single stage that stands for every other method.
 *
 * A stage needs a value for every parameter that it does not vary: those stay at the baseline. That is checked over
 * all stages at the end (spec_check_names), when every name is known. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spec_parts.h"

/* --- levels and values ------------------------------------------------------------------------------- */

static int level_set_append(struct level_set **sets, size_t *n, const char *name, json_t *values) {
        struct level_set *grown = realloc(*sets, (*n + 1) * sizeof *grown);
        if (!grown)
                return -ENOMEM;
        *sets = grown;
        grown[*n] = (struct level_set){.name = strdup(name), .values = json_incref(values)};
        if (!grown[(*n)++].name)
                return -ENOMEM;
        return 0;
}

int level_sets_parse(const struct reader *reader, const char *key, struct level_set **ret, size_t *ret_n) {
        json_t *object = reader_object(reader, key);
        if (!object)
                return 0;
        char pointer[POINTER_SIZE];
        struct reader inner;
        reader_init(&inner, object, pointer_join(pointer, sizeof pointer, reader->pointer, key), reader->faults);
        if (json_object_size(object) == 0)
                reader_fault(reader, key, "must name at least one parameter");
        if (json_object_size(object) > LIMIT_PARAMETERS) {
                reader_fault(reader, key, "must name at most %d parameters", LIMIT_PARAMETERS);
                return 0;
        }
        const char *name;
        json_t *values;
        json_object_foreach(object, name, values) {
                reader_require(&inner, name);
                bool named = parameter_name_check(&inner, name, name);
                if (!reader_array(&inner, name, 1, LIMIT_CHOICES) || !named)
                        continue;
                int r = level_set_append(ret, ret_n, name, values);
                if (r < 0)
                        return r;
        }
        return 0;
}

void level_sets_fini(struct level_set *sets, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(sets[i].name);
                json_decref(sets[i].values);
        }
        free(sets);
}

const struct level_set *level_set_find(const struct level_set *sets, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(sets[i].name, name) == 0)
                        return &sets[i];
        return NULL;
}

/* --- grids ------------------------------------------------------------------------------------------- */

/* W&B: a grid takes categorical (without probabilities), constant, int_uniform and q_uniform. NULL when it does. */
static const char *grid_fault(const struct parameter *parameter) {
        switch (parameter->distribution) {
        case DIST_CATEGORICAL:
                return parameter->probabilities ? "a grid has no use for probabilities" : NULL;
        case DIST_CONSTANT:
        case DIST_INT_UNIFORM:
        case DIST_Q_UNIFORM:
                return NULL;
        default:
                return "is continuous: a grid needs values, a constant, int_uniform or q_uniform";
        }
}

void parameter_pointer(char *ret, size_t size, const json_t *document, const char *pointer, const char *name) {
        pointer_join(ret, size, pointer, "parameters");
        const json_t *group = json_object_get(document, "parameters");
        for (const char *rest = name; rest;) {
                const char *dot = strchr(rest, '.');
                if (!dot || json_object_get(group, rest)) {
                        pointer_join(ret, size, ret, rest);
                        return;
                }
                char part[LIMIT_NAME_BYTES + 1];
                const json_t *child = NULL;
                for (; dot && !child; dot = child ? dot : strchr(dot + 1, '.')) {
                        snprintf(part, sizeof part, "%.*s", (int)(dot - rest), rest);
                        child = json_object_get(group, part);
                }
                if (!child)
                        return;
                pointer_join(ret, size, pointer_join(ret, size, ret, part), "parameters");
                group = json_object_get(child, "parameters");
                rest = dot + 1;
        }
}

static void grid_check(const struct reader *reader, const struct parameter_list *parameters) {
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < parameters->n; i++) {
                const char *fault = grid_fault(&parameters->items[i]);
                if (!fault)
                        continue;
                parameter_pointer(pointer, sizeof pointer, reader->object, reader->pointer, parameters->items[i].name);
                faults_add(reader->faults, pointer, "%s", fault);
        }
}

/* --- one stage of a staged sweep --------------------------------------------------------------------- */

static int stage_method(const struct reader *reader) {
        if (!reader_require(reader, "method"))
                return -1;
        const char *name = reader_text(reader, "method", LIMIT_NAME_BYTES);
        if (!name)
                return -1;
        int method = method_from_name(name);
        if (method < 0 || method == METHOD_STAGED) {
                reader_fault(reader, "method", "must be ofat, grid, random, sobol, bayes or confirm");
                return -1;
        }
        return method;
}

static void refuse(const struct reader *reader, const char *key, enum method method) {
        if (reader_get(reader, key))
                reader_fault(reader, key, "has no meaning for a stage of method %s", method_name(method));
}

static void stage_warm_start_parse(const struct reader *reader, struct stage_spec *stage) {
        const json_t *value = reader_get(reader, "warm_start");
        if (json_is_object(value) || json_is_array(value))
                reader_fault(reader, "warm_start", "of a stage is true or false: other evidence belongs to the whole sweep");
        else
                reader_boolean(reader, "warm_start", &stage->warm_start);
}

static void stage_numbers_parse(const struct reader *reader, struct stage_spec *stage) {
        int64_t n;
        if (reader_integer(reader, "run_cap", 1, RUN_CAP_MAX, &n))
                stage->run_cap = (uint64_t)n;
        if (reader_integer(reader, "select_top", 1, LIMIT_PARAMETERS, &n))
                stage->select_top = (size_t)n;
        reader_boolean(reader, "pause_after", &stage->pause_after);
}

/* The best configurations of the stages before, again. */
static void confirm_stage_parse(const struct reader *reader, struct stage_spec *stage) {
        static const char *const meaningless[] = {"levels", "values", "parameters", "select_top", "run_cap", "warm_start"};
        for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; i++)
                refuse(reader, meaningless[i], METHOD_CONFIRM);
        int64_t n;
        stage->top_k = reader_integer(reader, "top_k", 1, LIMIT_TOP_K, &n) ? (unsigned)n : DEFAULT_TOP_K;
        stage->repeats = reader_integer(reader, "repeats", 2, LIMIT_REPEATS, &n) ? (unsigned)n : DEFAULT_CONFIRM_REPEATS;
}

static int ofat_stage_parse(const struct reader *reader, struct stage_spec *stage) {
        static const char *const meaningless[] = {"values", "parameters", "select_top", "run_cap", "warm_start"};
        for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; i++)
                refuse(reader, meaningless[i], METHOD_OFAT);
        reader_require(reader, "levels");
        return level_sets_parse(reader, "levels", &stage->levels, &stage->n_levels);
}

static int grid_stage_parse(const struct reader *reader, const struct parameter_list *all, struct stage_spec *stage) {
        static const char *const meaningless[] = {"levels", "parameters", "warm_start"};
        for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; i++)
                refuse(reader, meaningless[i], METHOD_GRID);
        if (reader_get(reader, "values"))
                return level_sets_parse(reader, "values", &stage->levels, &stage->n_levels);
        if (all->n == 0)
                reader_require(reader, "values");
        for (size_t i = 0; i < all->n; i++)
                if (grid_fault(&all->items[i]))
                        reader_fault(reader, "values", "is required: '%s' of parameters is not a list of values", all->items[i].name);
        return 0;
}

static int model_stage_parse(const struct reader *reader, const struct parameter_list *all, struct stage_spec *stage) {
        refuse(reader, "levels", stage->method);
        refuse(reader, "values", stage->method);
        if (stage->method == METHOD_BAYES)
                stage_warm_start_parse(reader, stage);
        else
                refuse(reader, "warm_start", stage->method);
        if (!reader_get(reader, "parameters") && all->n == 0)
                reader_require(reader, "parameters");
        int r = parameters_parse(reader, "parameters", &stage->parameters);
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < stage->parameters.n; i++)
                if (stage->parameters.items[i].fallback) {
                        parameter_pointer(pointer, sizeof pointer, reader->object, reader->pointer, stage->parameters.items[i].name);
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, pointer, "default"), "belongs in the parameters of the sweep");
                }
        return r;
}

static int stage_parse(const struct reader *reader, const struct parameter_list *all, struct stage_spec *stage) {
        static const char *const keys[] = {"method",  "levels",     "values",      "parameters", "select_top",
                                           "run_cap", "warm_start", "pause_after", "top_k",      "repeats", NULL};
        reader_refuse_unknown(reader, keys);
        int method = stage_method(reader);
        if (method < 0)
                return 0;
        stage->method = (enum method)method;
        stage_numbers_parse(reader, stage);
        if (stage->method == METHOD_CONFIRM) {
                confirm_stage_parse(reader, stage);
                return 0;
        }
        refuse(reader, "top_k", stage->method);
        if (reader_get(reader, "repeats"))
                reader_fault(reader, "repeats", "belongs to the whole sweep, or to a stage of method confirm");
        if (stage->method == METHOD_OFAT)
                return ofat_stage_parse(reader, stage);
        return stage->method == METHOD_GRID ? grid_stage_parse(reader, all, stage) : model_stage_parse(reader, all, stage);
}

/* --- all stages -------------------------------------------------------------------------------------- */

/* What a stage needs of the others: a ranking before select_top, an end before the next one. */
static void order_check(const struct reader *reader, const struct sweep_spec *spec, size_t i, bool ranked) {
        const struct stage_spec *stage = &spec->stages[i];
        if (stage->method == METHOD_CONFIRM && i == 0)
                reader_fault(reader, "method", "confirm needs a stage before this one");
        if (stage->select_top > 0 && !ranked)
                reader_fault(reader, "select_top", "needs an ofat stage before this one");
        bool endless = stage->method == METHOD_RANDOM || stage->method == METHOD_SOBOL || stage->method == METHOD_BAYES;
        if (endless && i + 1 < spec->n_stages && !reader_get(reader, "run_cap"))
                reader_fault(reader, "run_cap", "is required: without it the stage after this one never starts");
}

static int staged_parse(const struct reader *reader, struct sweep_spec *spec) {
        if (!reader_require(reader, "stages"))
                return 0;
        json_t *list = reader_array(reader, "stages", 1, LIMIT_STAGES);
        size_t n = json_array_size(list);
        if (n == 0)
                return 0;
        spec->stages = calloc(n, sizeof *spec->stages);
        if (!spec->stages)
                return -ENOMEM;
        spec->n_stages = n;
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "stages");
        bool ranked = false;
        for (size_t i = 0; i < n; i++) {
                struct reader inner;
                pointer_join_index(pointer, sizeof pointer, base, i);
                if (!reader_init(&inner, json_array_get(list, i), pointer, reader->faults))
                        continue;
                int r = stage_parse(&inner, &spec->parameters, &spec->stages[i]);
                if (r < 0)
                        return r;
                order_check(&inner, spec, i, ranked);
                ranked |= spec->stages[i].method == METHOD_OFAT;
        }
        return 0;
}

static int levels_copy(const struct sweep_spec *spec, struct stage_spec *stage) {
        for (size_t i = 0; i < spec->n_levels; i++) {
                int r = level_set_append(&stage->levels, &stage->n_levels, spec->levels[i].name, spec->levels[i].values);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int single_parse(const struct reader *reader, struct sweep_spec *spec) {
        if (reader_get(reader, "stages"))
                reader_fault(reader, "stages", "has no meaning for method %s", method_name(spec->method));
        spec->stages = calloc(1, sizeof *spec->stages);
        if (!spec->stages)
                return -ENOMEM;
        spec->n_stages = 1;
        spec->stages[0].method = spec->method;
        if (spec->method == METHOD_OFAT) {
                reader_require(reader, "levels");
                return levels_copy(spec, &spec->stages[0]);
        }
        reader_require(reader, "parameters");
        if (spec->method == METHOD_GRID)
                grid_check(reader, &spec->parameters);
        return 0;
}

int stages_parse(const struct reader *reader, struct sweep_spec *spec) {
        int r = 0;
        if (spec->method == METHOD_OFAT)
                r = level_sets_parse(reader, "levels", &spec->levels, &spec->n_levels);
        else if (reader_get(reader, "levels") && spec->method == METHOD_STAGED)
                reader_fault(reader, "levels", "belongs in a stage of method ofat");
        else if (reader_get(reader, "levels"))
                reader_fault(reader, "levels", "has no meaning for method %s", method_name(spec->method));
        if (r < 0)
                return r;
        return spec->method == METHOD_STAGED ? staged_parse(reader, spec) : single_parse(reader, spec);
}

void stage_fini(struct stage_spec *stage) {
        level_sets_fini(stage->levels, stage->n_levels);
        parameters_fini(&stage->parameters);
        *stage = (struct stage_spec){0};
}
