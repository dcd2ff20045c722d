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

int history_lookup(const struct plan *plan, const json_t *params, const struct plan_trial **ret) {
        _cleanup_free_ char *key = config_key(params);
        if (!key)
                return -ENOMEM;
        const json_t *index = json_object_get(plan->by_key, key);
        *ret = index ? &plan->trials[json_integer_value(index)] : NULL;
        return 0;
}

/* --- a history that is still in the store ------------------------------------------------------------- */

bool plan_defer(struct plan *plan, int (*load)(void *data), void *data) {
        if (plan->spec->n_stages != 1) /* where the stages stand is known from the trials alone */
                return false;
        plan->load = load;
        plan->load_data = data;
        return true;
}

static void count_added(struct plan *plan, unsigned stage, enum trial_origin origin, uint64_t n) {
        plan->counts[stage].proposed += origin == ORIGIN_PROPOSED ? n : 0;
        plan->counts[stage].enqueued += origin == ORIGIN_ENQUEUED ? n : 0;
        plan->counts[stage].added += n;
        plan->n_counted += origin != ORIGIN_IMPORTED ? n : 0;
        plan->n_all += n;
}

void plan_tally(struct plan *plan, const struct plan_tally *tally) {
        count_added(plan, 0, tally->origin, tally->n);
        if (!trial_state_ended(tally->state))
                plan->counts[0].unended += tally->n;
}

static void drop_trials(struct plan *plan) {
        while (plan->n_trials > 0)
                json_decref(plan->trials[--plan->n_trials].params);
        json_object_clear(plan->by_key);
        plan->points.n = 0;
}

/* A question has brought the trials here, and by now there are more than any question looks at. Random and Sobol points need
 * none, so they go: a sweep that runs for weeks must not gather them. */
static void forget_long_history(struct plan *plan) {
        enum method method = plan->spec->stages[0].method;
        if (!plan->reload || plan->n_trials < TRIALS_MODELLED_MAX || plan->spec->repeats > 1 || (method != METHOD_RANDOM && method != METHOD_SOBOL))
                return;
        drop_trials(plan);
        free(plan->trials);
        plan->trials = NULL;
        plan->cap_trials = 0;
        plan->load = plan->reload;
        plan->reload = NULL;
}

int history_need(struct plan *plan) {
        if (!plan->load)
                return 0;
        int (*load)(void *data) = plan->load;
        const struct stage_counts counts = plan->counts[0];
        uint64_t n_counted = plan->n_counted, n_all = plan->n_all, version = plan->version, evidence = plan->evidence;
        plan->load = NULL; /* what is told from here on is the history itself */
        plan->counts[0] = (struct stage_counts){0};
        plan->n_counted = plan->n_all = 0;
        int r = load(plan->load_data);
        plan->version = version; /* nothing has changed */
        plan->evidence = evidence;
        if (r == 0) {
                plan->reload = load;
                return 0;
        }
        drop_trials(plan);
        plan->counts[0] = counts;
        plan->n_counted = n_counted;
        plan->n_all = n_all;
        plan->load = load;
        return r;
}

/* --- events ------------------------------------------------------------------------------------------- */

static int remember_key(struct plan *plan, const json_t *params, size_t index) {
        _cleanup_free_ char *key = config_key(params);
        if (!key)
                return -ENOMEM;
        if (json_object_get(plan->by_key, key))
                return 0;
        return json_object_set_new(plan->by_key, key, json_integer((json_int_t)index)) < 0 ? -ENOMEM : 0;
}

int plan_trial_added(struct plan *plan, uint64_t number, unsigned stage, enum trial_origin origin, const json_t *as_stored) {
        forget_long_history(plan);
        if (plan->load) {
                plan->counts[0].unended++;
                count_added(plan, 0, origin, 1);
                plan->version++;
                return 0;
        }
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
        stage_unwind(plan);
        while (plan->stage < stage) { /* history of a plan made anew: the stage began before this trial */
                int r = stage_begin(plan, plan->stage + 1);
                if (r < 0)
                        return r;
        }
        _cleanup_json_ json_t *params = params_fill(plan, as_stored);
        int r = params ? remember_key(plan, params, plan->n_trials) : -ENOMEM;
        if (r < 0)
                return r;
        plan->trials[plan->n_trials++] = (struct plan_trial){
                .number = number, .stage = stage, .origin = origin, .state = TRIAL_QUEUED, .params = TAKE(params)};
        plan->counts[stage].unended++;
        count_added(plan, stage, origin, 1);
        plan->version++;
        job_overtaken(plan);
        return 0;
}

void plan_trial_foreign(struct plan *plan, uint64_t number) {
        struct plan_trial *trial = history_find(plan, number); /* none while the history is still in the store */
        if (trial)
                trial->is_foreign = true;
}

void plan_trial_state(struct plan *plan, uint64_t number, enum trial_state state, bool has_value, double value) {
        if (plan->load) { /* a trial ends once, and only one that has ended is taken back into the queue */
                plan->counts[0].unended += trial_state_ended(state) ? -1 : 1;
                plan->version++;
                plan->evidence++;
                return;
        }
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
                trial->changed = ++plan->n_changes;
                job_overtaken(plan);
        }
        trial->state = state;
        trial->has_value = has_value;
        trial->value = has_value ? value : 0;
}
