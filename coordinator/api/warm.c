/* `warm_start` of a sweep: trials of another sweep, or configurations with values, become its first evidence. They are
 * imports like any other: they count against no run_cap, and a grid does not run them again. Proposals of a model believe another
 * sweep's trials as far as this one's bear them out. */
#include <string.h>

#include "api/core.h"

#define PAGE 100

/* One more {"params","value","state","proposal"}. Takes params and proposal. */
static int gather(json_t *found, json_t *params, double value, enum trial_state state, json_t *proposal) {
        json_t *item = json_pack("{s:o, s:f, s:s, s:o}", "params", params, "value", value, "state", trial_state_name(state), "proposal", proposal);
        return json_array_append_new(found, item) < 0 ? -ENOMEM : 0;
}

/* What the item says; completed where it says nothing. */
static enum trial_state state_of(const json_t *item) {
        const char *name = json_string_value(json_object_get(item, "state"));
        return name ? (enum trial_state)trial_state_from_name(name) : TRIAL_COMPLETED;
}

static int gather_listed(const struct plan *plan, const struct warm_start *warm, struct faults *faults, json_t *found) {
        size_t i;
        json_t *item;
        json_array_foreach(warm->trials, i, item) {
                char pointer[64];
                snprintf(pointer, sizeof pointer, "/warm_start/%zu/params", i);
                json_t *params = NULL;
                int r = plan_complete_params(plan, json_object_get(item, "params"), true, pointer, faults, &params);
                if (r == 0)
                        r = gather(found, params, json_number_value(json_object_get(item, "value")), state_of(item), json_pack("{s:s}", "source", "warm_start"));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A trial of the other sweep, as far as its parameters are ours; 0 also when it does not fit. */
static int adopt(const struct plan *plan, const struct trial_row *row, json_t *found) {
        struct error err;
        _cleanup_json_ json_t *theirs = NULL;
        json_t *ours = NULL;
        int r = json_read(row->params, strlen(row->params), &theirs, &err);
        if (r == 0)
                r = plan_adopt_params(plan, theirs, &ours);
        if (r < 0 || !ours)
                return r;
        return gather(found, ours, row->value, row->state == TRIAL_STOPPED ? TRIAL_STOPPED : TRIAL_COMPLETED,
                      json_pack("{s:s, s:s, s:s, s:I}", "source", "warm_start", "sweep", row->sweep_public_id, "trial", row->public_id, "number",
                                (json_int_t)row->number));
}

/* The best trials of the other sweep by our goal that fit, up to `top`. */
static int gather_best(struct api *api, const struct plan *plan, const struct sweep_spec *spec, int64_t sweep, json_t *found) {
        struct value_position last = {0}, from;
        int64_t position;
        int r = store_history_position(api->store, &position);
        for (bool first = true, more = true; r == 0 && more; first = false) {
                struct trial_row rows[PAGE];
                size_t n = 0;
                from = last;
                r = store_trial_list_by_value(api->store, sweep, -1, spec->metric.maximize, position, first ? NULL : &from, PAGE, rows, &n, &last);
                more = n == PAGE;
                for (size_t i = 0; i < n; i++) {
                        if (!rows[i].has_value || json_array_size(found) >= spec->warm_start.top)
                                more = false;
                        else if (r == 0)
                                r = adopt(plan, &rows[i], found);
                        trial_row_fini(&rows[i]);
                }
        }
        return r;
}

/* Values of another metric say nothing about ours. */
static int check_metric(const struct sweep_spec *spec, const char *other_spec, struct faults *faults) {
        _cleanup_json_ json_t *other = NULL;
        int r = json_read(other_spec, strlen(other_spec), &other, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        const json_t *metric = json_object_get(other, "metric");
        const char *name = json_string_value(json_object_get(metric, "name")), *goal = json_string_value(json_object_get(metric, "goal"));
        bool maximize = goal && strcmp(goal, "maximize") == 0;
        if (name && *spec->metric.name && strcmp(name, spec->metric.name) != 0)
                faults_add(faults, "/warm_start/sweep", "its metric is '%s', not '%s'", name, spec->metric.name);
        else if (maximize != spec->metric.maximize)
                faults_add(faults, "/warm_start/sweep", "it %s its metric", maximize ? "maximises" : "minimises");
        return 0;
}

static int gather_from_sweep(struct api *api, const struct plan *plan, const struct sweep_spec *spec, struct faults *faults, json_t *found) {
        struct sweep_row row = {0};
        int r = store_sweep_get(api->store, spec->warm_start.sweep, &row);
        if (r == STORE_NONE) {
                faults_add(faults, "/warm_start/sweep", "there is no sweep '%s'", spec->warm_start.sweep);
                return 0;
        }
        size_t before = faults->n_total;
        if (r == 0)
                r = check_metric(spec, row.spec, faults);
        if (r == 0 && faults->n_total == before)
                r = gather_best(api, plan, spec, row.id, found);
        if (r == 0 && faults->n_total == before && json_array_size(found) == 0)
                faults_add(faults, "/warm_start/sweep", "none of its trials has a value and all parameters of this sweep");
        sweep_row_fini(&row);
        return r;
}

int warm_gather(struct api *api, const struct plan *plan, const struct sweep_spec *spec, struct faults *faults, json_t *found) {
        if (spec->warm_start.trials)
                return gather_listed(plan, &spec->warm_start, faults, found);
        return spec->warm_start.sweep ? gather_from_sweep(api, plan, spec, faults, found) : 0;
}

int warm_import(struct api *api, struct live *live, const json_t *found) {
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)found, i, item) {
                const struct trial_seed seed = {
                        .origin = ORIGIN_IMPORTED,
                        .params = json_object_get(item, "params"),
                        .proposal = json_object_get(item, "proposal"),
                        .has_value = true,
                        .value = json_number_value(json_object_get(item, "value")),
                        .state = state_of(item),
                };
                struct trial_row row = {0};
                int r = move_create(api, live, &seed, &row);
                trial_row_fini(&row);
                if (r < 0)
                        return r;
        }
        return 0;
}
