/* The prior's covariance: Matérn-5/2 over all dimensions, the trend of single ones, and the guide's part. */
#include <math.h>
#include <string.h>

#include "opt/gp_internal.h"

#define SQRT5 2.23606797749978969

/* --- the data's features ---------------------------------------------------------------------------- */

void gp_transpose(const struct gp_data *data, double *ret_columns) {
        for (size_t i = 0; i < data->n; i++)
                for (size_t k = 0; k < data->n_dims; k++)
                        ret_columns[k * data->n + i] = data->x[i * data->n_dims + k];
}

void gp_fill_lines(const struct gp_data *data, const double *columns, double *ret) {
        for (size_t k = 0; k < data->n_dims; k++)
                for (size_t i = k * data->n; i < (k + 1) * data->n; i++)
                        ret[i] = data->is_categorical[k] ? columns[i] : gp_trend_line(columns[i]);
}

void gp_invert_lengths(const double *theta, size_t n_dims, double *ret) {
        for (size_t k = 0; k < n_dims; k++)
                ret[k] = exp(-2 * theta[k]);
}

/* --- sums over points --------------------------------------------------------------------------------- */

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
 * equal choices. Flat from half a range beyond the bounds. lines: gp_fill_lines. */
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
                double u = gp_trend_line(at), line = weight * u, curve = weight * 2.25 * (u * u - 1.0 / 3);
                for (size_t i = 0; i < n; i++)
                        ret[i] += line * v[i] + curve * (v[i] * v[i] - 1.0 / 3);
        }
}

/* The same of two points. */
static double trend_pair(const bool *is_categorical, double weight, size_t n_dims, const double *a, const double *b, double sum) {
        for (size_t k = 0; k < n_dims; k++) {
                double u = gp_trend_line(b[k]), v = gp_trend_line(a[k]), line = weight * u, curve = weight * 2.25 * (u * u - 1.0 / 3);
                sum += is_categorical[k] ? (a[k] == b[k] ? weight : 0) : line * v + curve * (v * v - 1.0 / 3);
        }
        return sum;
}

/* --- covariances ------------------------------------------------------------------------------------ */

void gp_fill_kernel(const struct gp_data *data, const double *columns, const double *inverse_squared, double signal, double *kernel,
                    double *slope) {
        for (size_t n = data->n, j = 0; j < n; j++) {
                double *column = kernel + j * n + j;
                add_distances(data->is_categorical, inverse_squared, data->n_dims, columns + j, n, columns + j, n, n - j, column);
                apply_matern(n - j, signal, column, slope ? slope + j * n + j : NULL);
        }
}

void gp_add_trend(const struct gp_data *data, const double *columns, const double *lines, double variance, double *kernel) {
        for (size_t n = data->n, j = 0; j < n; j++)
                add_trend(data->is_categorical, variance, data->n_dims, lines + j, n, columns + j, n, n - j, kernel + j * n + j);
}

void gp_add_guide(const struct gp_data *data, double *kernel) {
        for (size_t n = data->n, j = 0; data->guide && j < n; j++)
                for (size_t i = j; i < n; i++)
                        kernel[j * n + i] += GP_GUIDE_VARIANCE * data->guided[j] * data->guided[i] + GP_OFFSET_VARIANCE;
}

void gp_centre(const struct gp_data *data, double *ret) {
        for (size_t i = 0; i < data->n; i++)
                ret[i] = data->y[i] - (data->guide ? GP_GUIDE_SLOPE * data->guided[i] : 0);
}

void gp_prior_row(const struct gp *gp, const double *point, double g, double *ret_row, double *ret_slope) {
        size_t n = gp->data.n;
        add_distances(gp->data.is_categorical, gp->inverse_squared, gp->data.n_dims, gp->columns, n, point, 1, n, ret_row);
        apply_matern(n, gp->signal, ret_row, ret_slope);
        if (gp->trend > 0)
                add_trend(gp->data.is_categorical, gp->trend, gp->data.n_dims, gp->lines, n, point, 1, n, ret_row);
        for (size_t i = 0; gp->data.guide && i < n; i++)
                ret_row[i] += GP_GUIDE_VARIANCE * g * gp->data.guided[i] + GP_OFFSET_VARIANCE;
}

double gp_prior_pair(const struct gp *gp, const double *a, double g, const double *b, double h) {
        double r2;
        add_distances(gp->data.is_categorical, gp->inverse_squared, gp->data.n_dims, a, 1, b, 1, 1, &r2);
        apply_matern(1, gp->signal, &r2, NULL);
        if (gp->trend > 0)
                r2 = trend_pair(gp->data.is_categorical, gp->trend, gp->data.n_dims, a, b, r2);
        return r2 + (gp->data.guide ? GP_GUIDE_VARIANCE * g * h + GP_OFFSET_VARIANCE : 0);
}
