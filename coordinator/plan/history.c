#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "plan/internal.h"

struct plan_trial *history_find(const struct plan *plan, uint64_t number) {
        size_t low = 0, high = plan->n_trials;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (plan->trials[middle].number < number)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < plan->n_trials && plan->trials[low].number == number ? &plan->trials[low] : NULL;
}

const struct plan_trial *history_lookup(const struct plan *plan, const json_t *params) {
        _cleanup_free_ char *key = config_key(params);
        const json_t *index = key ? json_object_get(plan->by_key, key) : NULL;
        return index ? &plan->trials[json_integer_value(index)] : NULL;
}

static int remember_key(struct plan *plan, const json_t *params, size_t index) {
        _cleanup_free_ char *key = config_key(params);
        if (!key)
                return -ENOMEM;
        if (json_object_get(plan->by_key, key))
                return 0;
        return json_object_set_new(plan->by_key, key, json_integer((json_int_t)index)) < 0 ? -ENOMEM : 0;
}

int plan_trial_added(struct plan *plan, uint64_t number, unsigned stage, enum trial_origin origin, const json_t *params) {
        if (plan->n_trials == plan->cap_trials) {
                size_t cap = plan->cap_trials ? plan->cap_trials * 2 : 64;
                struct plan_trial *trials = realloc(plan->trials, cap * sizeof *trials);
                if (!trials)
                        return -ENOMEM;
                plan->trials = trials;
                plan->cap_trials = cap;
        }
        if (plan->n_trials > 0 && plan->trials[plan->n_trials - 1].number >= number)
                return -EINVAL;
        if (stage >= plan->spec->n_stages)
                stage = (unsigned)plan->spec->n_stages - 1;
        while (plan->stage < stage) { /* history of a plan made anew: the stage began before this trial */
                int r = stage_begin(plan, plan->stage + 1);
                if (r < 0)
                        return r;
        }
        int r = remember_key(plan, params, plan->n_trials);
        if (r < 0)
                return r;
        plan->trials[plan->n_trials++] = (struct plan_trial){
                .number = number, .stage = stage, .origin = origin, .state = TRIAL_QUEUED, .params = json_incref((json_t *)params)};
        plan->counts[stage].unended++;
        plan->counts[stage].proposed += origin == ORIGIN_PROPOSED;
        plan->counts[stage].enqueued += origin == ORIGIN_ENQUEUED;
        plan->n_counted += origin != ORIGIN_IMPORTED;
        plan->version++;
        return 0;
}

void plan_trial_state(struct plan *plan, uint64_t number, enum trial_state state, bool has_value, double value) {
        struct plan_trial *trial = history_find(plan, number);
        if (!trial)
                return;
        bool was_ended = trial_state_ended(trial->state), is_ended = trial_state_ended(state);
        if (!was_ended && is_ended)
                plan->counts[trial->stage].unended--;
        else if (was_ended && !is_ended)
                plan->counts[trial->stage].unended++;
        if (was_ended != is_ended || trial->has_value != has_value || (has_value && trial->value != value)) {
                plan->version++;
                plan->evidence++;
        }
        trial->state = state;
        trial->has_value = has_value;
        trial->value = has_value ? value : 0;
}
