#include <math.h>

#include "common/json.h"
#include "plan/internal.h"

/* How many trials a stage will propose in all; -1 = unknown (no run_cap, or a grid whose factors are not selected yet). */
static int64_t stage_total(const struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        uint64_t total;
        if (spec->method == METHOD_OFAT)
                total = ofat_count(plan, stage);
        else if (spec->method == METHOD_GRID && stage <= plan->stage)
                total = axes_count(plan->stages[stage].axes, plan->stages[stage].n_axes);
        else if (spec->method == METHOD_CONFIRM)
                return (int64_t)(plan->stages[stage].finalists ? plan->stages[stage].n_finalists : spec->top_k) * spec->repeats;
        else if (plan->spec->method == METHOD_STAGED && spec->run_cap > 0 && spec->method != METHOD_GRID)
                total = spec->run_cap;
        else
                return -1;
        if ((spec->method == METHOD_OFAT || spec->method == METHOD_GRID) && total < UINT64_MAX / plan->spec->repeats)
                total *= plan->spec->repeats;
        if (plan->spec->method == METHOD_STAGED && spec->run_cap > 0 && spec->run_cap < total)
                total = spec->run_cap;
        return total > INT64_MAX ? -1 : (int64_t)total;
}

int64_t plan_remaining(const struct plan *plan) {
        int64_t remaining = 0, by_cap = -1;
        if (plan->run_cap > 0)
                by_cap = plan->n_counted >= plan->run_cap ? 0 : (int64_t)(plan->run_cap - plan->n_counted);
        if (plan->closed || by_cap == 0)
                return 0;
        for (unsigned s = plan->stage; s < plan->spec->n_stages; s++) {
                int64_t total = stage_total(plan, s);
                if (total < 0)
                        return by_cap;
                int64_t done = (int64_t)(plan->counts[s].proposed + plan->counts[s].enqueued);
                int64_t passed = (int64_t)(plan->stages[s].next_index * plan->spec->repeats);
                if (s == plan->stage && passed > done)
                        done = passed; /* reused configurations are done, too */
                remaining += total > done ? total - done : 0;
        }
        return by_cap >= 0 && by_cap < remaining ? by_cap : remaining;
}

static json_t *impacts_json(const struct stage_state *state) {
        json_t *list = json_array();
        for (size_t i = 0; i < state->n_impacts; i++)
                json_push(&list, json_pack("{s:s, s:o, s:o, s:o}", "parameter", state->impacts[i].name, "impact",
                                                      json_real(state->impacts[i].impact), "low", json_real_or_null(state->impacts[i].low),
                                                      "high", json_real_or_null(state->impacts[i].high)));
        return list;
}

static json_t *stage_json(const struct plan *plan, unsigned stage) {
        const struct stage_state *state = &plan->stages[stage];
        int64_t total = stage_total(plan, stage);
        json_t *object = json_pack("{s:I, s:s, s:I, s:o}", "index", (json_int_t)stage, "method", method_name(plan->spec->stages[stage].method),
                                   "proposed", (json_int_t)plan->counts[stage].proposed, "total",
                                   total < 0 ? json_null() : json_integer(total));
        if (state->selected) {
                json_t *names = json_array();
                for (size_t i = 0; i < state->n_selected; i++)
                        json_push(&names, json_string(state->selected[i]));
                json_put(&object, "selected", names);
        }
        if (state->impacts)
                json_put(&object, "impacts", impacts_json(state));
        if (state->finalists)
                json_put(&object, "confirmation", confirm_json(plan, stage));
        return object;
}

json_t *plan_describe_stage(struct plan *plan) {
        if (plan->spec->stages[plan->stage].method == METHOD_OFAT && (history_need(plan) < 0 || conclude_ofat(plan, plan->stage) < 0))
                return NULL; /* as far as it has come */
        json_t *object = stage_json(plan, plan->stage);
        json_put(&object, "count", json_integer((json_int_t)plan->spec->n_stages));
        json_t *before = json_array();
        for (unsigned s = 0; s < plan->stage; s++)
                json_push(&before, stage_json(plan, s));
        json_put(&object, "before", before);
        return object;
}

static json_t *snapshot_trial(const struct plan_trial *trial) {
        static const char *const origins[] = {[ORIGIN_PROPOSED] = "proposed", [ORIGIN_ENQUEUED] = "enqueued", [ORIGIN_IMPORTED] = "imported"};
        return json_pack("{s:I, s:i, s:s, s:s, s:o, s:O?}", "number", (json_int_t)trial->number, "stage", (int)trial->stage, "origin",
                         origins[trial->origin], "state", trial_state_name(trial->state), "value",
                         trial->has_value ? json_real(trial->value) : json_null(), "params", trial->params);
}

json_t *plan_snapshot(const struct plan *plan, size_t max) {
        json_t *trials = json_array();
        for (size_t i = plan->n_trials > max ? plan->n_trials - max : 0; i < plan->n_trials; i++)
                json_push(&trials, snapshot_trial(&plan->trials[i]));
        bool is_ready = plan->ready_params && plan->ready_version == plan->version;
        const struct opt_memory_use *use = &plan->memory_use;
        json_t *hyperparameters = json_pack("{s:I, s:I}", "proposals", (json_int_t)use->proposals, "ready", (json_int_t)use->ready);
        return json_pack("{s:I, s:I, s:b, s:b, s:b, s:i, s:i, s:i, s:I, s:I, s:O?, s:O?, s:o, s:o}", "version", (json_int_t)plan->version,
                         "evidence", (json_int_t)plan->evidence, "deferred", plan->load != NULL, "closed", plan->closed, "computing", plan->out != NULL,
                         "stage", (int)plan->stage, "allowed_stage", (int)plan->allowed_stage, "overtaken", (int)plan->n_stale, "trials_total",
                         (json_int_t)plan->n_all, "counted", (json_int_t)plan->n_counted, "ready_params", is_ready ? plan->ready_params : NULL,
                         "ready_proposal", is_ready ? plan->ready_proposal : NULL, "hyperparameters", hyperparameters,
                         "trials", trials);
}
