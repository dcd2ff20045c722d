/* Search spaces: every distribution is a map from the unit interval, its quantile function, as in W&B; the model and all
 * samplers work in the unit cube only.
 *
 * Quantised dimensions round half to even to multiples of `step` and stay within the outermost multiples inside the
 * bounds. Discrete values stand for an interval of the unit line; opt_dim_to_unit gives an inner point of it, so that the
 * way back is exact. */
#include "opt/space.h"

#include <math.h>

#include "common/rng.h"
#include "opt/quantile.h"
#include "opt/sobol.h"

#define ALMOST_ONE (1 - 0x1p-53)
#define MAX_CARDINALITY 9007199254740992.0 /* 2^53 */

static double clamp(double x, double low, double high) {
        return x < low ? low : x > high ? high : x;
}

static bool is_bounded(const struct opt_dim *dim) {
        return dim->kind != OPT_NORMAL && dim->kind != OPT_LOG_NORMAL;
}

static double lower(const struct opt_dim *dim) {
        return dim->kind == OPT_BETA ? 0 : dim->low;
}

static double upper(const struct opt_dim *dim) {
        return dim->kind == OPT_BETA ? 1 : dim->high;
}

/* Lattice indices of the outermost multiples; a bound that is a multiple up to rounding counts as one. */
static double lowest_level(const struct opt_dim *dim) {
        return ceil(lower(dim) / dim->step - 1e-9);
}

static double highest_level(const struct opt_dim *dim) {
        return floor(upper(dim) / dim->step + 1e-9);
}

/* level * step, never -0.0; a step that is a fraction 1/m is divided by m, so that 3 * 0.1 is the 0.3 that people write. */
static double level_value(const struct opt_dim *dim, double level) {
        double inverse = rint(1 / dim->step);
        if (inverse > 1 && fabs(1 / dim->step - inverse) < 1e-9 * inverse)
                return level / inverse + 0.0;
        return level * dim->step + 0.0;
}

static double quantise(const struct opt_dim *dim, double value) {
        double level = rint(value / dim->step);
        if (!isfinite(level)) /* steps far below what a double of that size resolves */
                return value;
        if (is_bounded(dim)) {
                double low = lowest_level(dim), high = highest_level(dim);
                if (low > high) /* no multiple fits: the bounds win over the lattice */
                        return clamp(value, lower(dim), upper(dim));
                level = clamp(level, low, high);
        }
        if (dim->kind == OPT_LOG_NORMAL)
                level = fmax(level, 0);
        return level_value(dim, level);
}

bool dim_choice_allowed(const struct opt_dim *dim, size_t choice) {
        return !dim->probabilities || dim->probabilities[choice] > 0;
}

static double choice_from_unit(const struct opt_dim *dim, double u) {
        if (!dim->probabilities)
                return clamp(ceil(u * (double)dim->n_choices) - 1, 0, (double)dim->n_choices - 1);
        double total = 0;
        size_t last = 0;
        for (size_t i = 0; i < dim->n_choices; i++) {
                total += dim->probabilities[i];
                if (!dim_choice_allowed(dim, i))
                        continue;
                last = i;
                if (u <= total)
                        return (double)i;
        }
        return (double)last;
}

static double choice_to_unit(const struct opt_dim *dim, double value) {
        size_t choice = (size_t)clamp(rint(value), 0, (double)dim->n_choices - 1);
        if (!dim->probabilities)
                return ((double)choice + 0.5) / (double)dim->n_choices;
        double total = 0;
        for (size_t i = 0; i < choice; i++)
                total += dim->probabilities[i];
        return clamp(total + 0.5 * dim->probabilities[choice], 0, 1);
}

static double integer_count(const struct opt_dim *dim) {
        return floor(dim->high) - ceil(dim->low) + 1;
}

#define LARGEST 1e300 /* of an unbounded distribution: every proposal is finite */

static double continuous_from_unit(const struct opt_dim *dim, double u) {
        switch (dim->kind) {
        case OPT_UNIFORM:
                return clamp(dim->low + u * (dim->high - dim->low), dim->low, dim->high);
        case OPT_LOG_UNIFORM:
                return clamp(exp(log(dim->low) + u * (log(dim->high) - log(dim->low))), dim->low, dim->high);
        case OPT_INV_LOG_UNIFORM:
                return clamp(exp(log(dim->high) - u * (log(dim->high) - log(dim->low))), dim->low, dim->high);
        case OPT_NORMAL:
                return clamp(dim->mu + dim->sigma * normal_quantile(clamp(u, 0x1p-53, ALMOST_ONE)), -LARGEST, LARGEST);
        case OPT_LOG_NORMAL:
                return fmin(exp(dim->mu + dim->sigma * normal_quantile(clamp(u, 0x1p-53, ALMOST_ONE))), LARGEST);
        default:
                return beta_quantile(u, fmax(dim->a, 1e-6), fmax(dim->b, 1e-6));
        }
}

double opt_dim_from_unit(const struct opt_dim *dim, double u) {
        if (dim->held)
                return dim->held_value;
        u = clamp(u, 0, 1);
        if (dim->kind == OPT_CATEGORICAL)
                return choice_from_unit(dim, u);
        if (dim->kind == OPT_INTEGER) {
                double n = integer_count(dim);
                return ceil(dim->low) + clamp(ceil(u * n) - 1, 0, n - 1);
        }
        double value = continuous_from_unit(dim, u);
        return dim->step > 0 ? quantise(dim, value) : value;
}

static double ratio(double part, double whole) {
        return whole > 0 ? clamp(part / whole, 0, 1) : 0.5;
}

double opt_dim_to_unit(const struct opt_dim *dim, double value) {
        switch (dim->kind) {
        case OPT_CATEGORICAL:
                return choice_to_unit(dim, value);
        case OPT_INTEGER:
                return ratio(clamp(value, dim->low, dim->high) - ceil(dim->low) + 0.5, integer_count(dim));
        case OPT_UNIFORM:
                return ratio(value - dim->low, dim->high - dim->low);
        case OPT_LOG_UNIFORM:
                return ratio(log(clamp(value, dim->low, dim->high)) - log(dim->low), log(dim->high) - log(dim->low));
        case OPT_INV_LOG_UNIFORM:
                return ratio(log(dim->high) - log(clamp(value, dim->low, dim->high)), log(dim->high) - log(dim->low));
        case OPT_NORMAL:
                return dim->sigma > 0 ? normal_cdf((value - dim->mu) / dim->sigma) : 0.5;
        case OPT_LOG_NORMAL:
                return dim->sigma > 0 ? normal_cdf((log(fmax(value, 1e-300)) - dim->mu) / dim->sigma) : 0.5;
        case OPT_BETA:
                return beta_cdf(value, fmax(dim->a, 1e-6), fmax(dim->b, 1e-6));
        }
        return 0.5;
}

#define MAX_STRETCH 8 /* evidence further out than this is as good as at infinity */

static double stretch(double part, double whole) {
        return whole > 0 ? clamp(part / whole, -MAX_STRETCH, MAX_STRETCH) : 0.5 + clamp(part, -MAX_STRETCH, MAX_STRETCH);
}

static bool is_single_value(const struct opt_dim *dim) {
        if (dim->held)
                return true;
        if (dim->kind == OPT_NORMAL || dim->kind == OPT_LOG_NORMAL)
                return dim->sigma <= 0;
        return dim->kind != OPT_BETA && dim->low >= dim->high;
}

static double count_values(const struct opt_dim *dim) {
        if (dim->held)
                return 1;
        if (dim->kind == OPT_CATEGORICAL) {
                double n = 0;
                for (size_t i = 0; i < dim->n_choices; i++)
                        n += dim_choice_allowed(dim, i);
                return n;
        }
        if (dim->kind == OPT_INTEGER)
                return integer_count(dim);
        if (is_single_value(dim))
                return 1;
        if (dim->step > 0 && is_bounded(dim) && highest_level(dim) >= lowest_level(dim))
                return highest_level(dim) - lowest_level(dim) + 1;
        return 0;
}

uint64_t opt_dim_cardinality(const struct opt_dim *dim) {
        double n = count_values(dim);
        return n > MAX_CARDINALITY ? 0 : (uint64_t)n;
}

uint64_t opt_space_cardinality(const struct opt_space *space) {
        double total = 1;
        for (size_t i = 0; i < space->n_dims; i++) {
                total *= count_values(&space->dims[i]);
                if (total > MAX_CARDINALITY)
                        return 0;
        }
        return (uint64_t)total;
}

bool dim_is_discrete(const struct opt_dim *dim) {
        return dim->kind == OPT_CATEGORICAL || dim->kind == OPT_INTEGER || dim->step > 0 || is_single_value(dim);
}

double dim_snap(const struct opt_dim *dim, double value) {
        if (dim->held)
                return dim->held_value;
        if (dim->kind == OPT_CATEGORICAL) {
                size_t choice = (size_t)clamp(rint(value), 0, (double)dim->n_choices - 1);
                return dim_choice_allowed(dim, choice) ? (double)choice : dim_level(dim, 0);
        }
        if (dim->kind == OPT_INTEGER)
                return clamp(rint(value), ceil(dim->low), floor(dim->high));
        if (dim->step > 0)
                return quantise(dim, value);
        return is_bounded(dim) ? clamp(value, lower(dim), upper(dim)) : value;
}

double dim_neighbour(const struct opt_dim *dim, double value, double n_steps) {
        if (dim->kind != OPT_INTEGER && !(dim->step > 0))
                return dim_snap(dim, value);
        return dim_snap(dim, value + n_steps * (dim->kind == OPT_INTEGER ? 1 : dim->step));
}

double dim_level(const struct opt_dim *dim, uint64_t k) {
        if (dim->held)
                return dim->held_value;
        if (dim->kind == OPT_CATEGORICAL) {
                size_t choice = 0;
                for (uint64_t seen = 0; choice < dim->n_choices; choice++)
                        if (dim_choice_allowed(dim, choice) && seen++ == k)
                                break;
                return (double)choice;
        }
        if (dim->kind == OPT_INTEGER)
                return ceil(dim->low) + (double)k;
        if (dim->step > 0 && !is_single_value(dim))
                return level_value(dim, lowest_level(dim) + (double)k);
        return opt_dim_from_unit(dim, 0.5);
}

void space_point(const struct opt_space *space, uint64_t index, double *x) {
        for (size_t i = 0; i < space->n_dims; i++) {
                uint64_t n = opt_dim_cardinality(&space->dims[i]);
                x[i] = dim_level(&space->dims[i], n ? index % n : 0);
                index /= n ? n : 1;
        }
}

/* The unit coordinate, continued beyond the bounds where the scale has them, up to a few widths of the range. */
double dim_feature(const struct opt_dim *dim, double value) {
        switch (dim->kind) {
        case OPT_CATEGORICAL:
                return clamp(rint(value), 0, (double)dim->n_choices - 1);
        case OPT_INTEGER:
                return stretch(value - ceil(dim->low) + 0.5, integer_count(dim));
        case OPT_UNIFORM:
                return stretch(value - dim->low, dim->high - dim->low);
        case OPT_LOG_UNIFORM:
                return stretch(log(fmax(value, 1e-300)) - log(dim->low), log(dim->high) - log(dim->low));
        case OPT_INV_LOG_UNIFORM:
                return stretch(log(dim->high) - log(fmax(value, 1e-300)), log(dim->high) - log(dim->low));
        default:
                return opt_dim_to_unit(dim, value);
        }
}

/* --- conditions and constraints ---------------------------------------------------------------------- */

double opt_dim_resting(const struct opt_dim *dim) {
        if (dim->held)
                return dim->held_value;
        return dim->kind == OPT_CATEGORICAL ? dim_level(dim, 0) : opt_dim_from_unit(dim, 0.5);
}

static bool is_among(const double *values, size_t n, double x) {
        for (size_t i = 0; i < n; i++)
                if (values[i] == x)
                        return true;
        return false;
}

/* Parents' own conditions come first, so one pass is enough. */
void opt_space_counts(const struct opt_space *space, const double *x, bool *ret) {
        for (size_t k = 0; k < space->n_dims; k++)
                ret[k] = true;
        for (size_t i = 0; i < space->n_conditions; i++) {
                const struct opt_condition *c = &space->conditions[i];
                ret[c->dim] &= c->n_values > 0 && ret[c->parent] && is_among(c->values, c->n_values, x[c->parent]);
        }
}

void opt_space_settle(const struct opt_space *space, double *x) {
        bool counts[OPT_DIMS_MAX];
        if (space->n_conditions == 0)
                return;
        opt_space_counts(space, x, counts);
        for (size_t k = 0; k < space->n_dims; k++)
                if (!counts[k])
                        x[k] = opt_dim_resting(&space->dims[k]);
}

/* How far a constraint is missed: negative = too low. Rounding errors of a sum of decimals are no miss. */
static double constraint_miss(const struct opt_space *space, const struct opt_constraint *constraint, const bool *counts, const double *x) {
        double sum = 0;
        for (size_t k = 0; k < space->n_dims; k++)
                if (counts[k])
                        sum += constraint->factors[k] * x[k];
        double slack = 1e-9 * fmax(1, fabs(sum));
        return sum < constraint->low - slack ? sum - constraint->low : sum > constraint->high + slack ? sum - constraint->high : 0;
}

bool opt_space_allows(const struct opt_space *space, const double *x) {
        bool counts[OPT_DIMS_MAX];
        if (space->n_constraints == 0)
                return true;
        opt_space_counts(space, x, counts);
        for (size_t i = 0; i < space->n_constraints; i++)
                if (constraint_miss(space, &space->constraints[i], counts, x) != 0)
                        return false;
        return true;
}

static double range_of(const struct opt_dim *dim) {
        switch (dim->kind) {
        case OPT_NORMAL:
                return dim->sigma;
        case OPT_LOG_NORMAL:
                return exp(dim->mu + dim->sigma);
        default:
                return upper(dim) - lower(dim);
        }
}

#define REPAIR_ROUNDS 400

/* Moves x onto the constraint that is missed by `miss`: every dimension that counts in proportion to its squared range. */
static void project(const struct opt_space *space, const struct opt_constraint *constraint, const bool *counts, double miss, double *x) {
        double norm = 0;
        for (size_t k = 0; k < space->n_dims; k++)
                if (counts[k] && !space->dims[k].held)
                        norm += pow(constraint->factors[k] * range_of(&space->dims[k]), 2);
        for (size_t k = 0; norm > 0 && k < space->n_dims; k++)
                if (counts[k] && constraint->factors[k] != 0)
                        x[k] = dim_snap(&space->dims[k], x[k] - miss * constraint->factors[k] * pow(range_of(&space->dims[k]), 2) / norm);
}

/* Kaczmarz' projections onto each missed constraint in turn, back into the bounds after each. Converges where the set is
 * convex; lattices may need the overshoot that grows with the rounds. */
static bool repair(const struct opt_space *space, double *x) {
        bool counts[OPT_DIMS_MAX];
        for (int round = 0; round < REPAIR_ROUNDS; round++) {
                opt_space_counts(space, x, counts);
                for (size_t i = 0; i < space->n_constraints; i++) {
                        double miss = constraint_miss(space, &space->constraints[i], counts, x);
                        if (miss != 0)
                                project(space, &space->constraints[i], counts, miss * (1 + 0.01 * round), x);
                }
                opt_space_settle(space, x);
                if (opt_space_allows(space, x))
                        return true;
        }
        return false;
}

#define REDRAWS 256

/* The first of some draws that satisfies the constraints; where these are narrow, the first one that can be repaired. */
static void draw(const struct opt_space *space, uint64_t seed, uint64_t index, double *x,
                 void (*once)(const struct opt_space *space, uint64_t seed, uint64_t index, double *x)) {
        for (uint64_t again = 0; again < REDRAWS; again++) {
                once(space, again ? rng_mix(seed + again) : seed, index, x);
                opt_space_settle(space, x);
                if (opt_space_allows(space, x))
                        return;
        }
        for (uint64_t again = 0; again < 16; again++) {
                once(space, again ? rng_mix(seed + again) : seed, index, x);
                opt_space_settle(space, x);
                if (repair(space, x))
                        return;
        }
}

static void random_once(const struct opt_space *space, uint64_t seed, uint64_t index, double *x) {
        struct rng rng;
        rng_init(&rng, seed, index);
        for (size_t i = 0; i < space->n_dims; i++)
                x[i] = opt_dim_from_unit(&space->dims[i], rng_uniform(&rng));
}

void opt_random(const struct opt_space *space, uint64_t seed, uint64_t index, double *x) {
        draw(space, seed, index, x, random_once);
}

static void sobol_once(const struct opt_space *space, uint64_t seed, uint64_t index, double *x) {
        for (size_t i = 0; i < space->n_dims; i++)
                x[i] = opt_dim_from_unit(&space->dims[i], sobol_scrambled(seed, i, index));
}

void opt_sobol(const struct opt_space *space, uint64_t seed, uint64_t index, double *x) {
        draw(space, seed, index, x, sobol_once);
}
