/* What can be checked only when the whole spec is known: names that clash, and baselines that are missing. */
#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spec_parts.h"

/* --- the set of all names, as an object of true ------------------------------------------------------ */

static int add_name(json_t *names, const char *name) {
        return json_object_set_new(names, name, json_true()) < 0 ? -ENOMEM : 0;
}

static int add_levels(json_t *names, const struct level_set *sets, size_t n) {
        int r = 0;
        for (size_t i = 0; i < n && r == 0; i++)
                r = add_name(names, sets[i].name);
        return r;
}

static int add_parameters(json_t *names, const struct parameter_list *list) {
        int r = 0;
        for (size_t i = 0; i < list->n && r == 0; i++)
                r = add_name(names, list->items[i].name);
        return r;
}

static int add_varied(json_t *names, const struct sweep_spec *spec) {
        int r = add_parameters(names, &spec->parameters);
        for (size_t i = 0; i < spec->n_stages && r == 0; i++) {
                r = add_levels(names, spec->stages[i].levels, spec->stages[i].n_levels);
                if (r == 0)
                        r = add_parameters(names, &spec->stages[i].parameters);
        }
        return r;
}

/* --- clashes ----------------------------------------------------------------------------------------- */

/* "a" and "a.b" cannot both be there: in a trial's params `a` is either a value or a group. */
static void check_groups(const struct reader *reader, const json_t *names, const json_t *fixed) {
        const char *name;
        json_t *ignored;
        char group[LIMIT_NAME_BYTES + 1];
        json_object_foreach((json_t *)names, name, ignored) {
                for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
                        size_t len = (size_t)(dot - name);
                        if (len >= sizeof group)
                                break;
                        memcpy(group, name, len);
                        group[len] = 0;
                        if (json_object_get(names, group))
                                faults_add(reader->faults, reader->pointer, "'%.128s' cannot be a value and the group of '%.128s'", group, name);
                        if (json_object_get(fixed, group))
                                faults_add(reader->faults, reader->pointer, "'%.128s' is fixed and cannot be the group of '%.128s'", group, name);
                }
        }
}

static void check_fixed(const struct reader *reader, const json_t *names, const json_t *fixed) {
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "fixed");
        const char *name;
        json_t *ignored;
        json_object_foreach((json_t *)fixed, name, ignored) {
                if (json_object_get(names, name))
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, base, name),
                                   "cannot be fixed and be among the parameters, levels or baseline too");
        }
}

static bool has_fallback(const struct sweep_spec *spec, const char *name) {
        const struct parameter *parameter = parameter_find(&spec->parameters, name);
        return parameter && parameter->fallback;
}

static bool is_constant(const struct sweep_spec *spec, const char *name) {
        const struct parameter *parameter = parameter_find(&spec->parameters, name);
        return parameter && parameter->distribution == DIST_CONSTANT;
}

static void check_constants(const struct reader *reader, const struct sweep_spec *spec) {
        char pointer[POINTER_SIZE], detail[256];
        for (size_t i = 0; i < spec->parameters.n; i++) {
                const struct parameter *parameter = &spec->parameters.items[i];
                if (parameter->distribution != DIST_CONSTANT || !parameter->value)
                        continue;
                const json_t *base = json_object_get(spec->baseline, parameter->name);
                pointer_join(pointer, sizeof pointer, reader->pointer, "baseline");
                if (base && !parameter_accepts(parameter, base, detail))
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, pointer, parameter->name), "%s", detail);
                for (size_t s = 0; s < spec->n_stages; s++)
                        if (level_set_find(spec->stages[s].levels, spec->stages[s].n_levels, parameter->name))
                                faults_add(reader->faults, reader->pointer, "'%s' is a constant and cannot have levels", parameter->name);
        }
}

/* --- baselines --------------------------------------------------------------------------------------- */

/* A baseline may lie outside the bounds, as levels may, but what is a number must be one. */
static void check_kinds(const struct reader *reader, const struct sweep_spec *spec) {
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "baseline");
        for (size_t i = 0; i < spec->parameters.n; i++) {
                const struct parameter *parameter = &spec->parameters.items[i];
                const json_t *value = json_object_get(spec->baseline, parameter->name);
                if (value && parameter->fallback && !json_equal(value, parameter->fallback) &&
                    !(json_is_number(value) && json_number_value(value) == json_number_value(parameter->fallback)))
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, base, parameter->name), "is not the parameter's default");
                if (parameter->distribution != DIST_CATEGORICAL && parameter->distribution != DIST_CONSTANT && value && !json_is_number(value))
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, base, parameter->name), "must be a number");
        }
}

/* Does every trial of the stage get its value of this parameter from the stage itself? */
static bool stage_always_varies(const struct sweep_spec *spec, const struct stage_spec *stage, const char *name) {
        if (stage->method == METHOD_CONFIRM) /* all values come from another stage's trials */
                return true;
        if (stage->method == METHOD_OFAT || stage->select_top > 0)
                return false;
        if (stage->n_levels > 0)
                return level_set_find(stage->levels, stage->n_levels, name);
        return parameter_find(stage->parameters.n > 0 ? &stage->parameters : &spec->parameters, name);
}

static void check_baseline(const struct reader *reader, const struct sweep_spec *spec, const json_t *varied) {
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "baseline");
        const char *name;
        json_t *ignored;
        json_object_foreach((json_t *)varied, name, ignored) {
                if (json_object_get(spec->baseline, name) || is_constant(spec, name) || has_fallback(spec, name))
                        continue;
                for (size_t i = 0; i < spec->n_stages; i++) {
                        if (stage_always_varies(spec, &spec->stages[i], name))
                                continue;
                        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, base, name),
                                   "is required: trials of the %s stage keep it there; a 'default' of the parameter will do, too", method_name(spec->stages[i].method));
                        break;
                }
        }
}

int spec_check_names(const struct reader *reader, const struct sweep_spec *spec) {
        _cleanup_json_ json_t *names = json_object();
        if (!names)
                return -ENOMEM;
        int r = add_varied(names, spec);
        if (r < 0)
                return r;
        check_baseline(reader, spec, names);
        const char *name;
        json_t *ignored;
        json_object_foreach(spec->baseline, name, ignored) {
                r = add_name(names, name);
                if (r < 0)
                        return r;
        }
        check_groups(reader, names, spec->fixed);
        check_fixed(reader, names, spec->fixed);
        check_constants(reader, spec);
        check_kinds(reader, spec);
        return 0;
}
