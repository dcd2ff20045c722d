/* Matérn-5/2 regression with maximum a posteriori hyperparameters.
 *
 * Why these choices: Matérn-5/2 with a length-scale prior that grows with the square root of the dimension (as Hvarfner et al. 2024,
 * arXiv:2402.02229, l ~ LogNormal(√2 + ½ ln d, √3)) assumes little structure where there is little evidence, so few
 * trials already give useful proposals; the learned noise keeps the model from chasing the seed noise of short trainings.
 * For proposals the prior's mean is −½ + ½ ln d: at the mode of the longer one a few trials make a plane of the function, and the
 * search goes on where that plane is high. Regret after 20 and 50 trials fell by a third on problems that nothing was tuned on (SPEED.md).
 * There the length scales of numbers are expected to be alike, but for a few: one scale is learned from fewer trials than one of each.
 * Without a trend the longer one stays: it is for telling effects from noise, and short ones explain noise.
 * An evaluation of the objective costs one Cholesky and one inverse, whatever the number of dimensions: the gradient of
 * every length scale is a weighted sum over pairs. */
#include "opt/gp.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <nlopt.h>
#ifdef _OPENMP /* not in fuzz targets, which compute no model */
#include <omp.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"

/* LAPACK, as OpenBLAS exports it. */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);

#define SQRT5 2.23606797749978969
#define BASE_JITTER 1e-8

/* Priors on log scale: length scales above, signal variance N(0, 1), noise variance N(-5, 1.5²) with a floor. */
#define LOG_LENGTH_VARIANCE 3.0
#define ALIKE_VARIANCE 1.5 /* with a trend: of the length scales' mean */
#define APART_VARIANCE 0.3 /* and of each one around it, the square of the t distribution's scale */
#define APART_FREEDOM 3.0
#define LOG_TREND_MEAN (-3.0)
#define LOG_TREND_VARIANCE 2.0
#define LOG_NOISE_MEAN (-5.0)
#define LOG_NOISE_VARIANCE 2.25
#define WIDE_NOISE_MEAN (-2.0) /* of expects_noise */
#define WIDE_NOISE_VARIANCE 6.0

struct gp {
        struct gp_data data;
        double signal, trend, *inverse_squared; /* 1/l² per dimension; no trend: 0 */
        double noise;                    /* on the diagonal, with the jitter that was needed */
        double *factor;                  /* L, n × n, lower */
        double *alpha;                   /* K⁻¹ y */
        double *row, *solved;            /* n each: of gp_predict_gradient and gp_predict_mean */
        double *columns, *lines;         /* the features, n of one dimension after the other; the same as the trend sees them */
        double *guide_gradient;          /* n_dims: of gp_predict_gradient */
};

CLEANUP_DEFINE(struct gp *, cleanup_gp, gp_free)
CLEANUP_DEFINE(nlopt_opt, cleanup_nlopt, nlopt_destroy)

/* One version per instruction set, chosen when the program starts; sanitizers cannot run before that choice. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define VECTORISED
#endif

static bool is_stopped(const struct gp_data *data) {
        return data->stop && atomic_load_explicit(data->stop, memory_order_relaxed);
}

static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

static void set_blas_threads(void) {
        openblas_set_num_threads(1);
}

void gp_init_blas(void) {
        pthread_once(&blas_once, set_blas_threads);
#ifdef _OPENMP
        omp_set_num_threads(1); /* the setting is each thread's own, and OpenBLAS asks for it at every call */
#endif
}

/* --- kernel ---------------------------------------------------------------------------------------- */

static double log_length_mean(const struct gp_data *data) {
        return (data->has_trend ? -0.5 : M_SQRT2) + 0.5 * log((double)(data->n_dims ? data->n_dims : 1));
}

/* exp for x ≤ 0, in a form that compilers turn into vector code: x = k ln 2 + r, |r| ≤ ½ ln 2, and the Taylor series of r.
 * Relative error below 3e-16; 0 below −708. */
static inline double exp_negative(double x) {
        const double magic = 0x1.8p52; /* the low bits of x + magic are the nearest integer to x */
        double clamped = x < -708 ? -708 : x;
        double shifted = clamped * M_LOG2E + magic, k = shifted - magic;
        double r = (clamped - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
        double p = 1.0 / 479001600;
        p = p * r + 1.0 / 39916800;
        p = p * r + 1.0 / 3628800;
        p = p * r + 1.0 / 362880;
        p = p * r + 1.0 / 40320;
        p = p * r + 1.0 / 5040;
        p = p * r + 1.0 / 720;
        p = p * r + 1.0 / 120;
        p = p * r + 1.0 / 24;
        p = p * r + 1.0 / 6;
        p = p * r + 0.5;
        p = p * r + 1;
        p = p * r + 1;
        union {
                double d;
                uint64_t u;
        } bits = {.d = shifted}, power;
        power.u = (bits.u + 1023) << 52;
        return x < -708 ? 0 : p * power.d;
}

static inline double trend_line(double x) {
        return 2 * (x < -0.5 ? -0.5 : x > 1.5 ? 1.5 : x) - 1;
}

/* What add_trend knows of points: trend_line of numbers, choices as they are. */
static void fill_lines(const struct gp_data *data, const double *columns, double *ret) {
        for (size_t k = 0; k < data->n_dims; k++)
                for (size_t i = k * data->n; i < (k + 1) * data->n; i++)
                        ret[i] = data->is_categorical[k] ? columns[i] : trend_line(columns[i]);
}

/* ret[i] = Σ_k d²_k(i, point) / l_k² for i = 0 … n-1; columns: one feature of all points after the other, `stride` apart. */
VECTORISED static void add_distances(const bool *is_categorical, const double *inverse_squared, size_t n_dims, const double *columns,
                                     size_t stride, const double *point, size_t point_step, size_t n, double *restrict ret) {
        memset(ret, 0, n * sizeof *ret);
        for (size_t k = 0; k < n_dims; k++) {
                const double *restrict column = columns + k * stride;
                double at = point[k * point_step], weight = inverse_squared[k];
                if (is_categorical[k])
                        for (size_t i = 0; i < n; i++)
                                ret[i] += column[i] != at ? weight : 0;
                else
                        for (size_t i = 0; i < n; i++)
                                ret[i] += (column[i] - at) * (column[i] - at) * weight;
        }
}

/* ret[i] += weight Σ_k t_k(i, point): u·u' + v·v' with u = 2x − 1 and v = 3/2 (u² − 1/3), which are orthogonal over the range, or 1 for
 * equal choices. Flat from half a range beyond the bounds. lines: fill_lines. */
VECTORISED static void add_trend(const bool *is_categorical, double weight, size_t n_dims, const double *lines, size_t stride,
                                 const double *point, size_t point_step, size_t n, double *restrict ret) {
        for (size_t k = 0; k < n_dims; k++) {
                const double *restrict v = lines + k * stride;
                double at = point[k * point_step];
                if (is_categorical[k]) {
                        for (size_t i = 0; i < n; i++)
                                ret[i] += v[i] == at ? weight : 0;
                        continue;
                }
                double u = trend_line(at), line = weight * u, curve = weight * 2.25 * (u * u - 1.0 / 3);
                for (size_t i = 0; i < n; i++)
                        ret[i] += line * v[i] + curve * (v[i] * v[i] - 1.0 / 3);
        }
}

/* The same of two points. */
static double trend_pair(const bool *is_categorical, double weight, size_t n_dims, const double *a, const double *b, double sum) {
        for (size_t k = 0; k < n_dims; k++) {
                double u = trend_line(b[k]), v = trend_line(a[k]), line = weight * u, curve = weight * 2.25 * (u * u - 1.0 / 3);
                sum += is_categorical[k] ? (a[k] == b[k] ? weight : 0) : line * v + curve * (v * v - 1.0 / 3);
        }
        return sum;
}

/* In place, squared distances become k(r) = signal (1 + √5 r + 5/3 r²) exp(−√5 r); ret_slope (may be NULL):
 * −2 dk/d(r²) = 5/3 signal (1 + √5 r) exp(−√5 r). */
VECTORISED static void apply_matern(size_t n, double signal, double *restrict r2, double *restrict ret_slope) {
        if (!ret_slope) {
                for (size_t i = 0; i < n; i++) {
                        double s = SQRT5 * sqrt(r2[i]);
                        r2[i] = signal * (1 + s + s * s / 3) * exp_negative(-s);
                }
                return;
        }
        for (size_t i = 0; i < n; i++) {
                double s = SQRT5 * sqrt(r2[i]), e = signal * exp_negative(-s);
                r2[i] = (1 + s + s * s / 3) * e;
                ret_slope[i] = (5.0 / 3.0) * (1 + s) * e;
        }
}

static void transpose(const struct gp_data *data, double *ret_columns) {
        for (size_t i = 0; i < data->n; i++)
                for (size_t k = 0; k < data->n_dims; k++)
                        ret_columns[k * data->n + i] = data->x[i * data->n_dims + k];
}

static void invert_lengths(const double *theta, size_t n_dims, double *ret) {
        for (size_t k = 0; k < n_dims; k++)
                ret[k] = exp(-2 * theta[k]);
}

/* --- objective ------------------------------------------------------------------------------------- */

size_t gp_scratch_size(size_t n, size_t n_dims) {
        return 4 * n * n + 2 * n + 2 * n * n_dims + 2 * n_dims + 1;
}

/* Lower triangle of K without the diagonal's noise, and of the slopes (may be NULL). */
static void fill_kernel(const struct gp_data *data, const double *columns, const double *inverse_squared, double signal, double *kernel,
                        double *slope) {
        for (size_t n = data->n, j = 0; j < n; j++) {
                double *column = kernel + j * n + j;
                add_distances(data->is_categorical, inverse_squared, data->n_dims, columns + j, n, columns + j, n, n - j, column);
                apply_matern(n - j, signal, column, slope ? slope + j * n + j : NULL);
        }
}

/* Lower triangle of the trend's covariance for a variance of 1. */
static void fill_trend(const struct gp_data *data, const double *columns, const double *lines, double *ret) {
        for (size_t n = data->n, j = 0; j < n; j++) {
                memset(ret + j * n + j, 0, (n - j) * sizeof *ret);
                add_trend(data->is_categorical, 1, data->n_dims, lines + j, n, columns + j, n, n - j, ret + j * n + j);
        }
}

static void add_lower(double *restrict to, size_t n, double factor, const double *restrict what) {
        for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++)
                        to[j * n + i] += factor * what[j * n + i];
}

/* y less what the prior expects. */
static void centre(const struct gp_data *data, double *ret) {
        for (size_t i = 0; i < data->n; i++)
                ret[i] = data->y[i] - (data->guide ? GP_GUIDE_SLOPE * data->guided[i] : 0);
}

/* Lower triangle of K += the covariance of b g + c. */
static void add_guide(const struct gp_data *data, double *kernel) {
        for (size_t n = data->n, j = 0; data->guide && j < n; j++)
                for (size_t i = j; i < n; i++)
                        kernel[j * n + i] += GP_GUIDE_VARIANCE * data->guided[j] * data->guided[i] + GP_OFFSET_VARIANCE;
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
                double distance = theta[k] - expected, slope = distance / LOG_LENGTH_VARIANCE;
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
                double mean = k == d ? 0 : k == d + 2 ? LOG_TREND_MEAN : data->expects_noise ? WIDE_NOISE_MEAN : LOG_NOISE_MEAN;
                double variance = k == d ? 1 : k == d + 2 ? LOG_TREND_VARIANCE : data->expects_noise ? WIDE_NOISE_VARIANCE : LOG_NOISE_VARIANCE;
                double distance = theta[k] - mean;
                sum += distance * distance / (2 * variance);
                if (gradient)
                        gradient[k] = distance / variance;
        }
        return sum;
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
        transpose(data, s.columns);
        centre(data, s.centred);
        if (!data->has_trend)
                return;
        fill_lines(data, s.columns, s.lines);
        fill_trend(data, s.columns, s.lines, s.trend);
}

/* gp_objective, prepared. */
static double objective(const struct gp_data *data, const double *theta, double *memory, double *ret_gradient) {
        size_t n = data->n, d = data->n_dims;
        struct scratch s = divide(data, memory);
        double *kernel = s.kernel, *alpha = s.alpha, signal = exp(theta[d]), noise = exp(theta[d + 1]);
        int size = (int)n, info;

        invert_lengths(theta, d, s.inverse_squared);
        fill_kernel(data, s.columns, s.inverse_squared, signal, kernel, ret_gradient ? s.slope : NULL);
        if (data->has_trend)
                add_lower(kernel, n, exp(theta[d + 2]), s.trend);
        add_guide(data, kernel);
        for (size_t i = 0; i < n; i++)
                kernel[i * n + i] += noise + BASE_JITTER;
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
        add_gradient(data, s.columns, theta, s.inverse_squared, s.inverse, s.slope, alpha, s.centred, BASE_JITTER, data->has_trend ? s.trend : NULL,
                     by_guide, ret_gradient);
        return value;
}

double gp_objective(const struct gp_data *data, const double *theta, double *scratch, double *ret_gradient) {
        prepare(data, scratch);
        return objective(data, theta, scratch, ret_gradient);
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
        if (is_stopped(fit->data))
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
                low[k] = log(0.02);
                high[k] = log(200);
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
        return ended == NLOPT_OUT_OF_MEMORY ? -ENOMEM : is_stopped(fit->data) ? -ECANCELED : 0;
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

/* --- posterior ------------------------------------------------------------------------------------- */

void gp_free(struct gp *gp) {
        if (!gp)
                return;
        free(gp->factor);
        free(gp->inverse_squared);
        free(gp);
}

static int factorise(struct gp *gp, double noise) {
        size_t n = gp->data.n;
        int size = (int)n, info = 0;
        for (double jitter = BASE_JITTER; jitter < 0.05; jitter *= jitter < 1e-7 ? 100 : 10) {
                fill_kernel(&gp->data, gp->columns, gp->inverse_squared, gp->signal, gp->factor, NULL);
                for (size_t j = 0; gp->trend > 0 && j < n; j++)
                        add_trend(gp->data.is_categorical, gp->trend, gp->data.n_dims, gp->lines + j, n, gp->columns + j, n, n - j,
                                  gp->factor + j * n + j);
                add_guide(&gp->data, gp->factor);
                gp->noise = noise + jitter * fmax(gp->signal, 1);
                for (size_t j = 0; j < n; j++)
                        gp->factor[j * n + j] += gp->noise;
                dpotrf_("L", &size, gp->factor, &size, &info);
                if (info == 0)
                        return 0;
        }
        return GP_NOT_FITTED;
}

void gp_solve(const struct gp *gp, double *b) {
        int n = (int)gp->data.n;
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, gp->factor, n, b, 1);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, n, gp->factor, n, b, 1);
}

double gp_noise(const struct gp *gp) {
        return gp->noise;
}

/* All but factor and alpha. */
static int allocate(const struct gp_data *data, const double *theta, struct gp **ret) {
        size_t n = data->n, d = data->n_dims;
        _cleanup_(cleanup_gp) struct gp *gp = calloc(1, sizeof *gp);
        if (!gp)
                return -ENOMEM;
        gp->data = *data;
        gp->signal = exp(theta[d]);
        gp->trend = data->has_trend ? exp(theta[d + 2]) : 0;
        gp->factor = malloc((n * n + 1) * sizeof *gp->factor);
        gp->inverse_squared = malloc((2 * d + (2 * d + 3) * n + 1) * sizeof *gp->inverse_squared);
        if (!gp->factor || !gp->inverse_squared)
                return -ENOMEM;
        gp->alpha = gp->inverse_squared + d;
        gp->row = gp->alpha + n;
        gp->solved = gp->row + n;
        gp->columns = gp->solved + n;
        gp->lines = gp->columns + d * n;
        gp->guide_gradient = gp->lines + d * n;
        transpose(data, gp->columns);
        if (data->has_trend)
                fill_lines(data, gp->columns, gp->lines);
        gp_init_blas();
        invert_lengths(theta, d, gp->inverse_squared);
        *ret = TAKE(gp);
        return 0;
}

int gp_new(const struct gp_data *data, const double *theta, struct gp **ret) {
        _cleanup_(cleanup_gp) struct gp *gp = NULL;
        int r = is_stopped(data) ? -ECANCELED : allocate(data, theta, &gp);
        if (r == 0)
                r = factorise(gp, exp(theta[data->n_dims + 1]));
        if (r != 0)
                return r;
        centre(data, gp->alpha);
        gp_solve(gp, gp->alpha);
        *ret = TAKE(gp);
        return 0;
}

/* K_signal α = (K − noise I) α = y − noise α; with a guide y is centred, and what it expects is part of the mean again */
void gp_fitted_mean(const struct gp *gp, double *ret_mean) {
        for (size_t i = 0; i < gp->data.n; i++)
                ret_mean[i] = gp->data.y[i] - gp->noise * gp->alpha[i];
}

/* g: what the guide expects at the point; 0 without one. */
static void kernel_row(const struct gp *gp, const double *point, double g, double *ret_row, double *ret_slope) {
        size_t n = gp->data.n;
        add_distances(gp->data.is_categorical, gp->inverse_squared, gp->data.n_dims, gp->columns, n, point, 1, n, ret_row);
        apply_matern(n, gp->signal, ret_row, ret_slope);
        if (gp->trend > 0)
                add_trend(gp->data.is_categorical, gp->trend, gp->data.n_dims, gp->lines, n, point, 1, n, ret_row);
        for (size_t i = 0; gp->data.guide && i < n; i++)
                ret_row[i] += GP_GUIDE_VARIANCE * g * gp->data.guided[i] + GP_OFFSET_VARIANCE;
}

static double ask_guide(const struct gp *gp, const double *point) {
        return gp->data.guide ? gp_predict_mean(gp->data.guide, point) : 0;
}

double gp_predict_mean(const struct gp *gp, const double *point) {
        double g = ask_guide(gp, point);
        kernel_row(gp, point, g, gp->row, NULL);
        return GP_GUIDE_SLOPE * g + cblas_ddot((int)gp->data.n, gp->row, 1, gp->alpha, 1);
}

void gp_kernel_row(const struct gp *gp, const double *point, double *ret) {
        kernel_row(gp, point, ask_guide(gp, point), ret, NULL);
}

/* The prior's covariance of two points, where the guide expects g and h. */
static double kernel_pair(const struct gp *gp, const double *a, double g, const double *b, double h) {
        double r2;
        add_distances(gp->data.is_categorical, gp->inverse_squared, gp->data.n_dims, a, 1, b, 1, 1, &r2);
        apply_matern(1, gp->signal, &r2, NULL);
        if (gp->trend > 0)
                r2 = trend_pair(gp->data.is_categorical, gp->trend, gp->data.n_dims, a, b, r2);
        return r2 + (gp->data.guide ? GP_GUIDE_VARIANCE * g * h + GP_OFFSET_VARIANCE : 0);
}

static double deviation(const struct gp *gp, const double *point, double g, double explained) {
        return sqrt(fmax(kernel_pair(gp, point, g, point, g) - explained, 1e-12));
}

int gp_covariance(const struct gp *gp, size_t m, const double *points, double *ret) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *rows = malloc((n * m + m + 1) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        double *guided = rows + n * m;
        for (size_t i = 0; i < m; i++) {
                guided[i] = ask_guide(gp, points + i * d);
                kernel_row(gp, points + i * d, guided[i], rows + i * n, NULL);
        }
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)m, 1, gp->factor, (int)n, rows, (int)n);
        for (size_t i = 0; i < m; i++)
                for (size_t j = 0; j <= i; j++) {
                        double explained = cblas_ddot((int)n, rows + i * n, 1, rows + j * n, 1);
                        ret[i * m + j] = ret[j * m + i] = kernel_pair(gp, points + i * d, guided[i], points + j * d, guided[j]) - explained;
                }
        return 0;
}

/* L = (L₁ 0; B L₂): B = K₂₁ L₁⁻ᵀ, and L₂ the factor of K₂₂ − B Bᵀ. */
static bool append(struct gp *gp, const struct gp *smaller) {
        size_t n = gp->data.n, first = smaller->data.n, m = n - first, d = gp->data.n_dims;
        const double *points = gp->data.x + first * d, *guided = gp->data.guide ? gp->data.guided + first : NULL;
        double *low = gp->factor + first, *corner = gp->factor + first * n + first;
        int info = 0, size = (int)m, stride = (int)n;
        gp->noise = smaller->noise;
        for (size_t j = 0; j < first; j++)
                memcpy(gp->factor + j * n + j, smaller->factor + j * first + j, (first - j) * sizeof *gp->factor);
        for (size_t i = 0; i < m; i++) {
                double g = guided ? guided[i] : 0;
                kernel_row(smaller, points + i * d, g, gp->row, NULL);
                for (size_t j = 0; j < first; j++)
                        low[j * n + i] = gp->row[j];
                for (size_t j = 0; j <= i; j++)
                        corner[j * n + i] = kernel_pair(gp, points + i * d, g, points + j * d, guided ? guided[j] : 0) + (i == j ? gp->noise : 0);
        }
        cblas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, size, (int)first, 1, gp->factor, stride, low, stride);
        cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, size, (int)first, -1, low, stride, 1, corner, stride);
        dpotrf_("L", &size, corner, &stride, &info);
        return info == 0;
}

int gp_grow(const struct gp *smaller, const struct gp_data *data, const double *theta, struct gp **ret) {
        _cleanup_(cleanup_gp) struct gp *gp = NULL;
        int r = allocate(data, theta, &gp);
        if (r < 0)
                return r;
        if (data->n == smaller->data.n || smaller->data.n == 0 || !append(gp, smaller))
                return gp_new(data, theta, ret);
        centre(data, gp->alpha);
        gp_solve(gp, gp->alpha);
        *ret = TAKE(gp);
        return 0;
}

#define BLOCK 64 /* points solved together: bounds the memory, still a matrix for BLAS */

int gp_predict(const struct gp *gp, size_t m, const double *points, double *ret_mean, double *ret_sd) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *rows = malloc((n * BLOCK + 1) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        double guided[BLOCK];
        for (size_t first = 0; first < m; first += BLOCK) {
                size_t count = m - first < BLOCK ? m - first : BLOCK;
                if (is_stopped(&gp->data))
                        return -ECANCELED;
                for (size_t c = 0; c < count; c++) {
                        double *row = rows + c * n;
                        guided[c] = ask_guide(gp, points + (first + c) * d);
                        kernel_row(gp, points + (first + c) * d, guided[c], row, NULL);
                        ret_mean[first + c] = GP_GUIDE_SLOPE * guided[c] + cblas_ddot((int)n, row, 1, gp->alpha, 1);
                }
                cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)count, 1, gp->factor, (int)n,
                            rows, (int)n);
                for (size_t c = 0; c < count; c++)
                        ret_sd[first + c] = deviation(gp, points + (first + c) * d, guided[c], cblas_ddot((int)n, rows + c * n, 1, rows + c * n, 1));
        }
        return 0;
}

#define SLICE 32 /* rows of the factor at a time: so many observations already bound a deviation */

/* Points of a block whose deviations are on the way: columns of L⁻¹k, done as far as the rows that were looked at. */
struct contest {
        const struct gp *gp;
        double *rows;     /* n × BLOCK, a column for each of those left */
        double *weight;   /* n: 1 / variance of each observation, with its noise */
        size_t n_left, left[BLOCK]; /* which points */
        double prior[BLOCK], nearest[BLOCK], explained[BLOCK]; /* variance: of the point, what the nearest observation explains, what the rows so far do */
        double best[GP_BEST_MAX]; /* descending */
        size_t n_best;
};

static void note_worth(struct contest *contest, double worth) {
        size_t k = contest->n_best;
        for (; k > 0 && worth > contest->best[k - 1]; k--)
                if (k < contest->n_best)
                        contest->best[k] = contest->best[k - 1];
        if (k < contest->n_best)
                contest->best[k] = worth;
}

/* The largest row² · weight. */
VECTORISED static double find_most(size_t n, const double *restrict row, const double *restrict weight) {
        double most = 0;
#pragma omp simd reduction(max : most)
        for (size_t i = 0; i < n; i++) {
                double part = row[i] * row[i] * weight[i];
                most = part > most ? part : most;
        }
        return most;
}

/* Of those left: kernel rows, means, and what the observation that says most says alone. */
static void enter(struct contest *contest, const double *points, size_t first, double *ret_mean) {
        const struct gp *gp = contest->gp;
        size_t n = gp->data.n, d = gp->data.n_dims;
        for (size_t c = 0; c < contest->n_left; c++) {
                const double *point = points + (first + c) * d;
                double *row = contest->rows + c * n, g = ask_guide(gp, point);
                kernel_row(gp, point, g, row, NULL);
                ret_mean[first + c] = GP_GUIDE_SLOPE * g + cblas_ddot((int)n, row, 1, gp->alpha, 1);
                contest->left[c] = first + c;
                contest->prior[c] = kernel_pair(gp, point, g, point, g);
                contest->nearest[c] = find_most(n, row, contest->weight);
                contest->explained[c] = 0;
        }
}

/* Those that can still be among the best, by a deviation that is too large rather than too small, stay. */
static void narrow(struct contest *contest, gp_worth worth, const void *data, const double *mean, double *sd, double *ret_worth) {
        size_t kept = 0, n = contest->gp->data.n;
        double least = contest->best[contest->n_best - 1];
        for (size_t c = 0; c < contest->n_left; c++) {
                size_t point = contest->left[c];
                sd[point] = sqrt(fmax(contest->prior[c] - fmax(contest->explained[c], contest->nearest[c]), 1e-12));
                ret_worth[point] = worth(data, point, mean[point], sd[point]);
                if (!(ret_worth[point] > -INFINITY) || ret_worth[point] < least - 1e-9) {
                        ret_worth[point] = -INFINITY;
                        continue;
                }
                if (kept < c) {
                        memcpy(contest->rows + kept * n, contest->rows + c * n, n * sizeof *contest->rows);
                        contest->left[kept] = point;
                        contest->prior[kept] = contest->prior[c];
                        contest->nearest[kept] = contest->nearest[c];
                        contest->explained[kept] = contest->explained[c];
                }
                kept++;
        }
        contest->n_left = kept;
}

/* The next `count` rows of L⁻¹k. */
static void advance(struct contest *contest, size_t from, size_t count) {
        size_t n = contest->gp->data.n;
        const double *factor = contest->gp->factor;
        int size = (int)n, left = (int)contest->n_left, rows = (int)count;
        if (from > 0)
                cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, rows, left, (int)from, -1, factor + from, size, contest->rows, size, 1,
                            contest->rows + from, size);
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, rows, left, 1, factor + from * n + from, size,
                    contest->rows + from, size);
        for (size_t c = 0; c < contest->n_left; c++) {
                const double *part = contest->rows + c * n + from;
                contest->explained[c] += cblas_ddot(rows, part, 1, part, 1);
        }
}

int gp_predict_best(const struct gp *gp, size_t m, const double *points, size_t n_best, gp_worth worth, const void *data, double *ret_mean, double *ret_sd,
                    double *ret_worth) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *memory = malloc((n * (BLOCK + 1) + 1) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        struct contest contest = {.gp = gp, .rows = memory, .weight = memory + n * BLOCK, .n_best = n_best < GP_BEST_MAX ? n_best : GP_BEST_MAX};
        for (size_t k = 0; k < GP_BEST_MAX; k++)
                contest.best[k] = -INFINITY;
        for (size_t i = 0; i < n; i++) {
                const double *x = gp->data.x + i * d;
                double g = gp->data.guide ? gp->data.guided[i] : 0;
                contest.weight[i] = 1 / (kernel_pair(gp, x, g, x, g) + gp->noise);
        }
        for (size_t end = m; end > 0; end -= end < BLOCK ? end : BLOCK) { /* the last are near good trials: most of the best are among them */
                size_t first = end < BLOCK ? 0 : end - BLOCK;
                if (is_stopped(&gp->data))
                        return -ECANCELED;
                contest.n_left = end - first;
                enter(&contest, points, first, ret_mean);
                narrow(&contest, worth, data, ret_mean, ret_sd, ret_worth);
                for (size_t from = 0; from < n && contest.n_left > 0; from += SLICE) {
                        advance(&contest, from, n - from < SLICE ? n - from : SLICE);
                        narrow(&contest, worth, data, ret_mean, ret_sd, ret_worth);
                }
                for (size_t c = 0; c < contest.n_left; c++)
                        note_worth(&contest, ret_worth[contest.left[c]]);
        }
        return 0;
}

/* By one coordinate of the point: ½ ∂k(x,x) of the trend less its share of (K⁻¹k)ᵀ∂k, and of αᵀ∂k. solved: K⁻¹k. */
static void trend_gradient(const struct gp *gp, size_t k, double at, const double *solved, double *ret_by_mean, double *ret_by_variance) {
        const double *lines = gp->lines + k * gp->data.n;
        double u = trend_line(at), mean_line = 0, mean_curve = 0, line = u, curve = u * u - 1.0 / 3;
        for (size_t i = 0; i < gp->data.n; i++) {
                double v = lines[i], w = v * v - 1.0 / 3;
                mean_line += v * gp->alpha[i];
                mean_curve += w * gp->alpha[i];
                line -= v * solved[i];
                curve -= w * solved[i];
        }
        *ret_by_mean = gp->trend * (2 * mean_line + 9 * u * mean_curve);
        *ret_by_variance = gp->trend * (2 * line + 9 * u * curve);
}

/* The mean of a process without a guide, and its gradient. */
static double mean_gradient(const struct gp *gp, const double *point, double *ret_dmean) {
        size_t n = gp->data.n;
        double unused;
        kernel_row(gp, point, 0, gp->solved, gp->row);
        double mean = cblas_ddot((int)n, gp->solved, 1, gp->alpha, 1);
        for (size_t i = 0; i < n; i++)
                gp->row[i] *= gp->alpha[i];
        for (size_t k = 0; k < gp->data.n_dims; k++) {
                const double *column = gp->columns + k * n;
                double sum = 0;
                ret_dmean[k] = 0;
                if (gp->data.is_categorical[k])
                        continue;
                for (size_t i = 0; i < n; i++)
                        sum += gp->row[i] * (column[i] - point[k]);
                if (gp->trend > 0)
                        trend_gradient(gp, k, point[k], gp->solved, &ret_dmean[k], &unused);
                ret_dmean[k] += sum * gp->inverse_squared[k];
        }
        return mean;
}

void gp_predict_gradient(struct gp *gp, const double *point, double *ret_mean, double *ret_sd, double *ret_dmean, double *ret_dsd) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        const bool *is_categorical = gp->data.is_categorical;
        double *row = gp->row, *solved = gp->solved, *by_guide = gp->guide_gradient;
        double g = gp->data.guide ? mean_gradient(gp->data.guide, point, by_guide) : 0, by_mean_guide = GP_GUIDE_SLOPE, by_sd_guide = GP_GUIDE_VARIANCE * g;
        kernel_row(gp, point, g, solved, row);
        *ret_mean = GP_GUIDE_SLOPE * g + cblas_ddot((int)n, solved, 1, gp->alpha, 1);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, gp->factor, (int)n, solved, 1);
        *ret_sd = deviation(gp, point, g, cblas_ddot((int)n, solved, 1, solved, 1));
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, (int)n, gp->factor, (int)n, solved, 1);
        if (gp->data.guide) {
                by_mean_guide += GP_GUIDE_VARIANCE * cblas_ddot((int)n, gp->data.guided, 1, gp->alpha, 1);
                by_sd_guide -= GP_GUIDE_VARIANCE * cblas_ddot((int)n, gp->data.guided, 1, solved, 1);
        }
        for (size_t k = 0; k < d; k++) {
                ret_dmean[k] = ret_dsd[k] = 0;
                if (gp->trend > 0 && !is_categorical[k])
                        trend_gradient(gp, k, point[k], solved, &ret_dmean[k], &ret_dsd[k]);
        }
        for (size_t i = 0; i < n; i++)
                solved[i] *= row[i];
        for (size_t i = 0; i < n; i++)
                row[i] *= gp->alpha[i];
        for (size_t k = 0; k < d; k++) {
                const double *column = gp->columns + k * n;
                double by_mean = 0, by_sd = 0;
                for (size_t i = 0; !is_categorical[k] && i < n; i++) {
                        by_mean += row[i] * (column[i] - point[k]);
                        by_sd += solved[i] * (column[i] - point[k]);
                }
                ret_dmean[k] += by_mean * gp->inverse_squared[k];
                ret_dsd[k] -= by_sd * gp->inverse_squared[k];
                if (gp->data.guide) {
                        ret_dmean[k] += by_mean_guide * by_guide[k];
                        ret_dsd[k] += by_sd_guide * by_guide[k];
                }
                ret_dsd[k] /= *ret_sd;
        }
}
