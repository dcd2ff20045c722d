/* What an edit of a running sweep's spec may change.
 *
 * A plan is made from the spec and the history of the trials, and after an edit from the new spec and the same history: there is no
 * replay of older specs, so that a coordinator that is started again proposes what it would have. That is sound only while the
 * history means the same under both specs. So an edit may change what is proposed next (bounds, values, constraints, budgets, stages
 * to come, more of a stage that has begun), and not what the trials that are there were: their metric, what evaluated them, the
 * values that they had, which stage they are of and what ended stages concluded from them. A new parameter brings a `default`: what
 * the trials before it had. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "plan/internal.h"

struct edit {
        const struct plan *plan;
        const struct sweep_spec *before, *after;
        struct faults *faults;
};

#define POINTER_BYTES 1024

static void fault_at(const struct edit *edit, const char *key, const char *name, const char *text) {
        char pointer[POINTER_BYTES];
        pointer_join(pointer, sizeof pointer, "", key);
        if (name)
                pointer_join(pointer, sizeof pointer, pointer, name);
        faults_add(edit->faults, pointer, "%s", text);
}

static bool is_same(const json_t *a, const json_t *b) {
        return a == b || (a && b && json_same(a, b));
}

/* --- what trials are ------------------------------------------------------------------------------------ */

static void check_frozen(const struct edit *edit) {
        static const char *const keys[] = {"method", "trainer", "program", "command", "seed", "repeats", "warm_start", "tie", "model_sha256",
                                           "data_sha256"};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
                if (!is_same(json_object_get(edit->before->source, keys[i]), json_object_get(edit->after->source, keys[i])))
                        fault_at(edit, keys[i], NULL, "cannot be changed in a sweep: create another one, which may warm_start from this one");
}

/* All of it but the target, which only says when to end. */
static int check_metric(const struct edit *edit) {
        const json_t *objects[2] = {json_object_get(edit->before->source, "metric"), json_object_get(edit->after->source, "metric")};
        _cleanup_json_ json_t *before = objects[0] ? json_copy((json_t *)objects[0]) : json_object();
        _cleanup_json_ json_t *after = objects[1] ? json_copy((json_t *)objects[1]) : json_object();
        if (!before || !after)
                return -ENOMEM;
        json_object_del(before, "target");
        json_object_del(after, "target");
        const char *key;
        json_t *value;
        json_object_foreach(before, key, value)
                if (!json_object_get(after, key))
                        fault_at(edit, "metric", key, "cannot be changed in a sweep: its trials were measured by it");
        json_object_foreach(after, key, value)
                if (!is_same(json_object_get(before, key), value))
                        fault_at(edit, "metric", key, "cannot be changed in a sweep: its trials were measured by it");
        return 0;
}

/* --- values that trials have ----------------------------------------------------------------------------- */

static const json_t *fallback_of(const struct sweep_spec *spec, const char *name) {
        const struct parameter *p = parameter_find(&spec->parameters, name);
        return p ? p->fallback : NULL;
}

static void check_fixed(const struct edit *edit) {
        const char *name;
        json_t *value;
        json_object_foreach(edit->before->fixed, name, value) {
                const json_t *now = json_object_get(edit->after->fixed, name), *fallback = fallback_of(edit->after, name);
                if (now ? !json_same(now, value) : !fallback)
                        fault_at(edit, "fixed", name, "the trials that are there had it: it can only become a parameter with it as its default");
                else if (!now && !json_same(fallback, value))
                        fault_at(edit, "fixed", name, "the trials that are there had it: the parameter's default must be the same");
        }
        json_object_foreach(edit->after->fixed, name, value)
                if (!json_object_get(edit->before->fixed, name))
                        fault_at(edit, "fixed", name, "the trials that are there did not have it: make it a parameter with a default");
}

static void check_baseline(const struct edit *edit) {
        const char *name;
        json_t *value;
        json_object_foreach(edit->before->baseline, name, value) {
                const json_t *now = json_object_get(edit->after->baseline, name);
                if (!now || !json_same(now, value))
                        fault_at(edit, "baseline", name, "the trials that are there had it: it cannot be changed");
        }
        json_object_foreach(edit->after->baseline, name, value)
                if (!json_object_get(edit->before->baseline, name) && !parameter_find(&edit->before->parameters, name) &&
                    !fallback_of(edit->after, name))
                        fault_at(edit, "baseline", name, "the trials that are there did not have it: make it a parameter with a default");
}

static void fault_at_parameter(const struct edit *edit, const struct sweep_spec *in, const char *name, const char *key, const char *text) {
        char pointer[POINTER_BYTES];
        parameter_pointer(pointer, sizeof pointer, in->source, "", name);
        if (key)
                pointer_join(pointer, sizeof pointer, pointer, key);
        faults_add(edit->faults, pointer, "%s", text);
}

static void check_parameters(const struct edit *edit) {
        const struct parameter_list *before = &edit->before->parameters, *after = &edit->after->parameters;
        for (size_t i = 0; i < before->n; i++) {
                const struct parameter *p = &before->items[i], *now = parameter_find(after, p->name);
                if (!now)
                        fault_at_parameter(edit, edit->before, p->name, NULL,
                                           "trials have it, so it cannot be taken out: give it a constant `value` instead");
                else if (p->fallback && !is_same(p->fallback, now->fallback))
                        fault_at_parameter(edit, edit->after, p->name, "default", "cannot be changed: earlier trials count as having had it");
        }
        for (size_t i = 0; i < after->n; i++) {
                const struct parameter *p = &after->items[i];
                if (!parameter_find(before, p->name) && !json_object_get(edit->before->baseline, p->name) && !p->fallback)
                        fault_at_parameter(edit, edit->after, p->name, "default", "is required: the value that the trials before it had");
        }
}

static bool is_among(const json_t *list, const json_t *item) {
        for (size_t i = 0; i < json_array_size(list); i++)
                if (json_same(json_array_get(list, i), item))
                        return true;
        return false;
}

/* A condition on what trials have would make some of them what they were not. */
static void check_conditions(const struct edit *edit) {
        const json_t *before = json_object_get(edit->before->source, "conditions"), *after = json_object_get(edit->after->source, "conditions");
        for (size_t i = 0; i < json_array_size(before); i++)
                if (!is_among(after, json_array_get(before, i)))
                        fault_at(edit, "conditions", NULL, "those that are there must stay: the trials were made with them");
        for (size_t i = 0; i < json_array_size(after); i++) {
                const json_t *condition = json_array_get(after, i);
                const char *name = json_string_value(json_object_get(condition, "parameter"));
                if (is_among(before, condition) || !name || (!parameter_find(&edit->before->parameters, name) && !json_object_get(edit->before->baseline, name)))
                        continue;
                char index[24];
                snprintf(index, sizeof index, "%zu", i);
                fault_at(edit, "conditions", index, "is on a parameter that trials have: only a new one can be given a condition");
        }
}

/* --- stages ---------------------------------------------------------------------------------------------- */

static unsigned count_begun(const struct plan *plan) {
        const struct stage_counts *counts = &plan->counts[plan->stage];
        bool has_trials = counts->proposed + counts->enqueued > 0;
        return plan->stage + (plan->stage == 0 || has_trials ? 1 : 0);
}

static void check_stages(const struct edit *edit) {
        const json_t *before = json_object_get(edit->before->source, "stages"), *after = json_object_get(edit->after->source, "stages");
        unsigned n_begun = count_begun(edit->plan);
        if (edit->before->method != METHOD_STAGED || edit->after->method != METHOD_STAGED)
                return;
        char pointer[64];
        if (edit->after->n_stages < n_begun)
                faults_add(edit->faults, "/stages", "%u of them have begun and must stay", n_begun);
        for (unsigned s = 0; s < n_begun && s < edit->after->n_stages; s++) {
                snprintf(pointer, sizeof pointer, "/stages/%u", s);
                if (s < edit->plan->stage && !is_same(json_array_get(before, s), json_array_get(after, s)))
                        faults_add(edit->faults, pointer, "has ended, and what comes after rests on it");
                else if (edit->before->stages[s].method != edit->after->stages[s].method)
                        faults_add(edit->faults, strcat(pointer, "/method"), "cannot be changed: the stage has begun");
        }
}

int plan_check_edit(const struct plan *plan, const struct sweep_spec *after, struct faults *faults) {
        const struct edit edit = {.plan = plan, .before = plan->spec, .after = after, .faults = faults};
        size_t n_before = faults->n_total;
        check_frozen(&edit);
        int r = check_metric(&edit);
        if (r < 0)
                return r;
        check_stages(&edit);
        if (plan->n_all > 0) {
                check_fixed(&edit);
                check_baseline(&edit);
                check_parameters(&edit);
                check_conditions(&edit);
        }
        return faults->n_total > n_before ? SPEC_FAULTY : 0;
}

/* --- what trials had ------------------------------------------------------------------------------------- */

static bool lacks(const struct plan *plan, const json_t *params, const struct parameter *p) {
        return p->fallback && !json_get_dotted(params, p->name) && relations_is_active(plan, params, p->name);
}

/* Rounds: a parameter may be active only by the value of another one that is new, too. */
json_t *params_fill(const struct plan *plan, const json_t *params) {
        json_t *filled = json_incref((json_t *)params);
        const struct parameter_list *list = &plan->spec->parameters;
        for (bool again = true; filled && again;) {
                again = false;
                for (size_t i = 0; filled && i < list->n; i++) {
                        if (!lacks(plan, filled, &list->items[i]))
                                continue;
                        if (filled == params) {
                                json_decref(filled);
                                filled = json_deep_copy(params);
                        }
                        if (!filled || json_set_dotted(filled, list->items[i].name, json_incref(list->items[i].fallback)) < 0) {
                                json_decref(filled);
                                filled = NULL;
                        }
                        again = filled != NULL;
                }
        }
        return filled;
}
