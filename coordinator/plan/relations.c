/* Conditions, constraints and ties, on configurations (JSON) and on the dimensions of opt/. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "plan/internal.h"

/* --- configurations ------------------------------------------------------------------------------------ */

bool relations_is_active(const struct plan *plan, const json_t *params, const char *name) {
        const struct condition *condition = relations_condition(&plan->spec->relations, name);
        const char *parent;
        json_t *values;
        if (!condition)
                return true;
        json_object_foreach(condition->when, parent, values) {
                const json_t *value = json_get_dotted(params, parent);
                bool met = false;
                for (size_t i = 0; value && i < json_array_size(values) && !met; i++)
                        met = json_same(json_array_get(values, i), value);
                if (!met)
                        return false;
        }
        return true;
}

static int follow_leaders(const struct plan *plan, json_t *params) {
        const struct relations_spec *relations = &plan->spec->relations;
        for (size_t i = 0; i < relations->n_ties; i++) {
                const json_t *names = relations->ties[i].names;
                json_t *value = json_get_dotted(params, json_string_value(json_array_get(names, 0)));
                for (size_t k = 1; value && k < json_array_size(names); k++) {
                        int r = json_set_dotted(params, json_string_value(json_array_get(names, k)), json_incref(value));
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int relations_settle(const struct plan *plan, json_t *params) {
        const struct relations_spec *relations = &plan->spec->relations;
        int r = follow_leaders(plan, params);
        for (bool again = r == 0; again;) { /* what goes may take others with it */
                again = false;
                for (size_t i = 0; i < relations->n_conditions; i++) {
                        const char *name = relations->conditions[i].parameter;
                        if (json_get_dotted(params, name) && !relations_is_active(plan, params, name))
                                again |= json_del_dotted(params, name);
                }
        }
        return r;
}

static double constraint_sum(const struct constraint *constraint, const json_t *params) {
        double sum = 0;
        const char *name;
        json_t *factor;
        json_object_foreach(constraint->terms, name, factor)
                sum += json_number_value(factor) * json_number_value(json_get_dotted(params, name));
        return sum;
}

bool relations_allow(const struct plan *plan, const json_t *params, size_t *ret_index, double *ret_sum) {
        for (size_t i = 0; i < plan->spec->relations.n_constraints; i++) {
                double sum = constraint_sum(&plan->spec->relations.constraints[i], params);
                if (constraint_holds(&plan->spec->relations.constraints[i], sum))
                        continue;
                *ret_index = i;
                *ret_sum = sum;
                return false;
        }
        return true;
}

/* --- dimensions ------------------------------------------------------------------------------------------ */

/* Index of the dimension that gives a parameter its value: its own or its leader's; n_dims when none does. */
static size_t dim_of(const struct plan *plan, const struct relations_view *view, const char *name) {
        const char *leader = relations_leader(&plan->spec->relations, name);
        size_t i = 0;
        while (i < view->n_dims && strcmp(view->names[i], leader ? leader : name) != 0)
                i++;
        return i;
}

/* One condition per parent that is a dimension. A parent that is none has its value in base: it is met always, or never. */
static int add_condition(const struct plan *plan, const struct relations_view *view, const struct condition *condition, size_t dim,
                         struct relations *ret) {
        const char *parent;
        json_t *values;
        json_object_foreach(condition->when, parent, values) {
                size_t k = dim_of(plan, view, parent), n = 0;
                struct opt_condition *next = &ret->conditions[ret->n_conditions];
                if (k == view->n_dims) {
                        const json_t *value = json_get_dotted(view->base, parent);
                        bool met = false;
                        for (size_t i = 0; value && i < json_array_size(values); i++)
                                met |= json_same(json_array_get(values, i), value);
                        if (!met)
                                ret->conditions[ret->n_conditions++] = (struct opt_condition){.dim = dim, .parent = dim};
                        continue;
                }
                double *numbers = calloc(json_array_size(values) + 1, sizeof *numbers);
                if (!numbers)
                        return -ENOMEM;
                for (size_t i = 0; i < json_array_size(values); i++)
                        n += domain_number(&view->dims[k], view->choices[k], json_array_get(values, i), &numbers[n]);
                *next = (struct opt_condition){.dim = dim, .parent = k, .values = numbers, .n_values = n};
                ret->n_conditions++;
        }
        return 0;
}

static bool has_pending_parent(const struct relations_spec *spec, const struct condition *condition, const bool *done) {
        const char *parent;
        json_t *unused;
        json_object_foreach(condition->when, parent, unused) {
                const struct condition *above = relations_condition(spec, parent);
                if (above && !done[above - spec->conditions])
                        return true;
        }
        return false;
}

/* In an order in which parents come before children; the spec has no circles. */
static int add_conditions(const struct plan *plan, const struct relations_view *view, struct relations *ret) {
        const struct relations_spec *spec = &plan->spec->relations;
        _cleanup_free_ bool *done = calloc(spec->n_conditions + 1, sizeof *done);
        size_t n_parents = 0;
        for (size_t i = 0; i < spec->n_conditions; i++)
                n_parents += json_object_size(spec->conditions[i].when);
        ret->conditions = calloc(n_parents + 1, sizeof *ret->conditions);
        if (!done || !ret->conditions)
                return -ENOMEM;
        for (bool again = true; again;) {
                again = false;
                for (size_t i = 0; i < spec->n_conditions; i++) {
                        if (done[i] || has_pending_parent(spec, &spec->conditions[i], done))
                                continue;
                        done[i] = again = true;
                        size_t dim = dim_of(plan, view, spec->conditions[i].parameter);
                        int r = dim < view->n_dims ? add_condition(plan, view, &spec->conditions[i], dim, ret) : 0;
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* Terms that are no dimensions move to the bounds. */
static int add_constraints(const struct plan *plan, const struct relations_view *view, struct relations *ret) {
        const struct relations_spec *spec = &plan->spec->relations;
        ret->constraints = calloc(spec->n_constraints + 1, sizeof *ret->constraints);
        ret->factors = calloc(spec->n_constraints * view->n_dims + 1, sizeof *ret->factors);
        if (!ret->constraints || !ret->factors)
                return -ENOMEM;
        for (size_t i = 0; i < spec->n_constraints; i++) {
                double *factors = ret->factors + i * view->n_dims, offset = 0;
                const char *name;
                json_t *factor;
                json_object_foreach(spec->constraints[i].terms, name, factor) {
                        size_t k = dim_of(plan, view, name);
                        if (k < view->n_dims && view->dims[k].kind != OPT_CATEGORICAL)
                                factors[k] += json_number_value(factor);
                        else
                                offset += json_number_value(factor) * json_number_value(json_get_dotted(view->base, name));
                }
                ret->constraints[ret->n_constraints++] = (struct opt_constraint){
                        .factors = factors, .low = spec->constraints[i].low - offset, .high = spec->constraints[i].high - offset};
        }
        return 0;
}

int relations_build(const struct plan *plan, const struct relations_view *view, struct relations *ret) {
        const struct relations_spec *spec = &plan->spec->relations;
        *ret = (struct relations){0};
        if (spec->n_conditions == 0 && spec->n_constraints == 0)
                return 0;
        if (view->n_dims > OPT_DIMS_MAX)
                return -E2BIG;
        int r = add_conditions(plan, view, ret);
        return r < 0 ? r : add_constraints(plan, view, ret);
}

void relations_free(struct relations *relations) {
        for (size_t i = 0; i < relations->n_conditions; i++)
                free((double *)relations->conditions[i].values);
        free(relations->conditions);
        free(relations->constraints);
        free(relations->factors);
        *relations = (struct relations){0};
}

struct opt_space relations_space(const struct relations *relations, const struct opt_dim *dims, size_t n_dims) {
        return (struct opt_space){.dims = dims,
                                  .n_dims = n_dims,
                                  .conditions = relations->conditions,
                                  .n_conditions = relations->n_conditions,
                                  .constraints = relations->constraints,
                                  .n_constraints = relations->n_constraints};
}
