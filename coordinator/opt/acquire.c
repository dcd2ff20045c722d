/* Maximising log expected improvement over a space of continuous, integer and categorical dimensions.
 *
 * Small finite spaces are simply listed. Otherwise: many scattered candidates (Sobol, and normal steps of several widths
 * around the best trials), then from the few best of them a local search that alternates quasi-Newton steps over what is
 * continuous, or fine enough to be treated so, with the best single change of a discrete dimension. Log EI instead of EI
 * because its gradient does not vanish where improvement is unlikely. */
#include "opt/acquire.h"

#include <errno.h>
#include <math.h>
#include <nlopt.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/quantile.h"
#include "opt/sobol.h"
#include "opt/space.h"

#define MAX_LISTED 2048 /* points of a finite space that are simply all scored */
#define N_SCATTERED 512
#define N_IN_REGION 384 /* instead, while there is a trust region */
#define N_AROUND 12 /* steps per anchor and width */
#define N_STARTS 2  /* of the local search */
#define MAX_ROUNDS 4
#define FINE_LEVELS 20 /* a discrete numeric dimension with more is relaxed for quasi-Newton steps */
#define MAX_MOVES 16   /* per discrete dimension */
#define SAME_UNIT 1e-6

/* --- expected improvement -------------------------------------------------------------------------- */

/* q(z) = 1 + z Φ(z)/φ(z), so that φ + zΦ = φ q, and *ret_mills = Φ/φ. Below −20 by the series of Mills' ratio, whose terms
 * cancel here exactly: q = t − 3t² + 15t³ − …, t = 1/z². */
static double improvement_ratio(double z, double *ret_mills) {
        if (z > -20) {
                *ret_mills = normal_cdf(z) / normal_pdf(z);
                return 1 + z * *ret_mills;
        }
        double t = 1 / (z * z);
        double q = t * (1 - t * (3 - t * (15 - t * (105 - t * (945 - t * 10395)))));
        *ret_mills = (q - 1) / z;
        return q;
}

double log_expected_improvement(double mean, double sd, double incumbent, double *ret_dmean, double *ret_dsd) {
        double z = (mean - incumbent) / sd, mills;
        if (z > 30) { /* φ underflows, and the improvement is certain */
                *ret_dmean = 1 / (mean - incumbent);
                *ret_dsd = 0;
                return log(mean - incumbent);
        }
        double q = improvement_ratio(z, &mills);
        *ret_dmean = mills / q / sd;
        *ret_dsd = 1 / q / sd;
        return -0.5 * z * z - 0.5 * log(2 * M_PI) + log(q) + log(sd);
}

double log_augmented_improvement(double mean, double sd, double incumbent, double noise, double *ret_dmean, double *ret_dsd) {
        double value = log_expected_improvement(mean, sd, incumbent, ret_dmean, ret_dsd);
        if (noise <= 0)
                return value;
        double total = sd * sd + noise, root = sqrt(noise / total); /* 1 − root = sd² / total / (1 + root) */
        *ret_dsd += 2 / sd - 2 * sd / total + root * sd / total / (1 + root);
        return value + 2 * log(sd) - log(total) - log1p(root);
}

/* --- what was tried -------------------------------------------------------------------------------- */

static bool is_same(const struct opt_space *space, const double *a, const double *b) {
        for (size_t k = 0; k < space->n_dims; k++)
                if (fabs(a[k] - b[k]) > SAME_UNIT || (a[k] != b[k] && dim_is_discrete(&space->dims[k])))
                        return false;
        return true;
}

/* Weights that no sensible spaces' values add up to the same with. */
static double weighted_sum(const struct opt_space *space, const double *features) {
        double sum = 0, weight = 0.5;
        for (size_t k = 0; k < space->n_dims; k++) {
                weight = fmod(weight + 0.6180339887498949, 1);
                sum += (0.5 + 0.5 * weight) * fmin(fmax(features[k], -1e4), 1e4); /* evidence may lie anywhere: keep the sum's digits */
        }
        return sum;
}

static int compare_sums(const void *a, const void *b) {
        const struct tried_sum *x = a, *y = b;
        if (x->sum != y->sum)
                return x->sum < y->sum ? -1 : 1;
        return (x->index > y->index) - (x->index < y->index);
}

int tried_init(struct tried *tried, const struct opt_space *space, const double *features, size_t n) {
        *tried = (struct tried){.space = space, .features = features, .n = n, .sums = malloc((n + 1) * sizeof *tried->sums)};
        if (!tried->sums)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                tried->sums[i] = (struct tried_sum){weighted_sum(space, features + i * space->n_dims), i};
        qsort(tried->sums, n, sizeof *tried->sums, compare_sums);
        return 0;
}

void tried_fini(struct tried *tried) {
        free(tried->sums);
}

bool tried_contains(const struct tried *tried, const double *features) {
        double sum = weighted_sum(tried->space, features), apart = (double)tried->space->n_dims * 1.01 * SAME_UNIT + 1e-9;
        size_t low = 0, high = tried->n;
        while (low < high) { /* the first that is not too small */
                size_t middle = low + (high - low) / 2;
                if (tried->sums[middle].sum < sum - apart)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low < tried->n && tried->sums[low].sum <= sum + apart; low++)
                if (is_same(tried->space, tried->features + tried->sums[low].index * tried->space->n_dims, features))
                        return true;
        return false;
}

static void to_features(const struct opt_space *space, const double *x, double *features) {
        for (size_t k = 0; k < space->n_dims; k++)
                features[k] = dim_feature(&space->dims[k], x[k]);
}

#define MAX_GAPS 1000000 /* combinations looked at, where they may be alike or forbidden */

/* Among tried->n + 1 different points of a finite space one is untried. */
static bool find_gap_by_count(const struct tried *tried, uint64_t n, uint64_t seed, double *features, double *x) {
        const struct opt_space *space = tried->space;
        bool is_plain = space->n_conditions == 0 && space->n_constraints == 0;
        uint64_t start = rng_mix(seed) % n, limit = is_plain ? tried->n + 1 : MAX_GAPS;
        for (uint64_t i = 0; i < n && i < limit; i++) {
                space_point(space, (start + i) % n, x);
                opt_space_settle(space, x);
                to_features(space, x, features);
                if (opt_space_allows(space, x) && !tried_contains(tried, features))
                        return true;
        }
        return false;
}

/* A quantised normal has few values that are likely, and others further out: along its lattice, away from a drawn point. */
static bool find_gap_on_lattice(const struct tried *tried, uint64_t seed, double *features, double *x) {
        const struct opt_space *space = tried->space;
        opt_random(space, seed, tried->n, x);
        for (size_t k = 0; k < space->n_dims; k++) {
                const struct opt_dim *dim = &space->dims[k];
                double from = x[k];
                for (size_t i = 0; dim->step > 0 && opt_dim_cardinality(dim) == 0 && i <= 2 * (tried->n + 1); i++) {
                        x[k] = dim_neighbour(dim, from, i % 2 ? (double)(i / 2 + 1) : -(double)(i / 2));
                        opt_space_settle(space, x);
                        to_features(space, x, features);
                        if (opt_space_allows(space, x) && !tried_contains(tried, features))
                                return true;
                }
                x[k] = from;
        }
        return false;
}

bool tried_find_gap(const struct tried *tried, uint64_t seed, double *features, double *ret_x) {
        uint64_t n = opt_space_cardinality(tried->space);
        return n > 0 ? find_gap_by_count(tried, n, seed, features, ret_x) : find_gap_on_lattice(tried, seed, features, ret_x);
}

/* --- candidates ------------------------------------------------------------------------------------ */

struct candidates {
        size_t n, n_dims;
        double *x, *features; /* cap × n_dims each */
        double *mean, *sd, *value;
        double *less; /* see worth() */
};

static void candidates_fini(struct candidates *list) {
        free(list->x);
        *list = (struct candidates){0};
}

static int candidates_init(struct candidates *list, size_t cap, size_t n_dims) {
        double *memory = malloc((cap * (2 * n_dims + 4) + 1) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        *list = (struct candidates){.n_dims = n_dims, .x = memory, .features = memory + cap * n_dims};
        list->mean = list->features + cap * n_dims;
        list->sd = list->mean + cap;
        list->value = list->sd + cap;
        list->less = list->value + cap;
        return 0;
}

static double *candidate_x(const struct candidates *list, size_t i) {
        return list->x + i * list->n_dims;
}

static double *candidate_features(const struct candidates *list, size_t i) {
        return list->features + i * list->n_dims;
}

static bool is_smooth(const struct opt_dim *dim) {
        if (dim->kind == OPT_CATEGORICAL)
                return false;
        uint64_t n = opt_dim_cardinality(dim);
        return n == 0 || n > FINE_LEVELS;
}

/* How far outside of the trust region: largest coordinate distance to the nearest anchor beyond the radius, over the dimensions that
 * are (nearly) continuous; 0 inside. Which anchor is the nearest. */
static double remoteness(const struct acquire_problem *problem, const double *features, size_t *ret_nearest) {
        double distance[ACQUIRE_MAX_ANCHORS] = {0}, nearest = INFINITY;
        *ret_nearest = 0;
        for (size_t k = 0; k < problem->space->n_dims; k++)
                for (size_t a = 0; a < problem->n_anchors && is_smooth(&problem->space->dims[k]); a++) {
                        double apart = fabs(features[k] - problem->anchor_features[a][k]);
                        distance[a] = apart > distance[a] ? apart : distance[a];
                }
        for (size_t a = 0; a < problem->n_anchors; a++) {
                if (distance[a] < nearest)
                        *ret_nearest = a;
                nearest = fmin(nearest, distance[a]);
        }
        return nearest > problem->radius * (1 + 1e-9) ? nearest - problem->radius : 0;
}

struct scoring {
        const struct acquire_problem *problem;
        const double *less; /* than its improvement a point is worth; INFINITY: it is not to be had */
};

static double worth(const void *data, size_t i, double mean, double sd) {
        const struct scoring *scoring = data;
        double dmean, dsd, less = scoring->less[i];
        return less < INFINITY ? log_augmented_improvement(mean, sd, scoring->problem->incumbent, scoring->problem->noise, &dmean, &dsd) - less : -INFINITY;
}

/* Settles all points; their features, and what they are worth less. What breaks a constraint is not to be had, what was tried neither
 * unless repeats are wanted. */
static void settle(const struct acquire_problem *problem, struct candidates *list, bool allow_repeats) {
        for (size_t i = 0; i < list->n; i++) {
                size_t nearest;
                double *features = candidate_features(list, i);
                opt_space_settle(problem->space, candidate_x(list, i));
                to_features(problem->space, candidate_x(list, i), features);
                double distance = problem->radius > 0 ? remoteness(problem, features, &nearest) : 0;
                list->less[i] = distance > 0 ? 1e4 + distance : 0; /* the nearest of them, if there is nothing else */
                if (!opt_space_allows(problem->space, candidate_x(list, i)) || (!allow_repeats && tried_contains(problem->tried, features)))
                        list->less[i] = INFINITY;
        }
}

/* Settles all points, predictions and values. */
static int score(const struct acquire_problem *problem, struct candidates *list, bool allow_repeats) {
        const struct scoring scoring = {problem, list->less};
        settle(problem, list, allow_repeats);
        int r = gp_predict(problem->gp, list->n, list->features, list->mean, list->sd);
        for (size_t i = 0; r == 0 && i < list->n; i++)
                list->value[i] = worth(&scoring, i, list->mean[i], list->sd[i]);
        return r;
}

/* The same of the n_best only: the others' values are -INFINITY. */
static int score_best(const struct acquire_problem *problem, struct candidates *list, size_t n_best) {
        const struct scoring scoring = {problem, list->less};
        settle(problem, list, false);
        return gp_predict_best(problem->gp, list->n, list->features, n_best, worth, &scoring, list->mean, list->sd, list->value);
}

static double reflect(double u) {
        u = fabs(fmod(u, 2));
        return u > 1 ? 2 - u : u;
}

/* A step from `from` in a few dimensions: normal in unit coordinates, another choice for a categorical. */
static void perturb(const struct opt_space *space, struct rng *rng, const double *from, double width, double *x) {
        double rate = fmax(0.35, 1.5 / (double)space->n_dims);
        for (size_t k = 0; k < space->n_dims; k++) {
                const struct opt_dim *dim = &space->dims[k];
                x[k] = dim_snap(dim, from[k]);
                double hit = rng_uniform(rng), step = rng_normal(rng);
                if (hit >= rate || dim->held)
                        continue;
                if (dim->kind == OPT_CATEGORICAL) {
                        if (hit < 0.5 * rate)
                                x[k] = opt_dim_from_unit(dim, rng_uniform(rng));
                        continue;
                }
                double moved = opt_dim_from_unit(dim, reflect(dim_feature(dim, x[k]) + width * step));
                x[k] = moved == x[k] ? dim_neighbour(dim, x[k], step > 0 ? 1 : -1) : moved;
        }
}

/* A point of the cube becomes one of an anchor's box; every other one also takes the anchor's discrete values. */
static void draw_near(const struct acquire_problem *problem, size_t i, double *x, double *scratch) {
        const struct opt_space *space = problem->space;
        const double *anchor = problem->anchors[i % problem->n_anchors];
        bool is_close = i / problem->n_anchors % 2;
        for (size_t k = 0; k < space->n_dims; k++) {
                const struct opt_dim *dim = &space->dims[k];
                scratch[k] = x[k];
                if (is_smooth(dim)) {
                        double u = dim_feature(dim, anchor[k]) + (2 * opt_dim_to_unit(dim, x[k]) - 1) * problem->radius;
                        scratch[k] = opt_dim_from_unit(dim, fmin(fmax(u, 0), 1));
                } else if (is_close) {
                        scratch[k] = dim_snap(dim, anchor[k]);
                }
        }
        opt_space_settle(space, scratch);
        if (opt_space_allows(space, scratch))
                memcpy(x, scratch, space->n_dims * sizeof *x);
}

static void scatter(const struct acquire_problem *problem, struct candidates *list) {
        static const double widths[] = {0.02, 0.05, 0.1, 0.2};
        struct rng rng;
        rng_init(&rng, problem->seed, 0x616371);
        size_t n = problem->radius > 0 && problem->n_anchors > 0 ? N_IN_REGION : N_SCATTERED;
        while (list->n < n) {
                double *x = candidate_x(list, list->n);
                opt_sobol(problem->space, problem->seed, list->n, x);
                if (n == N_IN_REGION)
                        draw_near(problem, list->n, x, candidate_features(list, list->n));
                list->n++;
        }
        for (size_t a = 0; a < problem->n_anchors; a++)
                for (size_t w = 0; w < 4; w++)
                        for (size_t i = 0; i < N_AROUND; i++)
                                perturb(problem->space, &rng, problem->anchors[a], widths[w], candidate_x(list, list->n++));
}

/* --- local search ---------------------------------------------------------------------------------- */

struct local {
        const struct acquire_problem *problem;
        struct candidates current;             /* one point with its prediction */
        struct candidates moves;               /* neighbours of it */
        size_t *smooth, n_smooth;              /* dimensions of quasi-Newton steps: those that count at the point */
        bool *counts;                          /* n_dims */
        double *features, *dmean, *dsd, *unit; /* n_dims each; unit has its bounds behind it */
        struct rng rng;
};

static double smooth_objective(unsigned n, const double *unit, double *gradient, void *user) {
        struct local *local = user;
        double mean, sd, by_mean, by_sd;
        for (unsigned i = 0; i < n; i++)
                local->features[local->smooth[i]] = unit[i];
        gp_predict_gradient(local->problem->gp, local->features, &mean, &sd, local->dmean, local->dsd);
        double value = log_augmented_improvement(mean, sd, local->problem->incumbent, local->problem->noise, &by_mean, &by_sd);
        for (unsigned i = 0; gradient && i < n; i++)
                gradient[i] = by_mean * local->dmean[local->smooth[i]] + by_sd * local->dsd[local->smooth[i]];
        return value;
}

/* Takes candidate `i` of `list` when it is better than the current point. */
static bool take_if_better(struct local *local, const struct candidates *list, size_t i) {
        struct candidates *current = &local->current;
        if (!(list->value[i] > current->value[0] + 1e-9))
                return false;
        memcpy(current->x, candidate_x(list, i), list->n_dims * sizeof *current->x);
        memcpy(current->features, candidate_features(list, i), list->n_dims * sizeof *current->features);
        current->mean[0] = list->mean[i];
        current->sd[0] = list->sd[i];
        current->value[0] = list->value[i];
        return true;
}

/* Dimensions that a quasi-Newton step may change from the current point. */
static void choose_smooth(struct local *local) {
        const struct opt_space *space = local->problem->space;
        opt_space_counts(space, local->current.x, local->counts);
        local->n_smooth = 0;
        for (size_t k = 0; k < space->n_dims; k++)
                if (local->counts[k] && is_smooth(&space->dims[k]))
                        local->smooth[local->n_smooth++] = k;
}

/* The point at `share` of the way from the current one to the step's end. */
static void step_to(struct local *local, double share) {
        const struct opt_space *space = local->problem->space;
        memcpy(local->moves.x, local->current.x, space->n_dims * sizeof *local->moves.x);
        for (size_t i = 0; i < local->n_smooth; i++) {
                size_t k = local->smooth[i];
                double from = local->current.features[k];
                if (isfinite(local->unit[i]))
                        local->moves.x[k] = opt_dim_from_unit(&space->dims[k], from + share * (local->unit[i] - from));
        }
}

static int smooth_step(struct local *local, int max_evaluations, bool *ret_moved) {
        choose_smooth(local);
        size_t n = local->n_smooth, n_dims = local->problem->space->n_dims;
        if (n == 0)
                return 0;
        nlopt_opt optimizer = nlopt_create(NLOPT_LD_LBFGS, (unsigned)n);
        if (!optimizer)
                return -ENOMEM;
        double value, *low = local->unit + n_dims, *high = low + n_dims;
        memcpy(local->features, local->current.features, n_dims * sizeof *local->features);
        size_t nearest = 0;
        if (local->problem->radius > 0)
                remoteness(local->problem, local->features, &nearest);
        for (size_t i = 0; i < n; i++) {
                size_t k = local->smooth[i];
                local->unit[i] = local->features[k];
                low[i] = 0;
                high[i] = 1;
                if (local->problem->radius > 0) { /* the nearest anchor's box; a start outside of it stays possible */
                        double centre = local->problem->anchor_features[nearest][k];
                        low[i] = fmin(fmax(0, centre - local->problem->radius), local->unit[i]);
                        high[i] = fmax(fmin(1, centre + local->problem->radius), local->unit[i]);
                }
        }
        nlopt_set_lower_bounds(optimizer, low);
        nlopt_set_upper_bounds(optimizer, high);
        nlopt_set_max_objective(optimizer, smooth_objective, local);
        nlopt_set_maxeval(optimizer, max_evaluations);
        nlopt_set_ftol_abs(optimizer, 1e-5);
        nlopt_result ended = nlopt_optimize(optimizer, local->unit, &value);
        nlopt_destroy(optimizer);
        if (ended == NLOPT_OUT_OF_MEMORY)
                return -ENOMEM;
        local->moves.n = 1;
        step_to(local, 1);
        for (double share = 0.5; share > 1e-3 && !opt_space_allows(local->problem->space, local->moves.x); share /= 2)
                step_to(local, share); /* constraints are convex: back towards the point that keeps them */
        int r = score(local->problem, &local->moves, false);
        if (r == 0)
                *ret_moved |= take_if_better(local, &local->moves, 0);
        return r;
}

static void add_move(struct local *local, size_t dim, double value) {
        struct candidates *moves = &local->moves;
        if (value == local->current.x[dim])
                return;
        double *x = candidate_x(moves, moves->n++);
        memcpy(x, local->current.x, moves->n_dims * sizeof *x);
        x[dim] = value;
}

/* At most MAX_MOVES other values of one discrete dimension: all of few, else near ones (numeric) or drawn ones (choices). */
static void add_moves(struct local *local, size_t k) {
        static const double steps[] = {-64, -16, -4, -2, -1, 1, 2, 4, 16, 64};
        const struct opt_dim *dim = &local->problem->space->dims[k];
        uint64_t n = opt_dim_cardinality(dim);
        if (n > 0 && n <= MAX_MOVES)
                for (uint64_t level = 0; level < n; level++)
                        add_move(local, k, dim_level(dim, level));
        else if (dim->kind == OPT_CATEGORICAL)
                for (int i = 0; i < MAX_MOVES; i++)
                        add_move(local, k, opt_dim_from_unit(dim, rng_uniform(&local->rng)));
        else
                for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
                        add_move(local, k, dim_neighbour(dim, local->current.x[k], steps[i]));
}

static int discrete_step(struct local *local, bool *ret_moved) {
        const struct opt_space *space = local->problem->space;
        for (int i = 0; i < 8; i++) {
                local->moves.n = 0;
                opt_space_counts(space, local->current.x, local->counts);
                for (size_t k = 0; k < space->n_dims; k++)
                        if (local->counts[k] && dim_is_discrete(&space->dims[k]))
                                add_moves(local, k);
                int r = local->moves.n ? score(local->problem, &local->moves, false) : 0;
                if (r < 0)
                        return r;
                bool moved = false;
                for (size_t m = 0; m < local->moves.n; m++)
                        moved |= take_if_better(local, &local->moves, m);
                if (!moved)
                        return 0;
                *ret_moved = true;
        }
        return 0;
}

static void local_fini(struct local *local) {
        candidates_fini(&local->current);
        candidates_fini(&local->moves);
        free(local->smooth);
        free(local->counts);
        free(local->features);
}

static int local_init(struct local *local, const struct acquire_problem *problem) {
        size_t d = problem->space->n_dims;
        *local = (struct local){.problem = problem,
                                .smooth = malloc((d + 1) * sizeof *local->smooth),
                                .counts = malloc((d + 1) * sizeof *local->counts),
                                .features = malloc((6 * d + 1) * sizeof *local->features)};
        if (!local->smooth || !local->counts || !local->features || candidates_init(&local->current, 1, d) < 0 ||
            candidates_init(&local->moves, d * MAX_MOVES + 1, d) < 0)
                return -ENOMEM;
        local->dmean = local->features + d;
        local->dsd = local->dmean + d;
        local->unit = local->dsd + d;
        rng_init(&local->rng, problem->seed, 0x6c6f63);
        return 0;
}

static int climb(struct local *local, int max_evaluations) {
        bool moved = true;
        int r = 0;
        for (int round = 0; r == 0 && moved && round < MAX_ROUNDS; round++) {
                moved = false;
                r = smooth_step(local, max_evaluations, &moved);
                if (r == 0)
                        r = discrete_step(local, &moved);
                if (local->n_smooth == local->problem->space->n_dims)
                        break; /* nothing alternates */
        }
        return r;
}

/* --- the whole search ------------------------------------------------------------------------------ */

static size_t best_of(const struct candidates *list) {
        size_t best = 0;
        for (size_t i = 1; i < list->n; i++)
                if (list->value[i] > list->value[best])
                        best = i;
        return best;
}

static void take(const struct candidates *list, size_t i, struct acquire_result *ret) {
        memcpy(ret->x, candidate_x(list, i), list->n_dims * sizeof *ret->x);
        ret->mean = list->mean[i];
        ret->sd = list->sd[i];
        ret->value = list->value[i];
}

/* All of a small space; when every point was tried, the one with the best mean. */
static int search_listed(const struct acquire_problem *problem, uint64_t n, struct acquire_result *ret) {
        _cleanup_(candidates_fini) struct candidates list = {0};
        int r = candidates_init(&list, n, problem->space->n_dims);
        if (r < 0)
                return r;
        for (; list.n < n; list.n++)
                space_point(problem->space, list.n, candidate_x(&list, list.n));
        r = score(problem, &list, false);
        if (r < 0)
                return r;
        size_t best = best_of(&list);
        ret->is_repeat = list.value[best] == -INFINITY;
        if (ret->is_repeat) {
                r = score(problem, &list, true);
                best = best_of(&list); /* allowed, unless nothing is */
                for (size_t i = 0; i < list.n; i++)
                        if (list.value[i] > -INFINITY && list.mean[i] > list.mean[best])
                                best = i;
        }
        take(&list, best, ret);
        return r;
}

/* Only tried points were found, in a space that has others. */
static int search_gap(const struct acquire_problem *problem, struct acquire_result *ret) {
        _cleanup_(candidates_fini) struct candidates list = {0};
        int r = candidates_init(&list, 1, problem->space->n_dims);
        if (r < 0)
                return r;
        list.n = 1;
        if (!tried_find_gap(problem->tried, problem->seed, list.features, list.x)) {
                opt_random(problem->space, problem->seed, problem->tried->n, list.x);
                ret->is_repeat = opt_space_cardinality(problem->space) > 0;
        }
        r = score(problem, &list, true);
        if (r == 0)
                take(&list, 0, ret);
        return r;
}

static int search_mixed(const struct acquire_problem *problem, struct candidates *list, struct acquire_result *ret) {
        __attribute__((cleanup(local_fini))) struct local local = {0};
        int r = local_init(&local, problem);
        scatter(problem, list);
        if (r == 0)
                r = score_best(problem, list, N_STARTS);
        bool is_large = problem->tried->n > 400; /* an evaluation reads the whole factor: with n² numbers it has to be rarer */
        int max_evaluations = is_large ? 20 : 60;
        ret->value = -INFINITY;
        for (int start = 0; r == 0 && start < N_STARTS; start++) {
                size_t best = best_of(list);
                if (list->value[best] == -INFINITY)
                        break;
                local.current.value[0] = -INFINITY;
                take_if_better(&local, list, best);
                list->value[best] = -INFINITY;
                r = climb(&local, max_evaluations);
                if (local.current.value[0] > ret->value)
                        take(&local.current, 0, ret);
        }
        return r == 0 && ret->value == -INFINITY ? search_gap(problem, ret) : r;
}

int acquire_maximise(const struct acquire_problem *problem, struct acquire_result *ret) {
        uint64_t n = opt_space_cardinality(problem->space);
        ret->is_repeat = false;
        if (n > 0 && n <= MAX_LISTED)
                return search_listed(problem, n, ret);
        _cleanup_(candidates_fini) struct candidates list = {0};
        int r = candidates_init(&list, N_SCATTERED + problem->n_anchors * 4 * N_AROUND, problem->space->n_dims);
        return r < 0 ? r : search_mixed(problem, &list, ret);
}
