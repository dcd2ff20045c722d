/* The same configuration several times: `repeats` of a sweep, and the confirm stage, which repeats the best configurations of
 * the stages before it with fresh seeds. What a search saw of its best configuration is flattered by the choice; only the
 * fresh trials decide on the winner. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "opt/explain.h"
#include "plan/internal.h"
#include "proto/limits.h"

int confirm_mean(const struct plan *plan, const json_t *params, double *ret) {
        const struct plan_trial *first = NULL;
        int r = history_lookup(plan, params, &first);
        if (r < 0)
                return r;
        double sum = 0;
        size_t n = 0;
        for (const struct plan_trial *t = first; t && t < plan->trials + plan->n_trials; t++) {
                if (t != first && plan->spec->repeats == 1)
                        break;
                if (!t->has_value || (t != first && !json_same(t->params, first->params)))
                        continue;
                sum += t->value;
                n++;
        }
        *ret = n ? sum / (double)n : NAN;
        return 0;
}

/* The configuration that this stage proposed last, until it has its repeats. */
int next_repeat(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        if (plan->spec->repeats <= 1 || plan->spec->stages[plan->stage].method == METHOD_CONFIRM)
                return CONFIRM_NOTHING;
        int r = history_need(plan);
        if (r < 0)
                return r;
        const struct plan_trial *latest = NULL, *first = NULL;
        unsigned n = 0;
        for (size_t i = plan->n_trials; i-- > 0 && plan->trials[i].stage == plan->stage;) {
                const struct plan_trial *trial = &plan->trials[i];
                if (trial->origin != ORIGIN_PROPOSED)
                        continue;
                latest = latest ? latest : trial;
                if (!json_same(trial->params, latest->params))
                        break;
                first = trial;
                n++;
        }
        if (!latest || n % plan->spec->repeats == 0) /* a space that is used up may be proposed again */
                return CONFIRM_NOTHING;
        *ret_params = json_incref(latest->params);
        *ret_proposal = json_pack("{s:s, s:I, s:i}", "source", "repeat", "of", (json_int_t)first->number, "repeat",
                                  (int)(n % plan->spec->repeats) + 1);
        return *ret_proposal ? 0 : -ENOMEM;
}

/* In turns, so that an end before the last one leaves the finalists equal. */
int next_confirm(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        const struct stage_state *state = &plan->stages[plan->stage];
        uint64_t index = plan->counts[plan->stage].proposed;
        if (!state->finalists)
                return CONFIRM_UNKNOWN;
        if (state->n_finalists == 0 || index >= state->n_finalists * plan->spec->stages[plan->stage].repeats)
                return CONFIRM_NOTHING;
        uint64_t number = state->finalists[index % state->n_finalists];
        const struct plan_trial *trial = history_find(plan, number);
        if (!trial)
                return -EINVAL;
        *ret_params = json_incref(trial->params);
        *ret_proposal = json_pack("{s:s, s:I, s:I}", "source", "confirm", "of", (json_int_t)number, "repeat",
                                  (json_int_t)(index / state->n_finalists) + 1);
        return *ret_proposal ? 0 : -ENOMEM;
}

int confirm_freeze(struct plan *plan, unsigned stage) {
        struct stage_state *state = &plan->stages[stage];
        state->then = calloc(plan->n_trials + 1, sizeof *state->then);
        if (!state->then)
                return -ENOMEM;
        for (size_t i = 0; i < plan->n_trials; i++)
                state->then[i] = (struct plan_outcome){plan->trials[i].state, plan->trials[i].has_value, plan->trials[i].value};
        state->n_then = plan->n_trials;
        return 0;
}

bool confirm_recall(const struct plan *plan, unsigned stage, size_t i, struct plan_trial *ret) {
        *ret = plan->trials[i];
        if (stage == 0)
                return true;
        const struct stage_state *state = &plan->stages[stage];
        if (i >= state->n_then || ret->stage >= stage)
                return false;
        ret->state = state->then[i].state;
        ret->has_value = state->then[i].has_value;
        ret->value = state->then[i].value;
        return true;
}

struct tally {
        size_t n;
        double mean, squares; /* sum of squared distances from the mean */
};

static struct tally tally_of(const struct plan *plan, unsigned stage, const json_t *params) {
        struct tally tally = {0};
        for (size_t i = 0; i < plan->n_trials; i++) {
                const struct plan_trial *trial = &plan->trials[i];
                if (trial->stage != stage || !trial->has_value || !json_same(trial->params, params))
                        continue;
                double distance = trial->value - tally.mean;
                tally.mean += distance / (double)++tally.n;
                tally.squares += distance * (trial->value - tally.mean);
        }
        return tally;
}

static json_t *finalist_json(const struct plan_trial *trial, const struct tally *tally, double chance) {
        double sd = tally->n > 1 ? sqrt(tally->squares / (double)(tally->n - 1)) : NAN;
        return json_pack("{s:I, s:O, s:I, s:o, s:o, s:o}", "trial", (json_int_t)trial->number, "params", trial->params, "n",
                         (json_int_t)tally->n, "mean", tally->n ? json_real_or_null(tally->mean) : json_null(), "sd",
                         json_real_or_null(sd), "chance_of_best", json_real_or_null(chance));
}

uint64_t confirm_winner(const struct plan *plan) {
        const struct stage_state *state = &plan->stages[plan->stage];
        const struct stage_counts *counts = &plan->counts[plan->stage];
        if (!state->finalists || state->n_finalists == 0 || counts->unended > 0 ||
            counts->proposed < state->n_finalists * plan->spec->stages[plan->stage].repeats)
                return 0;
        _cleanup_json_ json_t *confirmation = confirm_json(plan, plan->stage);
        return (uint64_t)json_integer_value(json_object_get(confirmation, "winner"));
}

json_t *confirm_json(const struct plan *plan, unsigned stage) {
        const struct stage_state *state = &plan->stages[stage];
        size_t n = state->n_finalists, freedom = 0, winner = n;
        if (!state->finalists)
                return NULL;
        struct tally tallies[LIMIT_TOP_K];
        double mean[LIMIT_TOP_K], chance[LIMIT_TOP_K], squares = 0;
        size_t count[LIMIT_TOP_K];
        bool maximize = plan->spec->metric.maximize;
        for (size_t i = 0; i < n; i++) {
                const struct plan_trial *trial = history_find(plan, state->finalists[i]);
                tallies[i] = trial ? tally_of(plan, stage, trial->params) : (struct tally){0};
                mean[i] = tallies[i].mean;
                count[i] = tallies[i].n;
                squares += tallies[i].squares;
                freedom += tallies[i].n > 0 ? tallies[i].n - 1 : 0;
                chance[i] = NAN;
                if (count[i] > 0 && (winner == n || (maximize ? mean[i] > mean[winner] : mean[i] < mean[winner])))
                        winner = i;
        }
        if (freedom > 0)
                opt_chances(n, mean, count, squares / (double)freedom, freedom, maximize, plan->seed, chance);
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
                const struct plan_trial *trial = history_find(plan, state->finalists[i]);
                if (trial)
                        json_push(&list, finalist_json(trial, &tallies[i], chance[i]));
        }
        return json_pack("{s:o, s:o, s:o}", "finalists", list, "winner",
                         winner < n ? json_integer((json_int_t)state->finalists[winner]) : json_null(), "confidence",
                         winner < n && !isnan(chance[winner]) ? json_real(chance[winner]) : json_null());
}
