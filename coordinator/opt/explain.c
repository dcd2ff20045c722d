/* The fitted process, asked by people instead of by the search.
 *
 * Importance is variance based (Sobol' indices): of the function's variance over the space, the share that one dimension
 * explains alone. It is computed on functions drawn from the posterior, for many draws of the hyperparameters and of which
 * dimensions do nothing, so that the interval holds all the doubt there is. Shares of a function that is not there are still
 * shares: whether a dimension matters at all is asked of the likelihood, with and without it; the interval of one that may not
 * begins at 0, and ends where it would if the dimension did something. */
#include "opt/explain.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/chain.h"
#include "opt/evidence.h"
#include "opt/paths.h"
#include "opt/quantile.h"
#include "opt/sobol.h"
#include "opt/space.h"

#define MAX_EXPLAINED 700 /* trials behind sample paths */
#define MAX_TESTED 240    /* trials that likelihoods are compared on */
#define MANY_DIMS 32      /* with more, half as many: each dimension costs a fit */
#define N_THETAS 24       /* draws of the hyperparameters */
#define N_PATHS 3         /* functions for each of them */
#define N_SAMPLES (N_THETAS * N_PATHS)
#define N_MIXED 8         /* draws of them behind the deviations of predictions */
#define N_LEVELS 8
#define MAX_POINTS 24576 /* at which each function is evaluated for main effects */
#define N_PAIRED 5       /* dimensions with the largest effects, looked at in pairs */
#define PAIR_POINTS 24   /* of the other dimensions, for each pair of levels */

struct opt_model {
        const struct opt_history *history;
        struct opt_dim *dims; /* a copy in which nothing is held */
        struct opt_space space;
        struct evidence evidence;
        struct gp *gp;
        double *theta; /* n_dims + 2 */
        double *ranking; /* by it the ended trials are ranked */
        uint64_t seed;
        bool maximize;
};

CLEANUP_DEFINE(struct opt_model *, cleanup_model, opt_model_free)
CLEANUP_DEFINE(struct gp *, cleanup_gp, gp_free)
CLEANUP_DEFINE(struct paths *, cleanup_paths, paths_free)

void opt_model_free(struct opt_model *model) {
        if (!model)
                return;
        gp_free(model->gp);
        evidence_fini(&model->evidence);
        free(model->dims);
        free(model->theta);
        free(model->ranking);
        free(model);
}

static size_t count_observed(const struct opt_history *history, bool also_foreign) {
        size_t n = 0;
        for (size_t i = 0; i < history->n; i++)
                n += history->trials[i].status == OPT_OBSERVED && (also_foreign || !history->trials[i].is_foreign);
        return n;
}

/* What tells effects from noise expects smoothness, and is slow to see which of good configurations is better; the model that proposals come
 * from, with noise as the other expects it, is quick to, and wrong where there is little but noise. The mean of both is nearly as
 * good as the better one in either case (SPEED.md). */
static int rank(struct opt_model *model) {
        struct evidence *evidence = &model->evidence;
        size_t n = evidence->n_ended;
        struct gp *gp;
        _cleanup_free_ double *theta = malloc((evidence->n_dims + 3 + n) * sizeof *theta);
        double *smooth = theta + evidence->n_dims + 3;
        model->ranking = malloc((n + 1) * sizeof *model->ranking);
        if (!theta || !model->ranking)
                return -ENOMEM;
        evidence->has_trend = true;
        int r = evidence_fit(evidence, model->seed, theta);
        if (r == 0)
                r = evidence_condition(evidence, theta, &gp);
        evidence->has_trend = false;
        if (r != 0)
                return r;
        gp_fitted_mean(gp, model->ranking);
        gp_free(gp);
        gp_fitted_mean(model->gp, smooth);
        for (size_t i = 0; i < n; i++)
                model->ranking[i] = 0.5 * (model->ranking[i] + smooth[i]);
        return 0;
}

int opt_model_new(const struct opt_space *space, const struct opt_history *history, bool maximize, uint64_t seed, struct opt_model **ret) {
        if (count_observed(history, true) < OPT_MODEL_TRIALS)
                return OPT_NO_MODEL;
        _cleanup_(cleanup_model) struct opt_model *model = calloc(1, sizeof *model);
        if (!model)
                return -ENOMEM;
        model->history = history;
        model->seed = rng_mix(seed);
        model->maximize = maximize;
        model->dims = malloc((space->n_dims + 1) * sizeof *model->dims);
        model->theta = malloc((space->n_dims + 2) * sizeof *model->theta);
        if (!model->dims || !model->theta)
                return -ENOMEM;
        memcpy(model->dims, space->dims, space->n_dims * sizeof *model->dims);
        for (size_t k = 0; k < space->n_dims; k++)
                model->dims[k].held = false;
        model->space = *space;
        model->space.dims = model->dims;
        int r = evidence_init(&model->evidence, &model->space, history);
        model->evidence.skips_foreign = count_observed(history, false) >= OPT_MODEL_TRIALS;
        if (r == 0)
                r = evidence_choose(&model->evidence, history, maximize);
        model->evidence.n_pending = 0;
        model->evidence.expects_noise = true;
        if (r == 0)
                r = evidence_fit(&model->evidence, model->seed, model->theta);
        if (r == 0)
                r = evidence_condition(&model->evidence, model->theta, &model->gp);
        if (r == 0)
                r = rank(model);
        if (r != 0)
                return r < 0 ? r : OPT_NO_MODEL;
        *ret = TAKE(model);
        return 0;
}

size_t opt_model_n(const struct opt_model *model) {
        return model->evidence.n_ended;
}

double opt_model_noise(const struct opt_model *model) {
        return sqrt(exp(model->theta[model->space.n_dims + 1])) * model->evidence.warp.slope;
}

/* 95 % of a prediction in z, in units of the metric. */
static void invert_interval(const struct warp *warp, double mean, double sd, double *ret_low, double *ret_high) {
        double worse, better, unused;
        warp_invert(warp, mean - 1.96 * sd, 0, &worse, &unused);
        warp_invert(warp, mean + 1.96 * sd, 0, &better, &unused);
        *ret_low = fmin(worse, better);
        *ret_high = fmax(worse, better);
}

size_t opt_dim_grid(const struct opt_dim *held, size_t max, double *ret) {
        struct opt_dim dim = *held;
        dim.held = false;
        uint64_t n = opt_dim_cardinality(&dim);
        if (n > 0 && n <= max) {
                for (uint64_t k = 0; k < n; k++)
                        ret[k] = dim_level(&dim, k);
                return (size_t)n;
        }
        size_t count = 0;
        bool is_open = dim.kind == OPT_NORMAL || dim.kind == OPT_LOG_NORMAL; /* its ends are infinite */
        for (size_t i = 0; i < max; i++) {
                double u = is_open ? 0.01 + 0.98 * (double)i / (double)(max - 1) : (double)i / (double)(max - 1);
                double value = opt_dim_from_unit(&dim, u);
                if (count == 0 || value != ret[count - 1])
                        ret[count++] = value;
        }
        return count;
}

/* --- the incumbent --------------------------------------------------------------------------------- */

#define N_RIVALS 24 /* configurations whose joint posterior decides on repeats */
#define N_DRAWS 512

/* Distinct observed configurations by falling posterior mean; n of them at most. */
static size_t find_rivals(const struct opt_model *model, size_t max, size_t *ret) {
        const struct evidence *evidence = &model->evidence;
        const double *mean = model->ranking;
        size_t n = 0, d = evidence->n_dims;
        while (n < max) {
                size_t best = SIZE_MAX;
                for (size_t i = 0; i < evidence->n_ended; i++) {
                        if (model->history->trials[evidence->chosen[i]].status != OPT_OBSERVED || (best != SIZE_MAX && mean[i] <= mean[best]))
                                continue;
                        bool is_taken = false;
                        for (size_t k = 0; k < n && !is_taken; k++)
                                is_taken = ret[k] == i || memcmp(evidence->x + ret[k] * d, evidence->x + i * d, d * sizeof *evidence->x) == 0;
                        if (!is_taken)
                                best = i;
                }
                if (best == SIZE_MAX)
                        break;
                ret[n++] = best;
        }
        return n;
}

/* Puts the decided configuration before all others, if it is one that was observed. Returns how many there are now. */
static size_t put_first(const struct opt_model *model, const double *decided, size_t max, size_t *rivals, size_t n) {
        const struct evidence *evidence = &model->evidence;
        size_t d = evidence->n_dims, found = 0, place = 0;
        while (found < evidence->n_ended && (model->history->trials[evidence->chosen[found]].status != OPT_OBSERVED ||
                                             memcmp(model->history->trials[evidence->chosen[found]].x, decided, d * sizeof *decided) != 0))
                found++;
        if (found == evidence->n_ended)
                return n;
        while (place < n && memcmp(evidence->x + rivals[place] * d, evidence->x + found * d, d * sizeof *evidence->x) != 0)
                place++;
        if (place == n && n < max)
                n++;
        else if (place == n)
                place--; /* the last one makes room */
        memmove(rivals + 1, rivals, place * sizeof *rivals);
        rivals[0] = found;
        return n;
}

/* Lower triangular root of a covariance that may be singular; in place, row after row. */
static void cholesky(double *a, size_t n) {
        for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++) {
                        double sum = a[i * n + j];
                        for (size_t k = 0; k < j; k++)
                                sum -= a[i * n + k] * a[j * n + k];
                        if (i == j)
                                a[j * n + j] = sum > 1e-12 ? sqrt(sum) : 0;
                        else
                                a[i * n + j] = a[j * n + j] > 0 ? sum / a[j * n + j] : 0;
                }
}

struct contest {
        double chance_of_best, loss; /* E[best of all − incumbent] */
};

static struct contest draw_contest(const double *mean, double *covariance, size_t n, uint64_t seed) {
        struct contest contest = {0};
        struct rng rng;
        rng_init(&rng, seed, 0x726976);
        cholesky(covariance, n);
        double value[N_RIVALS], normal[N_RIVALS];
        for (int draw = 0; draw < N_DRAWS; draw++) {
                double best = -INFINITY;
                for (size_t i = 0; i < n; i++) {
                        normal[i] = rng_normal(&rng);
                        value[i] = mean[i];
                        for (size_t k = 0; k <= i; k++)
                                value[i] += covariance[i * n + k] * normal[k];
                        best = fmax(best, value[i]);
                }
                contest.chance_of_best += (value[0] >= best) / (double)N_DRAWS;
                contest.loss += (best - value[0]) / N_DRAWS;
        }
        return contest;
}

/* Of all observed configurations, how many are better than the incumbent with a chance of 5 % or more? */
static int count_within_noise(const struct opt_model *model, const double *mean, size_t incumbent, size_t *ret) {
        const struct evidence *evidence = &model->evidence;
        size_t n = evidence->n_ended, d = evidence->n_dims, count = 0;
        _cleanup_free_ size_t *rivals = malloc((n + 1) * sizeof *rivals);
        _cleanup_free_ double *points = malloc((2 * d + 1) * sizeof *points);
        if (!rivals || !points)
                return -ENOMEM;
        size_t n_rivals = find_rivals(model, n < 256 ? n : 256, rivals);
        memcpy(points, evidence->x + incumbent * d, d * sizeof *points);
        for (size_t i = 1; i < n_rivals; i++) {
                double c[4];
                memcpy(points + d, evidence->x + rivals[i] * d, d * sizeof *points);
                int r = gp_covariance(model->gp, 2, points, c);
                if (r < 0)
                        return r;
                double sd = sqrt(fmax(c[0] + c[3] - 2 * c[1], 0));
                count += mean[incumbent] - mean[rivals[i]] <= -normal_quantile(0.05) * sd;
        }
        *ret = count;
        return 0;
}

int opt_model_incumbent(const struct opt_model *model, const double *decided, struct opt_incumbent *ret) {
        const struct evidence *evidence = &model->evidence;
        size_t n = evidence->n_ended, d = evidence->n_dims, rivals[N_RIVALS] = {0};
        _cleanup_free_ double *mean = calloc(n + N_RIVALS * (N_RIVALS + 1 + d), sizeof *mean);
        if (!mean)
                return -ENOMEM;
        double *rival_mean = mean + n, *covariance = rival_mean + N_RIVALS, *points = covariance + N_RIVALS * N_RIVALS, sd;
        gp_fitted_mean(model->gp, mean);
        size_t n_rivals = find_rivals(model, N_RIVALS, rivals);
        if (decided)
                n_rivals = put_first(model, decided, N_RIVALS, rivals, n_rivals);
        for (size_t i = 0; i < n_rivals; i++) {
                memcpy(points + i * d, evidence->x + rivals[i] * d, d * sizeof *points);
                rival_mean[i] = mean[rivals[i]];
        }
        struct opt_incumbent incumbent = {.index = evidence->chosen[rivals[0]]};
        int r = gp_covariance(model->gp, n_rivals, points, covariance);
        if (r == 0)
                r = count_within_noise(model, mean, rivals[0], &incumbent.n_within_noise);
        if (r < 0)
                return r;
        sd = sqrt(fmax(covariance[0], 0));
        struct contest contest = draw_contest(rival_mean, covariance, n_rivals, model->seed);
        const struct warp *warp = &evidence->warp;
        warp_invert(warp, rival_mean[0], sd, &incumbent.mean, &incumbent.sd);
        invert_interval(warp, rival_mean[0], sd, &incumbent.low, &incumbent.high);
        incumbent.chance_of_best = contest.chance_of_best;
        double noise = sqrt(gp_noise(model->gp));
        incumbent.recommends_repeats = incumbent.n_within_noise > 0 && contest.chance_of_best < 0.9 && contest.loss > 0.1 * noise && noise > 0.05;
        *ret = incumbent;
        return 0;
}

int opt_model_rank(const struct opt_model *model, size_t max, size_t *ret, size_t *ret_n) {
        size_t n = find_rivals(model, max, ret);
        for (size_t i = 0; i < n; i++)
                ret[i] = model->evidence.chosen[ret[i]];
        *ret_n = n;
        return 0;
}

#define N_CHANCE_DRAWS 4096

void opt_chances(size_t n, const double *mean, const size_t *count, double variance, size_t freedom, bool maximize, uint64_t seed,
                 double *ret) {
        struct rng rng;
        rng_init(&rng, seed, 0x636f6e);
        memset(ret, 0, n * sizeof *ret);
        for (int draw = 0; draw < N_CHANCE_DRAWS; draw++) {
                double chi = 0, highest = -INFINITY;
                for (size_t i = 0; i < freedom; i++)
                        chi += pow(rng_normal(&rng), 2);
                double sd = sqrt(variance * (double)freedom / fmax(chi, 1e-12));
                size_t best = n, n_best = 0; /* ties are drawn for */
                for (size_t i = 0; i < n; i++) {
                        if (count[i] == 0)
                                continue;
                        double value = (maximize ? mean[i] : -mean[i]) + sd / sqrt((double)count[i]) * rng_normal(&rng);
                        n_best = value > highest ? 1 : n_best + (value == highest);
                        if (value > highest || (value == highest && rng_below(&rng, n_best) == 0))
                                best = i;
                        highest = fmax(highest, value);
                }
                if (best < n)
                        ret[best] += 1.0 / N_CHANCE_DRAWS;
        }
}

/* --- which trials importance is about ------------------------------------------------------------------ */

static size_t max_tested(const struct evidence *evidence) {
        return evidence->n_dims > MANY_DIMS ? MAX_TESTED / 2 : MAX_TESTED;
}

/* Up to max trials of the evidence. x: max × n_dims, y: max. */
static struct gp_data picked_data(const struct evidence *evidence, size_t max, uint64_t seed, double *x, double *y) {
        size_t d = evidence->n_dims, chosen[MAX_EXPLAINED], n = evidence_pick(evidence->n_ended, max < MAX_EXPLAINED ? max : MAX_EXPLAINED, seed, chosen);
        for (size_t i = 0; i < n; i++) {
                memcpy(x + i * d, evidence->x + chosen[i] * d, d * sizeof *x);
                y[i] = evidence->y[chosen[i]];
        }
        return (struct gp_data){.n = n, .n_dims = d, .x = x, .y = y, .is_categorical = evidence->is_categorical, .expects_noise = true};
}

/* Proposals want the best trials of a long history, and the values warped as among these. Shares of variance over the space are about all of
 * it: here as many trials count, from the whole history. */
struct overview {
        struct opt_trial *trials;
        struct evidence evidence;
        double *theta;
};

static void overview_fini(struct overview *overview) {
        free(overview->trials);
        evidence_fini(&overview->evidence);
        free(overview->theta);
}

static bool is_ended(const struct opt_model *model, const struct opt_trial *trial) {
        return trial->status != OPT_PENDING && !(model->evidence.skips_foreign && trial->is_foreign);
}

static int overview_init(struct overview *overview, const struct opt_model *model) {
        const struct opt_history *history = model->history;
        size_t n = 0, max = model->evidence.n_ended;
        *overview = (struct overview){.theta = malloc((model->space.n_dims + 2) * sizeof *overview->theta)};
        overview->trials = malloc((history->n + 1) * sizeof *overview->trials);
        _cleanup_free_ size_t *chosen = malloc((max + 1) * sizeof *chosen);
        if (!overview->trials || !overview->theta || !chosen)
                return -ENOMEM;
        for (size_t i = 0; i < history->n; i++)
                if (is_ended(model, &history->trials[i]))
                        overview->trials[n++] = history->trials[i];
        size_t count = evidence_pick(n, max, model->seed, chosen), n_observed = 0;
        for (size_t i = 0; i < count; i++) {
                overview->trials[i] = overview->trials[chosen[i]]; /* chosen[i] ≥ i */
                n_observed += overview->trials[i].status == OPT_OBSERVED;
        }
        if (n_observed < OPT_MODEL_TRIALS)
                return OPT_NO_MODEL;
        const struct opt_history picked = {overview->trials, count};
        int r = evidence_init(&overview->evidence, &model->space, &picked);
        overview->evidence.expects_noise = true;
        if (r == 0)
                r = evidence_choose(&overview->evidence, &picked, model->maximize);
        return r == 0 ? evidence_fit(&overview->evidence, model->seed, overview->theta) : r;
}

/* --- does a dimension matter? ----------------------------------------------------------------------- */

/* Log posterior density that is lost when the model does without dimension k, everything else fitted anew. With its priors: the
 * likelihood alone would believe in a function through every point. */
static int lost_without(const struct gp_data *full, const double *mode, size_t k, double with, double *ret) {
        size_t n = full->n, d = full->n_dims;
        _cleanup_free_ double *memory = malloc((n * d + gp_scratch_size(n, d) + d + 2) * sizeof *memory);
        _cleanup_free_ bool *is_categorical = malloc(d + 1);
        if (!memory || !is_categorical)
                return -ENOMEM;
        double *x = memory, *scratch = x + n * d, *theta = scratch + gp_scratch_size(n, d);
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0, at = 0; j < d; j++)
                        if (j != k)
                                x[i * (d - 1) + at++] = full->x[i * d + j];
        for (size_t j = 0, at = 0; j < d; j++)
                if (j != k)
                        is_categorical[at++] = full->is_categorical[j];
        struct gp_data part = {.n = n, .n_dims = d - 1, .x = x, .y = full->y, .is_categorical = is_categorical, .expects_noise = true};
        memcpy(theta, mode, k * sizeof *theta);
        memcpy(theta + k, mode + k + 1, (d + 1 - k) * sizeof *theta);
        int r = gp_refine(&part, 40, theta);
        if (r < 0)
                return r;
        double without = gp_objective(&part, theta, scratch, NULL);
        *ret = isfinite(without) ? without - with : 0;
        return 0;
}

static int weigh(const struct opt_model *model, const struct evidence *evidence, struct opt_effect *effects) {
        size_t d = evidence->n_dims;
        _cleanup_free_ double *memory = malloc((MAX_TESTED * (d + 1) + gp_scratch_size(MAX_TESTED, d) + d + 2) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *x = memory, *y = x + MAX_TESTED * d, *theta = y + MAX_TESTED, *scratch = theta + d + 2;
        struct gp_data data = picked_data(evidence, max_tested(evidence), model->seed, x, y);
        int r = gp_fit(&data, model->seed, 1, 40, theta);
        double with = gp_objective(&data, theta, scratch, NULL);
        for (size_t k = 0; r == 0 && k < d; k++) {
                r = lost_without(&data, theta, k, with, &effects[k].evidence);
                /* One in a few hundred dimensions of pure noise gets this far; the more dimensions, the more it takes. */
                effects[k].is_distinguishable = effects[k].evidence > 3 + 0.5 * log((double)d);
        }
        return r < 0 ? r : 0;
}

/* --- variance shares -------------------------------------------------------------------------------- */

static double square(double x) {
        return x * x;
}

/* Deviations at m points around these means, with the doubt about the hyperparameters: those of several draws, and how far their means lie. */
static int doubt(const struct opt_model *model, size_t m, const double *features, const double *mean, double *ret_sd) {
        const struct evidence *evidence = &model->evidence;
        size_t d = evidence->n_dims, max = max_tested(evidence);
        _cleanup_free_ double *memory = calloc(N_MIXED * (d + 2) + max * (d + 1) + 3 * m + 1, sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *thetas = memory, *x = thetas + N_MIXED * (d + 2), *y = x + max * d, *at = y + max, *sd = at + m, *squares = sd + m;
        struct gp_data few = picked_data(evidence, max, model->seed, x, y), all = evidence_data(evidence, evidence->n_ended);
        int r = chain_draw(&few, model->theta, model->seed, N_MIXED, thetas);
        double count = 0;
        for (size_t t = 0; r == 0 && t < N_MIXED; t++) {
                _cleanup_(cleanup_gp) struct gp *gp = NULL;
                r = gp_new(&all, thetas + t * (d + 2), &gp);
                if (r == 0)
                        r = gp_predict(gp, m, features, at, sd);
                for (size_t i = 0; r == 0 && i < m; i++)
                        squares[i] += square(sd[i]) + square(at[i] - mean[i]);
                count += r == 0;
                r = r == GP_NOT_FITTED ? 0 : r;
        }
        for (size_t i = 0; count > 0 && i < m; i++)
                ret_sd[i] = sqrt(squares[i] / count);
        return r;
}

int opt_model_predict(const struct opt_model *model, size_t m, const double *x, struct opt_prediction *ret) {
        size_t d = model->space.n_dims;
        _cleanup_free_ double *features = calloc(m * (d + 2) + 1, sizeof *features);
        if (!features)
                return -ENOMEM;
        double *mean = features + m * d, *sd = mean + m;
        for (size_t i = 0; i < m; i++)
                for (size_t k = 0; k < d; k++)
                        features[i * d + k] = dim_feature(&model->dims[k], x[i * d + k]);
        int r = gp_predict(model->gp, m, features, mean, sd);
        if (r == 0)
                r = doubt(model, m, features, mean, sd);
        for (size_t i = 0; r == 0 && i < m; i++) {
                warp_invert(&model->evidence.warp, mean[i], sd[i], &ret[i].mean, &ret[i].sd);
                invert_interval(&model->evidence.warp, mean[i], sd[i], &ret[i].low, &ret[i].high);
        }
        return r;
}

/* A point of the unit cube, with one or two coordinates replaced, as features; dimensions that do not count there rest. */
static void feature_point(const struct opt_space *space, uint64_t seed, uint64_t index, size_t a, double u, size_t b, double v, double *x,
                          double *ret) {
        for (size_t j = 0; j < space->n_dims; j++)
                x[j] = opt_dim_from_unit(&space->dims[j], j == a ? u : j == b ? v : sobol_scrambled(seed, j, index));
        opt_space_settle(space, x);
        for (size_t j = 0; j < space->n_dims; j++)
                ret[j] = dim_feature(&space->dims[j], x[j]);
}

/* Of a continuous dimension's n_levels values, `stride` apart: what the variance inside the parts around them adds to that of the values. */
static double between_levels(const double *values, size_t n_levels, size_t stride) {
        double sum = 0;
        for (size_t g = 0; g < n_levels; g++) {
                size_t low = g ? g - 1 : 0, high = g + 1 < n_levels ? g + 1 : g;
                sum += square((values[high * stride] - values[low * stride]) / (double)(high - low)) / 12;
        }
        return sum / (double)n_levels;
}

/* Of m × n_levels values per path (the other dimensions' point, then the level): variance of the level means, mean variance
 * over the levels, and the whole variance. */
static void split_variance(const double *values, size_t n_points, size_t n_levels, bool is_continuous, size_t n_paths, size_t path, double *ret_main,
                           double *ret_total, double *ret_whole) {
        double level_mean[N_LEVELS * N_LEVELS] = {0}, sum = 0, squares = 0, within = 0, between = 0;
        for (size_t m = 0; m < n_points; m++) {
                double s = 0, q = 0;
                for (size_t g = 0; g < n_levels; g++) {
                        double v = values[(m * n_levels + g) * n_paths + path];
                        level_mean[g] += v / (double)n_points;
                        s += v;
                        q += v * v;
                }
                sum += s;
                squares += q;
                if (is_continuous)
                        between += between_levels(values + m * n_levels * n_paths + path, n_levels, n_paths) / (double)n_points;
                within += q - s * s / (double)n_levels;
        }
        double count = (double)(n_points * n_levels), mean = sum / count, main = 0;
        for (size_t g = 0; g < n_levels; g++)
                main += (level_mean[g] - mean) * (level_mean[g] - mean) / (double)n_levels;
        main += is_continuous ? between_levels(level_mean, n_levels, 1) : 0;
        *ret_total = within / count + between;
        /* What the levels share with the points drawn for the other dimensions is not the level's: E[main] = V_k + V_kl/m. */
        *ret_main = fmax(0, (main - *ret_total / (double)n_points) / (1 - 1 / (double)n_points));
        *ret_whole = fmax(squares / count - mean * mean, 0) + between;
}

/* How many levels of a dimension are compared: of few values that are equally likely each one as often as any other. */
static size_t count_levels(const struct opt_dim *dim) {
        uint64_t n = dim->step > 0 || dim->probabilities ? 0 : opt_dim_cardinality(dim);
        return n < 2 || n > N_LEVELS ? N_LEVELS : (size_t)(N_LEVELS / n * n);
}

static int share_mains(const struct opt_model *model, const struct paths *paths, uint64_t seed, size_t first_sample, double *main, double *total) {
        const struct opt_space *space = &model->space;
        size_t d = space->n_dims, n_points = MAX_POINTS / (N_LEVELS * (d ? d : 1));
        n_points = n_points > 96 ? 96 : n_points < 24 ? 24 : n_points;
        size_t n = n_points * N_LEVELS;
        _cleanup_free_ double *points = malloc((n * (d + N_PATHS) + d) * sizeof *points);
        if (!points)
                return -ENOMEM;
        double *values = points + n * d, *x = values + n * N_PATHS, whole[N_PATHS] = {0};
        for (size_t k = 0; k < d; k++) {
                size_t n_levels = count_levels(&space->dims[k]);
                uint64_t n_values = opt_dim_cardinality(&space->dims[k]);
                bool is_continuous = space->dims[k].kind != OPT_CATEGORICAL && (n_values == 0 || n_values > N_LEVELS);
                for (size_t m = 0; m < n_points; m++)
                        for (size_t g = 0; g < n_levels; g++)
                                feature_point(space, seed + k, m, k, ((double)g + 0.5) / (double)n_levels, d, 0, x,
                                              points + (m * n_levels + g) * d);
                int r = paths_evaluate(paths, n_points * n_levels, points, values);
                if (r < 0)
                        return r;
                for (size_t p = 0; p < N_PATHS; p++) {
                        double one;
                        split_variance(values, n_points, n_levels, is_continuous, N_PATHS, p, &main[(first_sample + p) * d + k],
                                       &total[(first_sample + p) * d + k], &one);
                        whole[p] += one / (double)d;
                }
        }
        for (size_t p = 0; p < N_PATHS; p++)
                for (size_t k = 0; k < d; k++) {
                        double scale = whole[p] > 1e-12 ? 1 / whole[p] : 0;
                        main[(first_sample + p) * d + k] = fmin(main[(first_sample + p) * d + k] * scale, 1);
                        total[(first_sample + p) * d + k] = fmin(total[(first_sample + p) * d + k] * scale, 1);
                }
        return 0;
}

/* What a and b explain together, less what each explains alone. */
static int share_pair(const struct opt_model *model, const struct paths *paths, size_t first_sample, const struct opt_pair *pair,
                      double *ret) {
        const struct opt_space *space = &model->space;
        size_t d = space->n_dims, n_levels = N_LEVELS * N_LEVELS, n = PAIR_POINTS * n_levels;
        _cleanup_free_ double *points = malloc((n * (d + N_PATHS) + d) * sizeof *points);
        if (!points)
                return -ENOMEM;
        double *values = points + n * d, *x = values + n * N_PATHS;
        for (size_t i = 0; i < n; i++) {
                size_t g = i % n_levels;
                feature_point(space, model->seed + 977, i / n_levels, pair->a, ((double)(g / N_LEVELS) + 0.5) / N_LEVELS, pair->b,
                              ((double)(g % N_LEVELS) + 0.5) / N_LEVELS, x, points + i * d);
        }
        int r = paths_evaluate(paths, n, points, values);
        for (size_t p = 0; r == 0 && p < N_PATHS; p++) {
                double together, within, whole, by_a[N_LEVELS] = {0}, by_b[N_LEVELS] = {0}, mean = 0, alone = 0;
                split_variance(values, PAIR_POINTS, n_levels, false, N_PATHS, p, &together, &within, &whole);
                for (size_t i = 0; i < n; i++) {
                        double v = values[i * N_PATHS + p] / (double)n;
                        by_a[i % n_levels / N_LEVELS] += v * N_LEVELS;
                        by_b[i % N_LEVELS] += v * N_LEVELS;
                        mean += v;
                }
                for (size_t g = 0; g < N_LEVELS; g++)
                        alone += ((by_a[g] - mean) * (by_a[g] - mean) + (by_b[g] - mean) * (by_b[g] - mean)) / N_LEVELS;
                ret[first_sample + p] = whole > 1e-12 ? fmin(fmax(together - alone, 0) / whole, 1) : 0;
        }
        return r;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

#define MAX_PAIRS (N_PAIRED * (N_PAIRED - 1) / 2)

struct shares {
        double *main, *total; /* N_SAMPLES × n_dims */
        double *pairs;        /* MAX_PAIRS × N_SAMPLES */
        double *thetas;       /* N_THETAS × (n_dims + 2) */
};

static void summarise(double *samples, size_t n, double *ret_middle, double *ret_low, double *ret_high) {
        qsort(samples, n, sizeof *samples, compare);
        *ret_middle = samples[n / 2];
        *ret_low = samples[n / 20];
        *ret_high = samples[n - 1 - n / 20];
}

/* Of a dimension that may do nothing: from 0 to what it may be if it does something. samples: room for all of them. */
static void widen(const struct shares *shares, size_t k, size_t d, double *samples, struct opt_effect *effect) {
        size_t n = 0;
        double unused_middle, unused_low;
        for (size_t s = 0; s < N_SAMPLES; s++)
                if (shares->thetas[s / N_PATHS * (d + 2) + k] != CHAIN_FLAT)
                        samples[n++] = shares->main[s * d + k];
        effect->low = 0;
        if (n > 0)
                summarise(samples, n, &unused_middle, &unused_low, &effect->high);
}

/* Pairs of the dimensions that matter most, by total effect of the first draws. */
static size_t choose_pairs(const struct opt_effect *effects, size_t d, struct opt_pair *ret) {
        size_t top[N_PAIRED], n_top = 0, n = 0;
        for (; n_top < N_PAIRED; n_top++) {
                size_t best = d;
                for (size_t k = 0; k < d; k++) {
                        bool is_taken = !effects[k].is_distinguishable;
                        for (size_t i = 0; i < n_top; i++)
                                is_taken |= top[i] == k;
                        if (!is_taken && (best == d || effects[k].evidence > effects[best].evidence))
                                best = k;
                }
                if (best == d)
                        break;
                top[n_top] = best;
        }
        for (size_t i = 0; i < n_top; i++)
                for (size_t j = i + 1; j < n_top; j++)
                        ret[n++] = (struct opt_pair){.a = top[i] < top[j] ? top[i] : top[j], .b = top[i] < top[j] ? top[j] : top[i]};
        return n;
}

static int sample_shares(const struct opt_model *model, const struct gp_data *data, const struct gp_data *few, const double *mode,
                         const struct opt_pair *pairs, size_t n_pairs, struct shares *ret) {
        size_t d = model->space.n_dims;
        int r = chain_draw(few, mode, model->seed, N_THETAS, ret->thetas);
        for (size_t t = 0; r == 0 && t < N_THETAS; t++) {
                double *theta = ret->thetas + t * (d + 2);
                _cleanup_(cleanup_gp) struct gp *gp = NULL;
                _cleanup_(cleanup_paths) struct paths *paths = NULL;
                r = gp_new(data, theta, &gp);
                if (r == GP_NOT_FITTED) {
                        memcpy(theta, mode, (d + 2) * sizeof *theta);
                        r = gp_new(data, theta, &gp);
                }
                if (r == 0)
                        r = paths_new(&model->space, data, gp, theta, N_PATHS, model->seed + t, &paths);
                if (r == 0)
                        r = share_mains(model, paths, rng_mix(model->seed + t), t * N_PATHS, ret->main, ret->total);
                for (size_t i = 0; r == 0 && i < n_pairs; i++)
                        r = share_pair(model, paths, t * N_PATHS, &pairs[i], ret->pairs + i * N_SAMPLES);
        }
        return r > 0 ? 0 : r;
}

static int by_share(const void *a, const void *b) {
        const struct opt_pair *x = a, *y = b;
        if (x->share != y->share)
                return x->share > y->share ? -1 : 1;
        return x->a != y->a ? (x->a > y->a ? 1 : -1) : (x->b > y->b) - (x->b < y->b);
}

static int explain(const struct opt_model *model, const struct evidence *evidence, const double *mode, struct opt_effect *ret_effects,
                   size_t max_pairs, struct opt_pair *ret_pairs, size_t *ret_n_pairs) {
        size_t d = model->space.n_dims, n_points = MAX_EXPLAINED + MAX_TESTED;
        struct opt_pair pairs[MAX_PAIRS];
        _cleanup_free_ double *memory = calloc(N_SAMPLES * (2 * d + MAX_PAIRS + 1) + N_THETAS * (d + 2) + n_points * (d + 1), sizeof *memory);
        if (!memory)
                return -ENOMEM;
        struct shares shares = {.main = memory, .total = memory + N_SAMPLES * d};
        shares.pairs = shares.total + N_SAMPLES * d;
        shares.thetas = shares.pairs + MAX_PAIRS * N_SAMPLES;
        double *sorted = shares.thetas + N_THETAS * (d + 2), *x = sorted + N_SAMPLES, *few_x = x + MAX_EXPLAINED * (d + 1), unused_low, unused_high;
        memset(ret_effects, 0, d * sizeof *ret_effects);
        int r = weigh(model, evidence, ret_effects);
        if (r < 0)
                return r;
        struct gp_data data = picked_data(evidence, MAX_EXPLAINED, model->seed, x, x + MAX_EXPLAINED * d);
        struct gp_data few = picked_data(evidence, max_tested(evidence), model->seed, few_x, few_x + MAX_TESTED * d); /* for the draws of theta */
        size_t n_pairs = choose_pairs(ret_effects, d, pairs);
        r = sample_shares(model, &data, &few, mode, pairs, n_pairs, &shares);
        if (r < 0)
                return r;
        for (size_t k = 0; k < d; k++) {
                for (size_t s = 0; s < N_SAMPLES; s++)
                        sorted[s] = shares.main[s * d + k];
                summarise(sorted, N_SAMPLES, &ret_effects[k].share, &ret_effects[k].low, &ret_effects[k].high);
                if (!ret_effects[k].is_distinguishable)
                        widen(&shares, k, d, sorted, &ret_effects[k]);
                for (size_t s = 0; s < N_SAMPLES; s++)
                        sorted[s] = shares.total[s * d + k];
                summarise(sorted, N_SAMPLES, &ret_effects[k].total, &unused_low, &unused_high);
        }
        for (size_t i = 0; i < n_pairs; i++)
                summarise(shares.pairs + i * N_SAMPLES, N_SAMPLES, &pairs[i].share, &pairs[i].low, &pairs[i].high);
        qsort(pairs, n_pairs, sizeof *pairs, by_share);
        *ret_n_pairs = n_pairs < max_pairs ? n_pairs : max_pairs;
        memcpy(ret_pairs, pairs, *ret_n_pairs * sizeof *ret_pairs);
        return 0;
}

int opt_model_importance(const struct opt_model *model, struct opt_effect *ret_effects, size_t max_pairs, struct opt_pair *ret_pairs,
                         size_t *ret_n_pairs) {
        size_t n_ended = 0;
        for (size_t i = 0; i < model->history->n; i++)
                n_ended += is_ended(model, &model->history->trials[i]);
        if (n_ended == model->evidence.n_ended)
                return explain(model, &model->evidence, model->theta, ret_effects, max_pairs, ret_pairs, ret_n_pairs);
        __attribute__((cleanup(overview_fini))) struct overview overview;
        int r = overview_init(&overview, model);
        if (r > 0) /* hardly a value among those */
                return explain(model, &model->evidence, model->theta, ret_effects, max_pairs, ret_pairs, ret_n_pairs);
        return r < 0 ? r : explain(model, &overview.evidence, overview.theta, ret_effects, max_pairs, ret_pairs, ret_n_pairs);
}
