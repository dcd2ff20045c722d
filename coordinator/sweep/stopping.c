/* Stopping rules.
 *
 * hyperband is Weights & Biases' (sweeps, hyperband_stopping.py): at the last band that a trial has reached, it stops when
 * it is worse than the value at place int(n / eta) of all trials there, best first; it is looked at again on every report,
 * since later trials move that value. asha is the stopping form of Li et al. 2018 (arXiv 1810.05934): at a new rung only
 * the best n / eta of the trials that have come so far go on, and nobody is stopped there while they are fewer than eta.
 * median is that of Vizier (Golovin et al. 2017, 3.2.1). */
#include "sweep/stopping.h"

#include <math.h>
#include <stdlib.h>

#define MAX_BANDS 100        /* W&B's, for min_iter */
#define MAX_ITERATION 1e15   /* beyond every curve, and a whole number for a double */

static double level(const struct curve *curve, uint64_t iteration, bool by_last) {
        const struct curve_point *point = &curve->points[iteration - 1];
        return by_last ? point->value : point->best;
}

/* min_iter, min_iter eta, … truncated: the last one that is at most n, and below `limit` unless that is 0. */
static uint64_t rising_band(double min_iter, double eta, uint64_t n, uint64_t limit) {
        uint64_t reached = 0;
        double band = min_iter;
        for (int i = 0; i < MAX_BANDS && band < MAX_ITERATION; i++, band *= eta) {
                uint64_t whole = (uint64_t)band;
                if (whole > n || (limit > 0 && whole >= limit))
                        break;
                reached = whole;
        }
        return reached;
}

/* max_iter / eta, / eta², … s of them, truncated: the largest that is at most n. */
static uint64_t falling_band(double max_iter, double eta, unsigned s, uint64_t n) {
        double band = max_iter;
        for (unsigned i = 0; i < s; i++) {
                band /= eta;
                if (band < 1)
                        return 0;
                if ((uint64_t)band <= n)
                        return (uint64_t)band;
        }
        return 0;
}

uint64_t stopping_band(const struct stop_rule *rule, uint64_t n) {
        if (rule->max_iter > 0)
                return falling_band((double)rule->max_iter, rule->eta, rule->s, n);
        return rising_band((double)rule->min_iter, rule->eta, n, 0);
}

static bool judge_hyperband(const struct stop_rule *rule, const struct curve_table *table, const struct curve *curve) {
        uint64_t band = stopping_band(rule, curve->n);
        if (band == 0)
                return false;
        double mine = rule->strict ? curve->points[band - 1].value : curve->points[curve->n - 1].best;
        size_t n = 0, n_better = 0;
        for (size_t i = 0; i < table->n; i++)
                if (table->items[i].n >= band) {
                        n++;
                        n_better += table->items[i].points[band - 1].value < mine;
                }
        return n_better > (size_t)(1 / rule->eta * (double)n); /* so the one at that place is better */
}

static bool judge_asha(const struct stop_rule *rule, const struct curve_table *table, const struct curve *curve, bool by_last,
                       size_t n_before) {
        uint64_t rung = rising_band((double)rule->min_iter, rule->eta, curve->n, rule->max_iter);
        if (rung <= n_before) /* none, or judged before */
                return false;
        double mine = level(curve, rung, by_last);
        size_t n = 0, n_better = 0;
        for (size_t i = 0; i < table->n; i++)
                if (table->items[i].n >= rung) {
                        n++;
                        n_better += level(&table->items[i], rung, by_last) < mine;
                }
        double n_kept = floor((double)n / rule->eta);
        return n_kept >= 1 && (double)n_better >= n_kept;
}

static int compare(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

/* Without memory for the comparison nobody is stopped. */
static bool judge_median(const struct stop_rule *rule, const struct curve_table *table, const struct curve *curve, bool by_last) {
        size_t iteration = curve->n, n = 0;
        double *averages = iteration >= rule->min_iter ? malloc((table->n + 1) * sizeof *averages) : NULL;
        if (!averages)
                return false;
        for (size_t i = 0; i < table->n; i++)
                if (&table->items[i] != curve && table->items[i].n >= iteration)
                        averages[n++] = table->items[i].points[iteration - 1].sum / (double)iteration;
        bool stop = false;
        if (n > 0 && n >= rule->min_trials) {
                qsort(averages, n, sizeof *averages, compare);
                stop = level(curve, iteration, by_last) > (averages[(n - 1) / 2] + averages[n / 2]) / 2;
        }
        free(averages);
        return stop;
}

static bool judge_curve(const struct stop_rule *rule, const struct curve_table *table, const struct curve *curve, bool by_last,
                        uint64_t number) {
        double chance;
        return curve->n >= rule->min_iter && forecast_chance(table, by_last, number, rule->min_trials, &chance) && chance < rule->threshold;
}

bool stopping_judge(const struct stop_rule *rule, const struct curve_table *table, bool by_last, uint64_t number, size_t n_before) {
        const struct curve *curve = curve_table_get(table, number);
        if (curve->n == 0)
                return false;
        switch (rule->type) {
        case STOP_HYPERBAND:
                return judge_hyperband(rule, table, curve);
        case STOP_ASHA:
                return judge_asha(rule, table, curve, by_last, n_before);
        case STOP_MEDIAN:
                return judge_median(rule, table, curve, by_last);
        case STOP_CURVE:
                return judge_curve(rule, table, curve, by_last, number);
        default:
                return false;
        }
}
