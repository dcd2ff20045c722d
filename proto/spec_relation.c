/* `conditions`, `constraints` and `tie` of a sweep spec. Their names must be known, so they are parsed last. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spec_parts.h"

#define RELATIONS_MAX 200

const char *relations_leader(const struct relations_spec *relations, const char *name) {
        for (size_t i = 0; i < relations->n_ties; i++) {
                const json_t *names = relations->ties[i].names;
                for (size_t k = 1; k < json_array_size(names); k++)
                        if (strcmp(json_string_value(json_array_get(names, k)), name) == 0)
                                return json_string_value(json_array_get(names, 0));
        }
        return NULL;
}

const struct condition *relations_condition(const struct relations_spec *relations, const char *name) {
        for (size_t i = 0; i < relations->n_conditions; i++)
                if (strcmp(relations->conditions[i].parameter, name) == 0)
                        return &relations->conditions[i];
        return NULL;
}

void relations_fini(struct relations_spec *relations) {
        for (size_t i = 0; i < relations->n_conditions; i++) {
                free(relations->conditions[i].parameter);
                json_decref(relations->conditions[i].when);
        }
        for (size_t i = 0; i < relations->n_constraints; i++)
                json_decref(relations->constraints[i].terms);
        for (size_t i = 0; i < relations->n_ties; i++)
                json_decref(relations->ties[i].names);
        free(relations->conditions);
        free(relations->constraints);
        free(relations->ties);
        *relations = (struct relations_spec){0};
}

/* --- names ------------------------------------------------------------------------------------------- */

/* The parameter of that name, of the sweep or else of the first stage that has it. */
static const struct parameter *find_parameter(const struct sweep_spec *spec, const char *name) {
        const struct parameter *parameter = parameter_find(&spec->parameters, name);
        for (size_t i = 0; !parameter && i < spec->n_stages; i++)
                parameter = parameter_find(&spec->stages[i].parameters, name);
        return parameter;
}

static bool has_levels(const struct sweep_spec *spec, const char *name) {
        for (size_t i = 0; i < spec->n_stages; i++)
                if (level_set_find(spec->stages[i].levels, spec->stages[i].n_levels, name))
                        return true;
        return false;
}

static bool is_known(const struct sweep_spec *spec, const char *name) {
        return find_parameter(spec, name) || has_levels(spec, name) || json_object_get(spec->baseline, name);
}

/* Opens item i of the array `key`, which must be an object. */
static bool open_item(const struct reader *reader, const char *key, const json_t *list, size_t i, char pointer[static POINTER_SIZE],
                      struct reader *ret) {
        char base[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, key);
        pointer_join_index(pointer, POINTER_SIZE, base, i);
        return reader_init(ret, json_array_get(list, i), pointer, reader->faults);
}

/* --- conditions -------------------------------------------------------------------------------------- */

static void when_check(const struct reader *reader, const struct sweep_spec *spec, const char *name, const json_t *when) {
        char pointer[POINTER_SIZE], detail[256];
        struct reader inner;
        reader_init(&inner, when, pointer_join(pointer, sizeof pointer, reader->pointer, "when"), reader->faults);
        if (json_object_size(when) == 0)
                reader_fault(reader, "when", "must name at least one parameter");
        const char *parent;
        json_t *values;
        json_object_foreach((json_t *)when, parent, values) {
                const struct parameter *parameter = find_parameter(spec, parent);
                if (!is_known(spec, parent))
                        reader_fault(&inner, parent, "is no parameter of this sweep");
                else if (strcmp(parent, name) == 0)
                        reader_fault(&inner, parent, "cannot depend on itself");
                json_t *list = reader_array(&inner, parent, 1, LIMIT_CHOICES);
                for (size_t i = 0; parameter && i < json_array_size(list); i++)
                        if (!parameter_accepts(parameter, json_array_get(list, i), detail))
                                reader_fault(&inner, parent, "value %zu %s", i, detail);
        }
}

static int condition_parse(const struct reader *reader, const struct sweep_spec *spec, struct relations_spec *ret) {
        static const char *const keys[] = {"parameter", "when", NULL};
        reader_refuse_unknown(reader, keys);
        reader_require(reader, "parameter");
        reader_require(reader, "when");
        const char *name = reader_text(reader, "parameter", LIMIT_NAME_BYTES);
        json_t *when = reader_object(reader, "when");
        if (!name || !when)
                return 0;
        if (!is_known(spec, name))
                reader_fault(reader, "parameter", "'%s' is no parameter of this sweep", name);
        if (relations_condition(ret, name))
                reader_fault(reader, "parameter", "'%s' has a condition already: name all its parents in one", name);
        when_check(reader, spec, name, when);
        struct condition *condition = &ret->conditions[ret->n_conditions];
        condition->parameter = strdup(name);
        if (!condition->parameter)
                return -ENOMEM;
        condition->when = json_incref(when);
        ret->n_conditions++;
        return 0;
}

/* Are all parents settled: without a condition, or with one that is settled itself? */
static bool parents_settled(const struct relations_spec *relations, const struct condition *condition, const bool *settled) {
        const char *parent;
        json_t *unused;
        json_object_foreach(condition->when, parent, unused) {
                const struct condition *above = relations_condition(relations, parent);
                if (above && !settled[above - relations->conditions])
                        return false;
        }
        return true;
}

/* Settles conditions from the roots down; what is left over depends on itself. */
static int circles_check(const struct reader *reader, const struct relations_spec *relations) {
        _cleanup_free_ bool *settled = calloc(relations->n_conditions + 1, sizeof *settled);
        if (!settled)
                return -ENOMEM;
        for (bool again = true; again;) {
                again = false;
                for (size_t i = 0; i < relations->n_conditions; i++)
                        if (!settled[i] && parents_settled(relations, &relations->conditions[i], settled))
                                settled[i] = again = true;
        }
        for (size_t i = 0; i < relations->n_conditions; i++)
                if (!settled[i]) {
                        reader_fault(reader, "conditions", "'%s' depends on itself", relations->conditions[i].parameter);
                        break;
                }
        return 0;
}

static int conditions_parse(const struct reader *reader, const struct sweep_spec *spec, struct relations_spec *ret) {
        const json_t *list = reader_array(reader, "conditions", 0, RELATIONS_MAX);
        ret->conditions = calloc(json_array_size(list) + 1, sizeof *ret->conditions);
        if (!ret->conditions)
                return -ENOMEM;
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < json_array_size(list); i++) {
                struct reader inner;
                int r = open_item(reader, "conditions", list, i, pointer, &inner) ? condition_parse(&inner, spec, ret) : 0;
                if (r < 0)
                        return r;
        }
        return circles_check(reader, ret);
}

/* --- constraints ------------------------------------------------------------------------------------- */

/* Can the value be added up? Numbers only; of a choice, when every choice is a number. */
static bool is_numeric(const struct sweep_spec *spec, const char *name) {
        const struct parameter *parameter = find_parameter(spec, name);
        if (!parameter)
                return json_is_number(json_object_get(spec->baseline, name));
        if (parameter->distribution == DIST_CONSTANT)
                return json_is_number(parameter->value);
        if (parameter->distribution == DIST_CATEGORICAL)
                return false;
        return true;
}

static void terms_check(const struct reader *reader, const struct sweep_spec *spec, const json_t *terms) {
        char pointer[POINTER_SIZE];
        struct reader inner;
        reader_init(&inner, terms, pointer_join(pointer, sizeof pointer, reader->pointer, "terms"), reader->faults);
        if (json_object_size(terms) == 0)
                reader_fault(reader, "terms", "must name at least one parameter");
        const char *name;
        json_t *unused;
        json_object_foreach((json_t *)terms, name, unused) {
                double factor;
                reader_require(&inner, name);
                if (!is_known(spec, name))
                        reader_fault(&inner, name, "is no parameter of this sweep");
                else if (!is_numeric(spec, name))
                        reader_fault(&inner, name, "cannot be added up: its values are choices, not a range of numbers");
                if (reader_number(&inner, name, -INFINITY, INFINITY, &factor) && factor == 0)
                        reader_fault(&inner, name, "must not be 0");
        }
}

/* Smallest and largest that a term can be. */
static void term_range(const struct sweep_spec *spec, const char *name, double factor, double *low, double *high) {
        const struct parameter *parameter = find_parameter(spec, name);
        double a, b;
        if (!parameter)
                a = b = json_number_value(json_object_get(spec->baseline, name));
        else if (parameter->distribution == DIST_CONSTANT)
                a = b = json_number_value(parameter->value);
        else
                distribution_support(parameter, &a, &b);
        *low += factor > 0 ? factor * a : factor * b;
        *high += factor > 0 ? factor * b : factor * a;
}

/* A constraint that no values within the bounds can meet. What has a condition may be absent and then counts 0. */
static void reach_check(const struct reader *reader, const struct sweep_spec *spec, const struct relations_spec *relations,
                        const struct constraint *constraint) {
        double low = 0, high = 0;
        const char *name;
        json_t *factor;
        json_object_foreach(constraint->terms, name, factor) {
                double a = 0, b = 0;
                if (has_levels(spec, name)) /* may lie outside the bounds */
                        return;
                term_range(spec, name, json_number_value(factor), &a, &b);
                bool maybe_absent = relations_condition(relations, name) != NULL;
                low += maybe_absent ? fmin(a, 0) : a;
                high += maybe_absent ? fmax(b, 0) : b;
        }
        if (high < constraint->low)
                reader_fault(reader, "min", "cannot be met: the sum is at most %.12g", high);
        if (low > constraint->high)
                reader_fault(reader, "max", "cannot be met: the sum is at least %.12g", low);
}

static int constraint_parse(const struct reader *reader, const struct sweep_spec *spec, struct relations_spec *ret) {
        static const char *const keys[] = {"terms", "min", "max", NULL};
        size_t before = reader->faults->n_total;
        struct constraint constraint = {.low = -INFINITY, .high = INFINITY};
        reader_refuse_unknown(reader, keys);
        reader_require(reader, "terms");
        constraint.terms = reader_object(reader, "terms");
        reader_number(reader, "min", -INFINITY, INFINITY, &constraint.low);
        reader_number(reader, "max", -INFINITY, INFINITY, &constraint.high);
        if (!reader_get(reader, "min") && !reader_get(reader, "max"))
                reader_fault(reader, "min", "is required: min, max, or both");
        if (constraint.low > constraint.high)
                reader_fault(reader, "max", "must be at least min");
        if (!constraint.terms)
                return 0;
        terms_check(reader, spec, constraint.terms);
        if (reader->faults->n_total > before)
                return 0;
        reach_check(reader, spec, ret, &constraint);
        json_incref(constraint.terms);
        ret->constraints[ret->n_constraints++] = constraint;
        return 0;
}

static int constraints_parse(const struct reader *reader, const struct sweep_spec *spec, struct relations_spec *ret) {
        const json_t *list = reader_array(reader, "constraints", 0, RELATIONS_MAX);
        ret->constraints = calloc(json_array_size(list) + 1, sizeof *ret->constraints);
        if (!ret->constraints)
                return -ENOMEM;
        char pointer[POINTER_SIZE];
        for (size_t i = 0; i < json_array_size(list); i++) {
                struct reader inner;
                int r = open_item(reader, "constraints", list, i, pointer, &inner) ? constraint_parse(&inner, spec, ret) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- ties -------------------------------------------------------------------------------------------- */

static bool same_domain(const struct parameter *a, const struct parameter *b) {
        if (a->distribution != b->distribution || a->min != b->min || a->max != b->max || a->q != b->q || a->mu != b->mu ||
            a->sigma != b->sigma || a->a != b->a || a->b != b->b || a->integer != b->integer)
                return false;
        return a->distribution != DIST_CATEGORICAL || json_equal(a->values, b->values);
}

static bool same_text(const json_t *a, const json_t *b) {
        return a == b || (a && b && json_equal(a, b));
}

static void tie_check(const struct reader *faulty, const char *pointer, const struct sweep_spec *spec, const struct relations_spec *relations,
                      const char *leader, const char *name) {
        const struct parameter *first = find_parameter(spec, leader), *other = find_parameter(spec, name);
        if (!other)
                faults_add(faulty->faults, pointer, "'%s' is no parameter of this sweep", name);
        else if (other->distribution == DIST_CONSTANT)
                faults_add(faulty->faults, pointer, "'%s' is a constant", name);
        else if (first && !same_domain(first, other))
                faults_add(faulty->faults, pointer, "'%s' and '%s' must be defined alike to have one value", leader, name);
        if (!same_text(json_object_get(spec->baseline, leader), json_object_get(spec->baseline, name)))
                faults_add(faulty->faults, pointer, "'%s' and '%s' must have the same baseline", leader, name);
        if (relations_condition(relations, name))
                faults_add(faulty->faults, pointer, "'%s' has a condition and cannot be tied", name);
        if (strcmp(leader, name) != 0 && has_levels(spec, name))
                faults_add(faulty->faults, pointer, "'%s' follows '%s': give levels for that one", name, leader);
}

static int tie_parse(const struct reader *reader, const char *pointer, const json_t *names, const struct sweep_spec *spec,
                     struct relations_spec *ret) {
        if (!json_is_array(names) || json_array_size(names) < 2 || json_array_size(names) > LIMIT_PARAMETERS) {
                faults_add(reader->faults, pointer, "must be an array of at least two names");
                return 0;
        }
        for (size_t i = 0; i < json_array_size(names); i++)
                if (!json_is_string(json_array_get(names, i))) {
                        faults_add(reader->faults, pointer, "must hold names only");
                        return 0;
                }
        const char *leader = json_string_value(json_array_get(names, 0));
        for (size_t i = 0; i < json_array_size(names); i++) {
                const char *name = json_string_value(json_array_get(names, i));
                tie_check(reader, pointer, spec, ret, leader, name);
                bool again = false;
                for (size_t k = 0; k < i; k++)
                        again |= strcmp(json_string_value(json_array_get(names, k)), name) == 0;
                for (size_t t = 0; t < ret->n_ties; t++)
                        for (size_t k = 0; k < json_array_size(ret->ties[t].names); k++)
                                again |= strcmp(json_string_value(json_array_get(ret->ties[t].names, k)), name) == 0;
                if (again)
                        faults_add(reader->faults, pointer, "'%s' is tied already", name);
        }
        ret->ties[ret->n_ties++] = (struct tie){json_incref((json_t *)names)};
        return 0;
}

static int ties_parse(const struct reader *reader, const struct sweep_spec *spec, struct relations_spec *ret) {
        const json_t *list = reader_array(reader, "tie", 0, RELATIONS_MAX);
        ret->ties = calloc(json_array_size(list) + 1, sizeof *ret->ties);
        if (!ret->ties)
                return -ENOMEM;
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        pointer_join(base, sizeof base, reader->pointer, "tie");
        for (size_t i = 0; i < json_array_size(list); i++) {
                int r = tie_parse(reader, pointer_join_index(pointer, sizeof pointer, base, i), json_array_get(list, i), spec, ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- levels and baseline meet the constraints ----------------------------------------------------------- */

/* The sum with `name` at `value` and all else at the baseline; false when something is not known or not there. */
static bool baseline_sum(const struct sweep_spec *spec, const struct constraint *constraint, const char *name, const json_t *value,
                         double *ret) {
        *ret = 0;
        const char *term;
        json_t *factor;
        json_object_foreach(constraint->terms, term, factor) {
                const struct parameter *parameter = find_parameter(spec, term);
                const json_t *at = strcmp(term, name) == 0                                     ? value
                                   : parameter && parameter->distribution == DIST_CONSTANT ? parameter->value
                                                                                               : json_object_get(spec->baseline, term);
                if (!json_is_number(at) || relations_condition(&spec->relations, term))
                        return false;
                *ret += json_number_value(factor) * json_number_value(at);
        }
        return true;
}

bool constraint_holds(const struct constraint *constraint, double sum) {
        double slack = 1e-9 * fmax(1, fabs(sum));
        return sum >= constraint->low - slack && sum <= constraint->high + slack;
}

/* One factor at a time runs every level there is: one that breaks a constraint is a mistake. */
static void levels_check(const struct reader *reader, const struct sweep_spec *spec, size_t stage, const char *pointer) {
        const struct stage_spec *s = &spec->stages[stage];
        double sum;
        for (size_t c = 0; c < spec->relations.n_constraints; c++)
                for (size_t f = 0; f < s->n_levels; f++)
                        for (size_t k = 0; k < json_array_size(s->levels[f].values); k++)
                                if (json_object_get(spec->relations.constraints[c].terms, s->levels[f].name) &&
                                    baseline_sum(spec, &spec->relations.constraints[c], s->levels[f].name, json_array_get(s->levels[f].values, k),
                                                 &sum) &&
                                    !constraint_holds(&spec->relations.constraints[c], sum))
                                        faults_add(reader->faults, pointer, "level %zu of '%s' breaks constraint %zu: the sum is %.12g", k,
                                                   s->levels[f].name, c, sum);
}

static void constraints_check(const struct reader *reader, const struct sweep_spec *spec) {
        char pointer[POINTER_SIZE], base[POINTER_SIZE];
        double sum;
        for (size_t c = 0; c < spec->relations.n_constraints; c++)
                if (baseline_sum(spec, &spec->relations.constraints[c], "", NULL, &sum) &&
                    !constraint_holds(&spec->relations.constraints[c], sum))
                        reader_fault(reader, "baseline", "breaks constraint %zu: the sum is %.12g", c, sum);
        for (size_t i = 0; i < spec->n_stages; i++) {
                if (spec->stages[i].method != METHOD_OFAT)
                        continue;
                if (spec->method == METHOD_OFAT)
                        pointer_join(pointer, sizeof pointer, reader->pointer, "levels");
                else
                        pointer_join_index(pointer, sizeof pointer, pointer_join(base, sizeof base, reader->pointer, "stages"), i);
                levels_check(reader, spec, i, pointer);
        }
}

int relations_parse(const struct reader *reader, struct sweep_spec *spec) {
        size_t before = reader->faults->n_total;
        struct relations_spec *relations = &spec->relations;
        int r = conditions_parse(reader, spec, relations);
        if (r == 0)
                r = constraints_parse(reader, spec, relations);
        if (r == 0)
                r = ties_parse(reader, spec, relations);
        if (r == 0 && reader->faults->n_total == before)
                constraints_check(reader, spec);
        return r;
}
