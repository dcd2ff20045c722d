/* What a finished one-factor-at-a-time stage says.
 *
 * Impact of a factor = max − min of the metric over its levels and the baseline. A failed trial counts as the worst value
 * that the stage has seen (so a level that makes training diverge is a strong factor, not a missing one); a cancelled trial says nothing.
 * select_top k takes the k factors of highest impact among those that the stage can vary; ties go by the spec's order,
 * factors that were never measured come last. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "plan/internal.h"

/* Takes the value that OFAT configuration `index` got into low and high. */
static int take_value(const struct plan *plan, unsigned stage, uint64_t index, double worst, double *low, double *high) {
        _cleanup_json_ json_t *params = ofat_config(plan, stage, index, NULL);
        const struct plan_trial *trial = NULL;
        int r = params ? history_lookup(plan, params, &trial) : -ENOMEM;
        if (r < 0 || !trial)
                return r;
        double value;
        r = confirm_mean(plan, params, &value);
        if (r < 0)
                return r;
        if (isnan(value) && trial->state == TRIAL_FAILED)
                value = worst;
        *low = fmin(*low, value); /* fmin and fmax pass NAN over */
        *high = fmax(*high, value);
        return 0;
}

static int worst_value(const struct plan *plan, unsigned stage, double *ret) {
        double low = NAN, high = NAN;
        for (uint64_t i = 0; i < ofat_count(plan, stage); i++) {
                int r = take_value(plan, stage, i, NAN, &low, &high);
                if (r < 0)
                        return r;
        }
        *ret = plan->spec->metric.maximize ? low : high;
        return 0;
}

static int by_impact(const void *a, const void *b) {
        const struct impact *x = a, *y = b;
        if (x->impact != y->impact)
                return x->impact > y->impact ? -1 : 1;
        return 0;
}

/* Stable for the few dozen factors there can be: equal impacts keep the spec's order, which qsort does not promise. */
static void sort_stable(struct impact *items, size_t n) {
        for (size_t i = 1; i < n; i++) {
                struct impact item = items[i];
                size_t k = i;
                for (; k > 0 && by_impact(&items[k - 1], &item) > 0; k--)
                        items[k] = items[k - 1];
                items[k] = item;
        }
}

/* A difference of decimals without the dust of binary subtraction: 0.205, not 0.20500000000000007. */
static double difference(double high, double low) {
        double scale = fmax(fabs(high), fabs(low)) * 1e-13, d = high - low;
        if (!(scale > 0) || !isfinite(d))
                return d;
        double unit = pow(10, ceil(log10(scale)));
        return unit < 1 ? rint(d / unit) / rint(1 / unit) : rint(d / unit) * unit;
}

int conclude_ofat(struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        struct stage_state *state = &plan->stages[stage];
        struct impact *impacts = calloc(spec->n_levels + 1, sizeof *impacts);
        if (!impacts)
                return -ENOMEM;
        double worst;
        int r = worst_value(plan, stage, &worst);
        uint64_t index = 1; /* 0 is the baseline */
        for (size_t f = 0; f < spec->n_levels && r == 0; f++) {
                double low = NAN, high = NAN;
                r = take_value(plan, stage, 0, worst, &low, &high);
                for (size_t k = 0; k < json_array_size(spec->levels[f].values) && r == 0; k++)
                        r = take_value(plan, stage, index++, worst, &low, &high);
                impacts[f] = (struct impact){spec->levels[f].name, isnan(low) ? 0 : fmin(difference(high, low), DBL_MAX), low, high};
        }
        if (r < 0) {
                free(impacts);
                return r;
        }
        sort_stable(impacts, spec->n_levels);
        free(state->impacts);
        state->impacts = impacts;
        state->n_impacts = spec->n_levels;
        return 0;
}

const struct stage_state *conclude_latest_ofat(const struct plan *plan, unsigned before) {
        for (unsigned s = before; s-- > 0;)
                if (plan->spec->stages[s].method == METHOD_OFAT && plan->stages[s].impacts)
                        return &plan->stages[s];
        return NULL;
}

static bool can_vary(const struct plan *plan, unsigned stage, const char *name) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        if (relations_leader(&plan->spec->relations, name))
                return false; /* it follows */
        for (size_t i = 0; i < spec->n_levels; i++)
                if (strcmp(spec->levels[i].name, name) == 0)
                        return true;
        if (spec->n_levels > 0)
                return false;
        const struct parameter *p = parameter_find(stage_parameters(plan, stage), name);
        return p && p->distribution != DIST_CONSTANT;
}

static void select_name(struct stage_state *state, size_t limit, const char *name) {
        for (size_t i = 0; i < state->n_selected; i++)
                if (strcmp(state->selected[i], name) == 0)
                        return;
        if (state->n_selected < limit)
                state->selected[state->n_selected++] = name;
}

int conclude_select(struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        struct stage_state *state = &plan->stages[stage];
        if (spec->select_top == 0)
                return 0;
        free(state->selected);
        state->n_selected = 0;
        state->selected = calloc(spec->select_top + 1, sizeof *state->selected);
        if (!state->selected)
                return -ENOMEM;
        const struct stage_state *ofat = conclude_latest_ofat(plan, stage);
        for (size_t i = 0; ofat && i < ofat->n_impacts; i++)
                if (can_vary(plan, stage, ofat->impacts[i].name))
                        select_name(state, spec->select_top, ofat->impacts[i].name);
        for (size_t i = 0; i < spec->n_levels; i++)
                select_name(state, spec->select_top, spec->levels[i].name);
        const struct parameter_list *parameters = stage_parameters(plan, stage);
        for (size_t i = 0; spec->n_levels == 0 && i < parameters->n; i++)
                if (can_vary(plan, stage, parameters->items[i].name))
                        select_name(state, spec->select_top, parameters->items[i].name);
        return 0;
}

bool stage_varies(const struct plan *plan, unsigned stage, const char *name) {
        const struct stage_state *state = &plan->stages[stage];
        if (!can_vary(plan, stage, name))
                return false;
        if (!state->selected)
                return true;
        for (size_t i = 0; i < state->n_selected; i++)
                if (strcmp(state->selected[i], name) == 0)
                        return true;
        return false;
}
