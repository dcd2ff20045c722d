/* The posterior: a process that is conditioned on data, and what it predicts. What it assumes stands in gp_kernel.c, how its hyperparameters are
 * found in gp_fit.c. */
#include <cblas.h>
#include <errno.h>
#include <math.h>
#ifdef _OPENMP /* not in fuzz targets, which compute no model */
#include <omp.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "opt/gp_internal.h"

CLEANUP_DEFINE(struct gp *, cleanup_gp, gp_free)

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
        for (double jitter = GP_BASE_JITTER; jitter < 0.05; jitter *= jitter < 1e-7 ? 100 : 10) {
                gp_fill_kernel(&gp->data, gp->columns, gp->inverse_squared, gp->signal, gp->factor, NULL);
                if (gp->trend > 0)
                        gp_add_trend(&gp->data, gp->columns, gp->lines, gp->trend, gp->factor);
                gp_add_guide(&gp->data, gp->factor);
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
        gp_transpose(data, gp->columns);
        if (data->has_trend)
                gp_fill_lines(data, gp->columns, gp->lines);
        gp_init_blas();
        gp_invert_lengths(theta, d, gp->inverse_squared);
        *ret = TAKE(gp);
        return 0;
}

int gp_new(const struct gp_data *data, const double *theta, struct gp **ret) {
        _cleanup_(cleanup_gp) struct gp *gp = NULL;
        int r = gp_is_stopped(data) ? -ECANCELED : allocate(data, theta, &gp);
        if (r == 0)
                r = factorise(gp, exp(theta[data->n_dims + 1]));
        if (r != 0)
                return r;
        gp_centre(data, gp->alpha);
        gp_solve(gp, gp->alpha);
        *ret = TAKE(gp);
        return 0;
}

/* K_signal α = (K − noise I) α = y − noise α; with a guide y is centred, and what it expects is part of the mean again */
void gp_fitted_mean(const struct gp *gp, double *ret_mean) {
        for (size_t i = 0; i < gp->data.n; i++)
                ret_mean[i] = gp->data.y[i] - gp->noise * gp->alpha[i];
}

double gp_predict_mean(const struct gp *gp, const double *point) {
        double g = gp_ask_guide(gp, point);
        gp_prior_row(gp, point, g, gp->row, NULL);
        return GP_GUIDE_SLOPE * g + cblas_ddot((int)gp->data.n, gp->row, 1, gp->alpha, 1);
}

void gp_kernel_row(const struct gp *gp, const double *point, double *ret) {
        gp_prior_row(gp, point, gp_ask_guide(gp, point), ret, NULL);
}

static double deviation(const struct gp *gp, const double *point, double g, double explained) {
        return sqrt(fmax(gp_prior_pair(gp, point, g, point, g) - explained, 1e-12));
}

int gp_covariance(const struct gp *gp, size_t m, const double *points, double *ret) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *rows = malloc((n * m + m + 1) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        double *guided = rows + n * m;
        for (size_t i = 0; i < m; i++) {
                guided[i] = gp_ask_guide(gp, points + i * d);
                gp_prior_row(gp, points + i * d, guided[i], rows + i * n, NULL);
        }
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)m, 1, gp->factor, (int)n, rows, (int)n);
        for (size_t i = 0; i < m; i++)
                for (size_t j = 0; j <= i; j++) {
                        double explained = cblas_ddot((int)n, rows + i * n, 1, rows + j * n, 1);
                        ret[i * m + j] = ret[j * m + i] = gp_prior_pair(gp, points + i * d, guided[i], points + j * d, guided[j]) - explained;
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
                gp_prior_row(smaller, points + i * d, g, gp->row, NULL);
                for (size_t j = 0; j < first; j++)
                        low[j * n + i] = gp->row[j];
                for (size_t j = 0; j <= i; j++)
                        corner[j * n + i] = gp_prior_pair(gp, points + i * d, g, points + j * d, guided ? guided[j] : 0) + (i == j ? gp->noise : 0);
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
        gp_centre(data, gp->alpha);
        gp_solve(gp, gp->alpha);
        *ret = TAKE(gp);
        return 0;
}

int gp_predict(const struct gp *gp, size_t m, const double *points, double *ret_mean, double *ret_sd) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *rows = malloc((n * GP_BLOCK + 1) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        double guided[GP_BLOCK];
        for (size_t first = 0; first < m; first += GP_BLOCK) {
                size_t count = m - first < GP_BLOCK ? m - first : GP_BLOCK;
                if (gp_is_stopped(&gp->data))
                        return -ECANCELED;
                for (size_t c = 0; c < count; c++) {
                        double *row = rows + c * n;
                        guided[c] = gp_ask_guide(gp, points + (first + c) * d);
                        gp_prior_row(gp, points + (first + c) * d, guided[c], row, NULL);
                        ret_mean[first + c] = GP_GUIDE_SLOPE * guided[c] + cblas_ddot((int)n, row, 1, gp->alpha, 1);
                }
                cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)count, 1, gp->factor, (int)n,
                            rows, (int)n);
                for (size_t c = 0; c < count; c++)
                        ret_sd[first + c] = deviation(gp, points + (first + c) * d, guided[c], cblas_ddot((int)n, rows + c * n, 1, rows + c * n, 1));
        }
        return 0;
}

/* By one coordinate of the point: ½ ∂k(x,x) of the trend less its share of (K⁻¹k)ᵀ∂k, and of αᵀ∂k. solved: K⁻¹k. */
static void trend_gradient(const struct gp *gp, size_t k, double at, const double *solved, double *ret_by_mean, double *ret_by_variance) {
        const double *lines = gp->lines + k * gp->data.n;
        double u = gp_trend_line(at), mean_line = 0, mean_curve = 0, line = u, curve = u * u - 1.0 / 3;
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
        gp_prior_row(gp, point, 0, gp->solved, gp->row);
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
        gp_prior_row(gp, point, g, solved, row);
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
