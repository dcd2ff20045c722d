/* The inside of a Gaussian process, shared by its files alone.
 *
 *   gp_kernel.c  what the prior says: covariances of points
 *   gp_fit.c     priors of hyperparameters, the objective, and the search for its best
 *   gp.c         conditioning on data, and predictions
 *   gp_best.c    predictions where only the best points are looked for */
#pragma once
#include "opt/gp.h"
#include "opt/vectorised.h"

/* LAPACK, as OpenBLAS exports it. */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);

#define GP_BASE_JITTER 1e-8
#define GP_BLOCK 64 /* points solved together: bounds the memory, still a matrix for BLAS */

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

static inline bool gp_is_stopped(const struct gp_data *data) {
        return data->stop && atomic_load_explicit(data->stop, memory_order_relaxed);
}

/* What the guide expects at a point; 0 without one. */
static inline double gp_ask_guide(const struct gp *gp, const double *point) {
        return gp->data.guide ? gp_predict_mean(gp->data.guide, point) : 0;
}

/* --- gp_kernel.c: the data's features as it wants them ------------------------------------------------ */

/* One feature of all points after the other (n_dims × n). */
void gp_transpose(const struct gp_data *data, double *ret_columns);

/* The same as the trend sees them: gp_trend_line of numbers, choices as they are. */
void gp_fill_lines(const struct gp_data *data, const double *columns, double *ret);

static inline double gp_trend_line(double x) {
        return 2 * (x < -0.5 ? -0.5 : x > 1.5 ? 1.5 : x) - 1;
}

/* 1/l² per dimension. */
void gp_invert_lengths(const double *theta, size_t n_dims, double *ret);

/* --- gp_kernel.c: the prior's covariances ------------------------------------------------------------- */

/* Of the data, lower triangles: K without trend, guide and the diagonal's noise, and the slopes −2 dk/d(r²) (may be NULL) … */
void gp_fill_kernel(const struct gp_data *data, const double *columns, const double *inverse_squared, double signal, double *kernel, double *slope);

/* … K += the trend's of that variance … */
void gp_add_trend(const struct gp_data *data, const double *columns, const double *lines, double variance, double *kernel);

/* … K += that of b g + c. */
void gp_add_guide(const struct gp_data *data, double *kernel);

/* y less what the prior expects (n). */
void gp_centre(const struct gp_data *data, double *ret);

/* Of a point and the data (n; the slopes may be NULL), and of two points. g, h: what the guide expects there. */
void gp_prior_row(const struct gp *gp, const double *point, double g, double *ret_row, double *ret_slope);
double gp_prior_pair(const struct gp *gp, const double *a, double g, const double *b, double h);
