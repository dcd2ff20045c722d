/* How hyperparameters are found: the logarithm of their posterior density, its gradient, and the search for its maximum.
 *
 * A length-scale prior that grows with the square root of the dimension (as Hvarfner et al. 2024, arXiv:2402.02229,
 * l ~ LogNormal(√2 + ½ ln d, √3)) assumes little structure where there is little evidence, so few
 * trials already give useful proposals; the learned noise keeps the model from chasing the seed noise of short trainings.
 * For proposals the prior's mean is −½ + ½ ln d: at the mode of the longer one a few trials make a plane of the function, and the
 * search goes on where that plane is high. Regret after 20 and 50 trials fell by a third on problems that nothing was tuned on (SPEED.md).
 * There the length scales of numbers are expected to be alike, but for a few: one scale is learned from fewer trials than one of each.
 * Without a trend the longer one stays: it is for telling effects from noise, and short ones explain noise.
 * An evaluation of the objective costs one Cholesky and one inverse, whatever the number of dimensions: the gradient of
 * every length scale is a weighted sum over pairs. */
#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <nlopt.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/gp_internal.h"

/* Priors on log scale, beside those of gp.h: length scales' means above, signal variance N(0, 1), noise variance N(-5, 1.5²) with a floor. */
#define ALIKE_VARIANCE 1.5 /* with a trend: of the length scales' mean */
#define APART_VARIANCE 0.3 /* and of each one around it, the square of the t distribution's scale */
#define APART_FREEDOM 3.0
#define LOG_TREND_MEAN (-3.0)
#define LOG_TREND_VARIANCE 2.0
#define LOG_NOISE_MEAN (-5.0)
#define LOG_NOISE_VARIANCE 2.25

CLEANUP_DEFINE(nlopt_opt, cleanup_nlopt, nlopt_destroy)

/* --- prior ----------------------------------------------------------------------------------------- */

static double log_length_mean(const struct gp_data *data) {
        return (data->has_trend ? -0.5 : M_SQRT2) + 0.5 * log((double)(data->n_dims ? data->n_dims : 1));
}

static bool is_alike(const struct gp_data *data, size_t k) {
        return data->has_trend && !data->is_categorical[k];
}

/* Length scales each for itself, or, with a trend, those of numbers alike: their mean is normal, and how far each one is from that mean follows
 * Student's t. */
static double length_prior(const struct gp_data *data, const double *theta, double *gradient) {
        size_t d = data->n_dims, n_alike = 0;
        double sum = 0, mean = 0, pull = 0, expected = log_length_mean(data);
        for (size_t k = 0; k < d; k++)
                if (is_alike(data, k)) {
                        mean += theta[k] - expected;
                        n_alike++;
                }
        mean /= n_alike ? (double)n_alike : 1;
        for (size_t k = 0; k < d; k++) {
                double distance = theta[k] - expected, slope = distance / GP_LENGTH_VARIANCE;
                if (is_alike(data, k)) {
                        double apart = distance - mean, reach = APART_FREEDOM * APART_VARIANCE + apart * apart;
                        slope = (APART_FREEDOM + 1) * apart / reach;
                        sum += 0.5 * (APART_FREEDOM + 1) * log(reach / (APART_FREEDOM * APART_VARIANCE));
                        pull += slope / (double)n_alike;
                } else {
                        sum += 0.5 * distance * slope;
                }
                if (gradient)
                        gradient[k] = slope;
        }
        for (size_t k = 0; gradient && k < d; k++)
                if (is_alike(data, k))
                        gradient[k] += mean / (ALIKE_VARIANCE * (double)n_alike) - pull;
        return sum + mean * mean / (2 * ALIKE_VARIANCE);
}

static double prior(const struct gp_data *data, const double *theta, double *gradient) {
        size_t d = data->n_dims;
        double sum = length_prior(data, theta, gradient);
        for (size_t k = d; k < gp_n_theta(data); k++) {
                double mean = k == d ? 0 : k == d + 2 ? LOG_TREND_MEAN : data->expects_noise ? GP_WIDE_NOISE_MEAN : LOG_NOISE_MEAN;
                double variance = k == d ? 1 : k == d + 2 ? LOG_TREND_VARIANCE : data->expects_noise ? GP_WIDE_NOISE_VARIANCE : LOG_NOISE_VARIANCE;
                double distance = theta[k] - mean;
                sum += distance * distance / (2 * variance);
                if (gradient)
                        gradient[k] = distance / variance;
        }
        return sum;
}

/* --- objective ------------------------------------------------------------------------------------- */

size_t gp_scratch_size(size_t n, size_t n_dims) {
        return 4 * n * n + 2 * n + 2 * n * n_dims + 2 * n_dims + 1;
}

static void add_lower(double *restrict to, size_t n, double factor, const double *restrict what) {
        for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++)
                        to[j * n + i] += factor * what[j * n + i];
}

#define STRIP 16 /* columns solved together: the widest that leaves few zeros among the numbers multiplied */

/* L becomes L⁻¹, and ret the lower triangle of K⁻¹ = L⁻ᵀ L⁻¹. In strips of matrix products: LAPACK's dpotri works column by column at
 * these sizes. */
static void invert_factor(double *factor, size_t n, double *ret) {
        memset(ret, 0, n * n * sizeof *ret);
        for (size_t j = 0; j < n; j += STRIP) {
                size_t count = n - j < STRIP ? n - j : STRIP;
                for (size_t c = 0; c < count; c++)
                        ret[(j + c) * n + j + c] = 1;
                cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)(n - j), (int)count, 1,
                            factor + j * n + j, (int)n, ret + j * n + j, (int)n);
        }
        memcpy(factor, ret, n * n * sizeof *ret);
        for (size_t i = 0; i < n; i += STRIP) { /* rows above i of these columns of L⁻¹ are 0 */
                size_t count = n - i < STRIP ? n - i : STRIP;
                cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)count, (int)(i + count), (int)(n - i), 1, factor + i * n + i, (int)n,
                            factor + i, (int)n, 0, ret + i, (int)n);
        }
}

/* gradient += ½ tr((K⁻¹ − ααᵀ) ∂K/∂theta), from the lower triangles of K⁻¹ and of the slopes, which are spent. By length scale
 * ∂K_ij/∂log l_k = slope_ij · d²_k / l_k²; every pair off the diagonal counts twice. K itself is gone by then, but
 * tr(K⁻¹K) and αᵀKα are known: signal, trend, guide and noise gradients share n − αᵀy. trend: of variance 1; NULL without one.
 * by_guide: the guide's part of that; y: centred. */
VECTORISED static void add_gradient(const struct gp_data *data, const double *columns, const double *theta, const double *inverse_squared,
                                    const double *inverse, double *slope, const double *alpha, const double *y, double jitter, const double *trend,
                                    double by_guide, double *gradient) {
        size_t n = data->n, d = data->n_dims;
        double noise = exp(theta[d + 1]), trace = 0, by_trend = 0; /* tr((K⁻¹ − ααᵀ) trend) */
        for (size_t j = 0; j < n; j++) {
                double *restrict weight = slope + j * n;
                const double *restrict column = inverse + j * n;
                trace += column[j] - alpha[j] * alpha[j];
                if (trend) {
                        const double *restrict shared = trend + j * n;
                        double sum = 0.5 * (column[j] - alpha[j] * alpha[j]) * shared[j];
#pragma omp simd reduction(+ : sum)
                        for (size_t i = j + 1; i < n; i++)
                                sum += (column[i] - alpha[i] * alpha[j]) * shared[i];
                        by_trend += 2 * sum;
                }
                for (size_t i = j + 1; i < n; i++)
                        weight[i] *= column[i] - alpha[i] * alpha[j];
        }
        if (trend) {
                by_trend *= exp(theta[d + 2]);
                gradient[d + 2] += 0.5 * by_trend;
        }
        for (size_t k = 0; k < d; k++) {
                const double *restrict x = columns + k * n;
                double sum = 0;
                for (size_t j = 0; j < n; j++) {
                        const double *restrict weight = slope + j * n;
                        double at = x[j];
                        if (data->is_categorical[k])
#pragma omp simd reduction(+ : sum)
                                for (size_t i = j + 1; i < n; i++)
                                        sum += x[i] != at ? weight[i] : 0;
                        else
#pragma omp simd reduction(+ : sum)
                                for (size_t i = j + 1; i < n; i++)
                                        sum += weight[i] * (x[i] - at) * (x[i] - at);
                }
                gradient[k] += sum * inverse_squared[k];
        }
        double total = (double)n - cblas_ddot((int)n, alpha, 1, y, 1); /* tr((K⁻¹ − ααᵀ) K) */
        gradient[d] += 0.5 * (total - (noise + jitter) * trace - by_trend - by_guide);
        gradient[d + 1] += 0.5 * noise * trace;
}

/* vᵀ(K⁻¹ − ααᵀ)v, from the lower triangle of K⁻¹. */
static double form(size_t n, const double *inverse, const double *alpha, const double *v, double *scratch) {
        double along = cblas_ddot((int)n, alpha, 1, v, 1);
        cblas_dsymv(CblasColMajor, CblasLower, (int)n, 1, inverse, (int)n, v, 1, 0, scratch, 1);
        return cblas_ddot((int)n, scratch, 1, v, 1) - along * along;
}

/* tr((K⁻¹ − ααᵀ) ∂) of the guide's part of K. scratch: 2n */
static double guide_trace(const struct gp_data *data, const double *inverse, const double *alpha, double *scratch) {
        if (!data->guide)
                return 0;
        double *ones = scratch + data->n;
        for (size_t i = 0; i < data->n; i++)
                ones[i] = 1;
        return GP_GUIDE_VARIANCE * form(data->n, inverse, alpha, data->guided, scratch) + GP_OFFSET_VARIANCE * form(data->n, inverse, alpha, ones, scratch);
}

/* Where things are in the scratch. */
struct scratch {
        double *trend, *centred, *columns, *lines; /* of the data alone, prepared once */
        double *kernel, *slope, *inverse, *alpha, *inverse_squared;
};

static struct scratch divide(const struct gp_data *data, double *memory) {
        size_t n = data->n;
        struct scratch s = {.kernel = memory, .slope = memory + n * n, .inverse = memory + 2 * n * n, .trend = memory + 3 * n * n};
        s.alpha = s.trend + n * n;
        s.centred = s.alpha + n;
        s.columns = s.centred + n;
        s.lines = s.columns + n * data->n_dims;
        s.inverse_squared = s.lines + n * data->n_dims;
        return s;
}

static void prepare(const struct gp_data *data, double *memory) {
        struct scratch s = divide(data, memory);
        gp_transpose(data, s.columns);
        gp_centre(data, s.centred);
        if (!data->has_trend)
                return;
        gp_fill_lines(data, s.columns, s.lines);
        memset(s.trend, 0, data->n * data->n * sizeof *s.trend);
        gp_add_trend(data, s.columns, s.lines, 1, s.trend);
}

/* gp_objective, prepared. */
static double objective(const struct gp_data *data, const double *theta, double *memory, double *ret_gradient) {
        size_t n = data->n, d = data->n_dims;
        struct scratch s = divide(data, memory);
        double *kernel = s.kernel, *alpha = s.alpha, signal = exp(theta[d]), noise = exp(theta[d + 1]);
        int size = (int)n, info;

        gp_invert_lengths(theta, d, s.inverse_squared);
        gp_fill_kernel(data, s.columns, s.inverse_squared, signal, kernel, ret_gradient ? s.slope : NULL);
        if (data->has_trend)
                add_lower(kernel, n, exp(theta[d + 2]), s.trend);
        gp_add_guide(data, kernel);
        for (size_t i = 0; i < n; i++)
                kernel[i * n + i] += noise + GP_BASE_JITTER;
        dpotrf_("L", &size, kernel, &size, &info);
        if (info != 0)
                return INFINITY;
        memcpy(alpha, s.centred, n * sizeof *alpha);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, size, kernel, size, alpha, 1);
        double value = 0.5 * cblas_ddot(size, alpha, 1, alpha, 1);
        for (size_t i = 0; i < n; i++)
                value += log(kernel[i * n + i]);
        value += prior(data, theta, ret_gradient);
        if (!ret_gradient)
                return value;
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, size, kernel, size, alpha, 1);
        invert_factor(kernel, n, s.inverse);
        double by_guide = guide_trace(data, s.inverse, alpha, kernel); /* its factor is spent */
        add_gradient(data, s.columns, theta, s.inverse_squared, s.inverse, s.slope, alpha, s.centred, GP_BASE_JITTER, data->has_trend ? s.trend : NULL,
                     by_guide, ret_gradient);
        return value;
}

double gp_objective(const struct gp_data *data, const double *theta, double *scratch, double *ret_gradient) {
        prepare(data, scratch);
        return objective(data, theta, scratch, ret_gradient);
}

double gp_likelihood(const struct gp_data *data, const double *theta, double *scratch) {
        return gp_objective(data, theta, scratch, NULL) - prior(data, theta, NULL);
}

/* --- fit ------------------------------------------------------------------------------------------- */

struct fit {
        const struct gp_data *data;
        double *scratch; /* prepared */
        nlopt_opt optimizer; /* of the descent that is under way */
        double best_value, *best_theta; /* quasi-Newton may stop on a failed line search: the best point seen counts */
};

void gp_initial_theta(const struct gp_data *data, double *ret_theta) {
        size_t n_dims = data->n_dims;
        for (size_t k = 0; k < n_dims; k++)
                ret_theta[k] = log_length_mean(data) - 1.5;
        ret_theta[n_dims] = 0;
        ret_theta[n_dims + 1] = LOG_NOISE_MEAN;
        if (data->has_trend)
                ret_theta[n_dims + 2] = LOG_TREND_MEAN;
}

static double fit_objective(unsigned n_theta, const double *theta, double *gradient, void *user) {
        struct fit *fit = user;
        if (gp_is_stopped(fit->data))
                nlopt_force_stop(fit->optimizer);
        double value = objective(fit->data, theta, fit->scratch, gradient);
        if (!isfinite(value)) {
                if (gradient)
                        memset(gradient, 0, n_theta * sizeof *gradient);
                return 1e10;
        }
        if (value < fit->best_value) {
                fit->best_value = value;
                memcpy(fit->best_theta, theta, n_theta * sizeof *theta);
        }
        return value;
}

static void set_bounds(const struct gp_data *data, double *low, double *high) {
        size_t d = data->n_dims;
        for (size_t k = 0; k < d; k++) {
                low[k] = log(GP_SHORTEST);
                high[k] = log(GP_LONGEST);
        }
        low[d] = -4;
        high[d] = 4;
        low[d + 1] = -10;
        high[d + 1] = 1;
        if (data->has_trend) {
                low[d + 2] = -12;
                high[d + 2] = 3;
        }
}

/* The best point of quasi-Newton from `start`, which is spent, when it is better than fit->best_value. */
static int descend(struct fit *fit, int max_evaluations, double *start) {
        size_t n_theta = gp_n_theta(fit->data);
        _cleanup_free_ double *bounds = malloc(2 * n_theta * sizeof *bounds);
        _cleanup_(cleanup_nlopt) nlopt_opt optimizer = nlopt_create(NLOPT_LD_LBFGS, (unsigned)n_theta);
        if (!bounds || !optimizer)
                return -ENOMEM;
        double value, *low = bounds, *high = bounds + n_theta;
        set_bounds(fit->data, low, high);
        for (size_t k = 0; k < n_theta; k++)
                start[k] = fmin(fmax(start[k], low[k]), high[k]);
        nlopt_set_lower_bounds(optimizer, low);
        nlopt_set_upper_bounds(optimizer, high);
        nlopt_set_min_objective(optimizer, fit_objective, fit);
        nlopt_set_maxeval(optimizer, max_evaluations);
        nlopt_set_ftol_abs(optimizer, 1e-4);
        fit->optimizer = optimizer;
        nlopt_result ended = nlopt_optimize(optimizer, start, &value);
        return ended == NLOPT_OUT_OF_MEMORY ? -ENOMEM : gp_is_stopped(fit->data) ? -ECANCELED : 0;
}

int gp_fit(const struct gp_data *data, uint64_t seed, int n_restarts, int max_evaluations, double *ret_theta) {
        size_t d = data->n_dims, n_theta = gp_n_theta(data);
        _cleanup_free_ double *memory = malloc((gp_scratch_size(data->n, d) + n_theta) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *start = memory;
        struct fit fit = {.data = data, .scratch = start + n_theta, .best_value = INFINITY, .best_theta = ret_theta};
        gp_init_blas();
        prepare(data, fit.scratch);
        struct rng rng;
        rng_init(&rng, seed, 0x6770);
        gp_initial_theta(data, ret_theta);
        for (int restart = 0; restart <= n_restarts; restart++) {
                gp_initial_theta(data, start);
                for (size_t k = 0; restart > 0 && k < n_theta; k++)
                        start[k] += rng_normal(&rng) - (k < d ? 0.5 : 0);
                int r = descend(&fit, max_evaluations, start);
                if (r < 0)
                        return r;
        }
        return isfinite(fit.best_value) ? 0 : GP_NOT_FITTED;
}

int gp_refine(const struct gp_data *data, int max_evaluations, double *theta) {
        size_t n_theta = gp_n_theta(data);
        _cleanup_free_ double *memory = malloc((gp_scratch_size(data->n, data->n_dims) + 2 * n_theta) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *start = memory, *best = start + n_theta;
        struct fit fit = {.data = data, .scratch = best + n_theta, .best_value = INFINITY, .best_theta = best};
        gp_init_blas();
        prepare(data, fit.scratch);
        memcpy(start, theta, n_theta * sizeof *start);
        int r = descend(&fit, max_evaluations, start);
        if (r == 0 && isfinite(fit.best_value))
                memcpy(theta, best, n_theta * sizeof *theta);
        return r;
}
