/* Matérn-5/2 regression with maximum a posteriori hyperparameters.
 *
 * Why these choices: Matérn-5/2 with a length-scale prior that grows with the square root of the dimension (Hvarfner et al.
 * 2024, arXiv:2402.02229: l ~ LogNormal(√2 + ½ ln d, √3)) assumes little structure where there is little evidence, so few
 * trials already give useful proposals; the learned noise keeps the model from chasing the seed noise of short trainings.
 * An evaluation of the objective costs one Cholesky and one inverse, whatever the number of dimensions: the gradient of
 * every length scale is a weighted sum over pairs. */
#include "opt/gp.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <nlopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"

/* LAPACK, as OpenBLAS exports it. */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
extern void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info);

#define SQRT5 2.23606797749978969
#define BASE_JITTER 1e-8

/* Priors on log scale: length scales above, signal variance N(0, 1), noise variance N(-5, 1.5²) with a floor. */
#define LOG_LENGTH_VARIANCE 3.0
#define LOG_NOISE_MEAN (-5.0)
#define LOG_NOISE_VARIANCE 2.25

struct gp {
        struct gp_data data;
        double signal, *inverse_squared; /* 1/l² per dimension */
        double noise;                    /* on the diagonal, with the jitter that was needed */
        double *factor;                  /* L, n × n, lower */
        double *alpha;                   /* K⁻¹ y */
        double *row, *solved;            /* n each: of gp_predict_gradient */
};

CLEANUP_DEFINE(struct gp *, cleanup_gp, gp_free)
CLEANUP_DEFINE(nlopt_opt, cleanup_nlopt, nlopt_destroy)

static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

static void set_blas_threads(void) {
        openblas_set_num_threads(1);
}

void gp_init_blas(void) {
        pthread_once(&blas_once, set_blas_threads);
}

/* --- kernel ---------------------------------------------------------------------------------------- */

static double log_length_mean(size_t n_dims) {
        return M_SQRT2 + 0.5 * log((double)(n_dims ? n_dims : 1));
}

/* Squared distance of one dimension. */
static double distance2(bool is_categorical, double a, double b) {
        double difference = a - b;
        return is_categorical ? difference != 0 : difference * difference;
}

static double scaled_distance2(const struct gp_data *data, const double *inverse_squared, const double *a, const double *b) {
        double sum = 0;
        for (size_t k = 0; k < data->n_dims; k++)
                sum += distance2(data->is_categorical[k], a[k], b[k]) * inverse_squared[k];
        return sum;
}

/* k(r) / signal = (1 + √5 r + 5/3 r²) exp(−√5 r). slope: −2 dk/d(r²) / signal = 5/3 (1 + √5 r) exp(−√5 r). */
static double matern(double r2, double *ret_slope) {
        double s = SQRT5 * sqrt(r2), e = exp(-s);
        *ret_slope = (5.0 / 3.0) * (1 + s) * e;
        return (1 + s + s * s / 3) * e;
}

static void invert_lengths(const double *theta, size_t n_dims, double *ret) {
        for (size_t k = 0; k < n_dims; k++)
                ret[k] = exp(-2 * theta[k]);
}

/* --- objective ------------------------------------------------------------------------------------- */

size_t gp_scratch_size(size_t n, size_t n_dims) {
        return 2 * n * n + n + 2 * n_dims;
}

/* Lower triangle of K without the diagonal's noise, and of the slopes. */
static void fill_kernel(const struct gp_data *data, const double *inverse_squared, double signal, double *kernel, double *slope) {
        size_t n = data->n, d = data->n_dims;
        for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++)
                        kernel[j * n + i] = signal * matern(scaled_distance2(data, inverse_squared, data->x + i * d, data->x + j * d),
                                                            &slope[j * n + i]);
}

static double prior(const double *theta, size_t d, double *gradient) {
        double sum = 0;
        for (size_t k = 0; k < d + 2; k++) {
                double mean = k < d ? log_length_mean(d) : k == d ? 0 : LOG_NOISE_MEAN;
                double variance = k < d ? LOG_LENGTH_VARIANCE : k == d ? 1 : LOG_NOISE_VARIANCE;
                double distance = theta[k] - mean;
                sum += distance * distance / (2 * variance);
                if (gradient)
                        gradient[k] = distance / variance;
        }
        return sum;
}

/* gradient += ½ tr((K⁻¹ − ααᵀ) ∂K/∂theta), from the lower triangles of K⁻¹ and of the slopes. By length scale
 * ∂K_ij/∂log l_k = signal · slope_ij · d²_k / l_k²; every pair off the diagonal counts twice. K itself is gone by then, but
 * tr(K⁻¹K) and αᵀKα are known: signal and noise gradients share n − αᵀy. */
static void add_gradient(const struct gp_data *data, const double *theta, const double *inverse_squared, const double *inverse,
                         const double *slope, const double *alpha, double jitter, double *gradient) {
        size_t n = data->n, d = data->n_dims;
        double signal = exp(theta[d]), noise = exp(theta[d + 1]), trace = 0;
        for (size_t j = 0; j < n; j++) {
                trace += inverse[j * n + j] - alpha[j] * alpha[j];
                for (size_t i = j + 1; i < n; i++) {
                        double weight = (inverse[j * n + i] - alpha[i] * alpha[j]) * signal * slope[j * n + i];
                        const double *a = data->x + i * d, *b = data->x + j * d;
                        for (size_t k = 0; k < d; k++)
                                gradient[k] += weight * distance2(data->is_categorical[k], a[k], b[k]) * inverse_squared[k];
                }
        }
        double total = (double)n - cblas_ddot((int)n, alpha, 1, data->y, 1); /* tr((K⁻¹ − ααᵀ) K) */
        gradient[d] += 0.5 * (total - (noise + jitter) * trace);
        gradient[d + 1] += 0.5 * noise * trace;
}

double gp_objective(const struct gp_data *data, const double *theta, double *scratch, double *ret_gradient) {
        size_t n = data->n, d = data->n_dims;
        double *kernel = scratch, *slope = kernel + n * n, *alpha = slope + n * n, *inverse_squared = alpha + n;
        double signal = exp(theta[d]), noise = exp(theta[d + 1]);
        int size = (int)n, info;

        invert_lengths(theta, d, inverse_squared);
        fill_kernel(data, inverse_squared, signal, kernel, slope);
        for (size_t i = 0; i < n; i++)
                kernel[i * n + i] += noise + BASE_JITTER;
        dpotrf_("L", &size, kernel, &size, &info);
        if (info != 0)
                return INFINITY;
        memcpy(alpha, data->y, n * sizeof *alpha);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, size, kernel, size, alpha, 1);
        double value = 0.5 * cblas_ddot(size, alpha, 1, alpha, 1);
        for (size_t i = 0; i < n; i++)
                value += log(kernel[i * n + i]);
        value += prior(theta, d, ret_gradient);
        if (!ret_gradient)
                return value;
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, size, kernel, size, alpha, 1);
        dpotri_("L", &size, kernel, &size, &info);
        if (info != 0)
                return INFINITY;
        add_gradient(data, theta, inverse_squared, kernel, slope, alpha, BASE_JITTER, ret_gradient);
        return value;
}

/* --- fit ------------------------------------------------------------------------------------------- */

struct fit {
        const struct gp_data *data;
        double *scratch;
        double best_value, *best_theta; /* quasi-Newton may stop on a failed line search: the best point seen counts */
};

void gp_initial_theta(size_t n_dims, double *ret_theta) {
        for (size_t k = 0; k < n_dims; k++)
                ret_theta[k] = log_length_mean(n_dims) - 1.5;
        ret_theta[n_dims] = 0;
        ret_theta[n_dims + 1] = LOG_NOISE_MEAN;
}

static double fit_objective(unsigned n_theta, const double *theta, double *gradient, void *user) {
        struct fit *fit = user;
        double value = gp_objective(fit->data, theta, fit->scratch, gradient);
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

static void set_bounds(size_t d, double *low, double *high) {
        for (size_t k = 0; k < d; k++) {
                low[k] = log(0.02);
                high[k] = log(200);
        }
        low[d] = -4;
        high[d] = 4;
        low[d + 1] = -10;
        high[d + 1] = 1;
}

int gp_fit(const struct gp_data *data, uint64_t seed, int n_restarts, int max_evaluations, double *ret_theta) {
        size_t d = data->n_dims, n_theta = d + 2;
        _cleanup_free_ double *memory = malloc((gp_scratch_size(data->n, d) + 3 * n_theta) * sizeof *memory);
        _cleanup_(cleanup_nlopt) nlopt_opt optimizer = nlopt_create(NLOPT_LD_LBFGS, (unsigned)n_theta);
        if (!memory || !optimizer)
                return -ENOMEM;
        double *start = memory, *low = start + n_theta, *high = low + n_theta;
        struct fit fit = {.data = data, .scratch = high + n_theta, .best_value = INFINITY, .best_theta = ret_theta};

        gp_init_blas();
        set_bounds(d, low, high);
        nlopt_set_lower_bounds(optimizer, low);
        nlopt_set_upper_bounds(optimizer, high);
        nlopt_set_min_objective(optimizer, fit_objective, &fit);
        nlopt_set_maxeval(optimizer, max_evaluations);
        nlopt_set_ftol_abs(optimizer, 1e-4);
        struct rng rng;
        rng_init(&rng, seed, 0x6770);
        gp_initial_theta(d, ret_theta);
        for (int restart = 0; restart <= n_restarts; restart++) {
                gp_initial_theta(d, start);
                for (size_t k = 0; restart > 0 && k < n_theta; k++)
                        start[k] = fmin(fmax(start[k] + rng_normal(&rng) - (k < d ? 0.5 : 0), low[k]), high[k]);
                double value;
                nlopt_optimize(optimizer, start, &value);
        }
        return isfinite(fit.best_value) ? 0 : GP_NOT_FITTED;
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
        size_t n = gp->data.n, d = gp->data.n_dims;
        int size = (int)n, info = 0;
        for (double jitter = BASE_JITTER; jitter < 0.05; jitter *= jitter < 1e-7 ? 100 : 10) {
                double unused;
                for (size_t j = 0; j < n; j++) {
                        for (size_t i = j; i < n; i++)
                                gp->factor[j * n + i] = gp->signal * matern(scaled_distance2(&gp->data, gp->inverse_squared,
                                                                                             gp->data.x + i * d, gp->data.x + j * d),
                                                                            &unused);
                        gp->noise = noise + jitter * fmax(gp->signal, 1);
                        gp->factor[j * n + j] += gp->noise;
                }
                dpotrf_("L", &size, gp->factor, &size, &info);
                if (info == 0)
                        return 0;
        }
        return GP_NOT_FITTED;
}

int gp_new(const struct gp_data *data, const double *theta, struct gp **ret) {
        size_t n = data->n, d = data->n_dims;
        int size = (int)n;
        _cleanup_(cleanup_gp) struct gp *gp = calloc(1, sizeof *gp);
        if (!gp)
                return -ENOMEM;
        gp->data = *data;
        gp->signal = exp(theta[d]);
        gp->factor = malloc((n * n + 1) * sizeof *gp->factor);
        gp->inverse_squared = malloc((d + 3 * n + 1) * sizeof *gp->inverse_squared);
        if (!gp->factor || !gp->inverse_squared)
                return -ENOMEM;
        gp->alpha = gp->inverse_squared + d;
        gp->row = gp->alpha + n;
        gp->solved = gp->row + n;
        gp_init_blas();
        invert_lengths(theta, d, gp->inverse_squared);
        int r = factorise(gp, exp(theta[d + 1]));
        if (r != 0)
                return r;
        memcpy(gp->alpha, data->y, n * sizeof *gp->alpha);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, size, gp->factor, size, gp->alpha, 1);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, size, gp->factor, size, gp->alpha, 1);
        *ret = TAKE(gp);
        return 0;
}

static double deviation(const struct gp *gp, double explained) {
        return sqrt(fmax(gp->signal - explained, 1e-12));
}

/* K_signal α = (K − noise I) α = y − noise α */
void gp_fitted_mean(const struct gp *gp, double *ret_mean) {
        for (size_t i = 0; i < gp->data.n; i++)
                ret_mean[i] = gp->data.y[i] - gp->noise * gp->alpha[i];
}

#define BLOCK 64 /* points solved together: bounds the memory, still a matrix for BLAS */

int gp_predict(const struct gp *gp, size_t m, const double *points, double *ret_mean, double *ret_sd) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *rows = malloc((n * BLOCK + 1) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        for (size_t first = 0; first < m; first += BLOCK) {
                size_t count = m - first < BLOCK ? m - first : BLOCK;
                double unused;
                for (size_t c = 0; c < count; c++) {
                        double *row = rows + c * n;
                        for (size_t i = 0; i < n; i++)
                                row[i] = gp->signal * matern(scaled_distance2(&gp->data, gp->inverse_squared, gp->data.x + i * d,
                                                                              points + (first + c) * d),
                                                             &unused);
                        ret_mean[first + c] = cblas_ddot((int)n, row, 1, gp->alpha, 1);
                }
                cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)count, 1, gp->factor, (int)n,
                            rows, (int)n);
                for (size_t c = 0; c < count; c++)
                        ret_sd[first + c] = deviation(gp, cblas_ddot((int)n, rows + c * n, 1, rows + c * n, 1));
        }
        return 0;
}

void gp_predict_gradient(struct gp *gp, const double *point, double *ret_mean, double *ret_sd, double *ret_dmean, double *ret_dsd) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        const bool *is_categorical = gp->data.is_categorical;
        double *row = gp->row, *solved = gp->solved;
        for (size_t i = 0; i < n; i++)
                solved[i] = gp->signal * matern(scaled_distance2(&gp->data, gp->inverse_squared, gp->data.x + i * d, point), &row[i]);
        *ret_mean = cblas_ddot((int)n, solved, 1, gp->alpha, 1);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, gp->factor, (int)n, solved, 1);
        *ret_sd = deviation(gp, cblas_ddot((int)n, solved, 1, solved, 1));
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, (int)n, gp->factor, (int)n, solved, 1);
        memset(ret_dmean, 0, d * sizeof *ret_dmean);
        memset(ret_dsd, 0, d * sizeof *ret_dsd);
        for (size_t i = 0; i < n; i++) {
                double slope = gp->signal * row[i];
                for (size_t k = 0; k < d; k++) {
                        if (is_categorical[k])
                                continue;
                        double dkernel = -slope * (point[k] - gp->data.x[i * d + k]) * gp->inverse_squared[k];
                        ret_dmean[k] += gp->alpha[i] * dkernel;
                        ret_dsd[k] -= solved[i] * dkernel / *ret_sd;
                }
        }
}
