/* Which running trial is told to stop: pure functions of a rule and the sweep's curves, so that the same history always
 * gives the same answer. The trial that is judged is among the curves. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/stop_rule.h"
#include "sweep/curves.h"

/* Should trial `number` stop? n_before: how many points its curve had before the report that is judged (asha looks at a
 * trial once, when it reaches a rung). by_last: a trial's value is its last point, not its best. */
bool stopping_judge(const struct stop_rule *rule, const struct curve_table *table, bool by_last, uint64_t number, size_t n_before);

/* The last band that a curve of n points has reached, 0 = none: Weights & Biases' bands. */
uint64_t stopping_band(const struct stop_rule *rule, uint64_t n);

/* --- of the curve rule, in forecast.c ------------------------------------------------------------------------- */

/* The chance that trial `number` ends better than the best completed one, from how completed trials went on from the same
 * iteration: end = level there + a + b level + noise, by conjugate Bayesian regression (Gelman et al., Bayesian Data
 * Analysis, 3rd ed., ch. 14), whose prediction is Student's t. false when fewer than min_trials can be compared. */
bool forecast_chance(const struct curve_table *table, bool by_last, uint64_t number, unsigned min_trials, double *ret);

/* Student's distribution function with a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4). */
double student_cdf(double t, unsigned degrees);
