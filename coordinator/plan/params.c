#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "plan/internal.h"

const json_t *params_default(const struct plan *plan, const char *name) {
        const json_t *value = json_object_get(plan->spec->baseline, name);
        if (value)
                return value;
        const struct parameter *p = parameter_find(&plan->spec->parameters, name);
        return p && p->distribution == DIST_CONSTANT ? p->value : p ? p->fallback : NULL;
}

json_t *params_base(const struct plan *plan, unsigned stage) {
        json_t *params = json_object();
        int r = params ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < plan->spec->parameters.n; i++) {
                const char *name = plan->spec->parameters.items[i].name;
                const json_t *value = params_default(plan, name);
                if (value)
                        r = json_set_dotted(params, name, json_incref((json_t *)value));
        }
        const char *name;
        json_t *value;
        json_object_foreach(plan->spec->baseline, name, value) {
                if (r == 0)
                        r = json_set_dotted(params, name, json_incref(value));
        }
        const struct parameter_list *own = &plan->spec->stages[stage].parameters;
        for (size_t i = 0; r == 0 && i < own->n; i++)
                if (own->items[i].distribution == DIST_CONSTANT)
                        r = json_set_dotted(params, own->items[i].name, json_incref(own->items[i].value));
        if (r < 0) {
                json_decref(params);
                return NULL;
        }
        return params;
}

static int add_names(json_t *names, const struct parameter_list *parameters, const struct level_set *levels, size_t n_levels) {
        int r = 0;
        for (size_t i = 0; i < parameters->n && r == 0; i++)
                r = json_object_set_new(names, parameters->items[i].name, json_true());
        for (size_t i = 0; i < n_levels && r == 0; i++)
                r = json_object_set_new(names, levels[i].name, json_true());
        return r;
}

/* Every name that a configuration of the sweep may hold: parameters of sweep and stages, levels, baseline. NULL without memory. */
static json_t *known_names(const struct plan *plan) {
        const struct sweep_spec *spec = plan->spec;
        json_t *names = json_object();
        int r = names ? add_names(names, &spec->parameters, NULL, 0) : -1;
        const char *name;
        json_t *value;
        json_object_foreach(spec->baseline, name, value) {
                if (r == 0)
                        r = json_object_set_new(names, name, json_true());
        }
        for (size_t s = 0; s < spec->n_stages && r == 0; s++)
                r = add_names(names, &spec->stages[s].parameters, spec->stages[s].levels, spec->stages[s].n_levels);
        if (r == 0)
                return names;
        json_decref(names);
        return NULL;
}

static void refuse_unknown(const struct plan *plan, const json_t *names, const json_t *given, const char *prefix, const char *pointer,
                           struct faults *faults) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)given, key, value) {
                char name[512], at[1024];
                snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                pointer_join(at, sizeof at, pointer, key);
                if (json_object_get(names, name))
                        continue;
                if (json_object_get(plan->spec->fixed, name)) {
                        faults_add(faults, at, "'%s' is fixed by the sweep", name);
                        continue;
                }
                size_t len = strlen(name);
                bool is_group = false;
                const char *known;
                json_t *unused;
                json_object_foreach((json_t *)names, known, unused)
                        is_group |= strncmp(known, name, len) == 0 && known[len] == '.';
                if (is_group && json_is_object(value))
                        refuse_unknown(plan, names, value, name, at, faults);
                else
                        faults_add(faults, at, "'%s' is no parameter of this sweep", name);
        }
}

/* "/params/optimizer/lr" of "optimizer.lr", unless the key was given with its dots. */
static void pointer_of(char *ret, size_t size, const char *pointer, const json_t *given, const char *name) {
        if (json_object_get(given, name) || !strchr(name, '.')) {
                pointer_join(ret, size, pointer, name);
                return;
        }
        char part[256], so_far[1024];
        snprintf(so_far, sizeof so_far, "%s", pointer);
        for (const char *c = name; *c;) {
                size_t n = strcspn(c, ".");
                snprintf(part, sizeof part, "%.*s", (int)n, c);
                pointer_join(ret, size, so_far, part);
                snprintf(so_far, sizeof so_far, "%s", ret);
                c += n + (c[n] == '.');
        }
}

static void check_value(const struct plan *plan, const char *name, const json_t *value, bool imported, const char *at, struct faults *faults) {
        char detail[256];
        const struct parameter *p = parameter_find(&plan->spec->parameters, name);
        for (size_t s = 0; !p && s < plan->spec->n_stages; s++)
                p = parameter_find(&plan->spec->stages[s].parameters, name);
        bool number_expected = p ? p->distribution != DIST_CATEGORICAL && p->distribution != DIST_CONSTANT
                                 : json_is_number(json_object_get(plan->spec->baseline, name));
        if (number_expected && !json_is_number(value))
                faults_add(faults, at, "must be a number");
        else if (p && !imported && !parameter_accepts(p, value, detail))
                faults_add(faults, at, "%s", detail);
}

/* json_set_dotted; what cannot be combined is a person's fault, no memory is not. 0 or -ENOMEM. */
static int set_value(json_t *params, const char *name, const json_t *value, const char *at, struct faults *faults) {
        int r = json_set_dotted(params, name, json_incref((json_t *)value));
        if (r < 0 && r != -ENOMEM)
                faults_add(faults, at, "cannot be combined with the other parameters");
        return r == -ENOMEM ? r : 0;
}

/* What a person gave for tied parameters is the leader's value, unless that was given itself. */
static int take_leader_value(const struct plan *plan, json_t *params, const json_t *given, const char *name, const char *pointer,
                             struct faults *faults) {
        const char *leader = relations_leader(&plan->spec->relations, name);
        const json_t *value = json_get_dotted(given, name);
        char at[1024];
        if (!leader || !value || json_get_dotted(given, leader))
                return 0;
        pointer_of(at, sizeof at, pointer, given, name);
        return set_value(params, leader, value, at, faults);
}

/* Now that all values are there: what is missing although it is active, and what was given although it is not. */
static void check_activity(const struct plan *plan, const json_t *params, const json_t *given, const char *name, bool imported,
                           const char *pointer, struct faults *faults) {
        char at[1024];
        pointer_of(at, sizeof at, pointer, given, name);
        bool is_active = relations_is_active(plan, params, name);
        const char *leader = relations_leader(&plan->spec->relations, name);
        const json_t *mine = json_get_dotted(given, name), *stored = json_get_dotted(params, name);
        if (leader && mine && stored && !json_same(mine, stored))
                faults_add(faults, at, "must be the same as '%s'", leader);
        if (is_active && !json_get_dotted(params, name))
                faults_add(faults, at, "missing, and the sweep has no baseline value for it");
        else if (!is_active && !imported && json_get_dotted(given, name))
                faults_add(faults, at, "is inactive: the parameters that it depends on have other values");
}

static void check_constraints(const struct plan *plan, const json_t *params, const char *pointer, struct faults *faults) {
        size_t i;
        double sum;
        if (relations_allow(plan, params, &i, &sum))
                return;
        const struct constraint *constraint = &plan->spec->relations.constraints[i];
        faults_add(faults, pointer, "breaks constraint %zu of the sweep: the sum is %.12g and must be %s %.12g", i, sum,
                   sum < constraint->low ? "at least" : "at most", sum < constraint->low ? constraint->low : constraint->high);
}

int plan_complete_params(const struct plan *plan, const json_t *given, bool imported, const char *pointer, struct faults *faults, json_t **ret_params) {
        size_t n_before = faults->n_total;
        _cleanup_json_ json_t *names = known_names(plan), *params = json_object();
        if (!names || !params)
                return -ENOMEM;
        refuse_unknown(plan, names, given, "", pointer, faults);
        int r = 0;
        const char *name;
        json_t *unused;
        json_object_foreach(names, name, unused) {
                char at[1024];
                pointer_of(at, sizeof at, pointer, given, name);
                const json_t *value = json_get_dotted(given, name);
                if (value)
                        check_value(plan, name, value, imported, at, faults);
                else
                        value = params_default(plan, name);
                if (value && r == 0)
                        r = set_value(params, name, value, at, faults);
        }
        json_object_foreach(names, name, unused) {
                if (r == 0)
                        r = take_leader_value(plan, params, given, name, pointer, faults);
        }
        if (r == 0)
                r = relations_settle(plan, params);
        if (r < 0)
                return r;
        json_object_foreach(names, name, unused)
                check_activity(plan, params, given, name, imported, pointer, faults);
        if (!imported && faults->n_total == n_before)
                check_constraints(plan, params, pointer, faults);
        if (faults->n_total > n_before)
                return SPEC_FAULTY;
        *ret_params = TAKE(params);
        return 0;
}

int plan_adopt_params(const struct plan *plan, const json_t *theirs, json_t **ret_params) {
        _cleanup_json_ json_t *names = known_names(plan), *given = json_object();
        struct faults faults = {0};
        if (!names || !given)
                return -ENOMEM;
        const char *name;
        json_t *unused;
        json_object_foreach(names, name, unused) {
                json_t *value = json_get_dotted(theirs, name);
                int r = value ? json_set_dotted(given, name, json_incref(value)) : 0;
                if (r < 0)
                        return r == -ENOMEM ? r : 0;
        }
        int r = plan_complete_params(plan, given, true, "", &faults, ret_params);
        faults_fini(&faults);
        return r < 0 ? r : 0;
}
