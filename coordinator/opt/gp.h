/* A Gaussian process over feature vectors: Matérn-5/2 with one length scale per dimension (numeric: distance; categorical:
 * equal or not), a signal variance, a noise variance, zero mean. Observations are expected to be standardised.
 *
 * With a trend there is a second part: of every dimension alone a line and a parabola (numeric), or a level of its own (categorical), with
 * one common variance. It sees what single factors do long before the first part knows of their combinations.
 *
 * A guide is a process that was made of another task's observations: what it expects at a point, g, enters the mean as b g + c with unknown b
 * and c. The prior of b holds the tasks for alike, to some extent; the observations say how alike they are, or that they are opposite.
 *
 * theta = log of (length scale per dimension …, signal variance, noise variance[, trend variance]): gp_n_theta numbers.
 * Matrices are column-major; x is n rows of n_dims features, row after row. Pure; any thread; one gp by one thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Priors of a guide's part: b ~ N(GP_GUIDE_SLOPE, GP_GUIDE_VARIANCE), c ~ N(0, GP_OFFSET_VARIANCE). */
#define GP_GUIDE_SLOPE 0.7
#define GP_GUIDE_VARIANCE 0.5
#define GP_OFFSET_VARIANCE 0.5

/* Length scales that are looked at, and priors: of their logarithms and, with expects_noise, of the noise variance, where there is no trend. */
#define GP_SHORTEST 0.02
#define GP_LONGEST 200.0
#define GP_LENGTH_VARIANCE 3.0
#define GP_WIDE_NOISE_MEAN (-2.0)
#define GP_WIDE_NOISE_VARIANCE 6.0

struct gp_data {
        size_t n, n_dims;
        const double *x;            /* n × n_dims, row after row */
        const double *y;            /* n */
        const bool *is_categorical; /* n_dims */
        bool expects_noise;         /* a prior under which noise may well be all there is */
        bool has_trend;             /* and shorter length scales are expected beside it */
        const struct gp *guide;     /* NULL = none; outlives what is made of the data, and works for one thread */
        const double *guided;       /* n: what the guide expects (gp_predict_mean) */
        const atomic_bool *stop;    /* may be NULL; once it is set, what takes long gives up: -ECANCELED */
};

static inline size_t gp_n_theta(const struct gp_data *data) {
        return data->n_dims + 2 + data->has_trend;
}

/* Negative log posterior of theta (without constants) and its gradient (may be NULL):
 * ½ yᵀK⁻¹y + ½ log|K| − log prior; Rasmussen & Williams (2006), eq. 5.8 and 5.9. scratch: gp_scratch_size doubles.
 * INFINITY when K is not positive definite. */
double gp_objective(const struct gp_data *data, const double *theta, double *scratch, double *ret_gradient);

/* The same without the prior: the negative log likelihood. */
double gp_likelihood(const struct gp_data *data, const double *theta, double *scratch);
size_t gp_scratch_size(size_t n, size_t n_dims);

/* Where the search for theta starts: near the mode of the prior. */
void gp_initial_theta(const struct gp_data *data, double *ret_theta);

/* Maximum a posteriori theta: bounded quasi-Newton from the initial theta and n_restarts draws of (seed) around it, at most
 * max_evaluations each. Always leaves a finite theta; 0, -ENOMEM, -ECANCELED, or GP_NOT_FITTED when no start gave a finite objective
 * (then ret_theta is the initial one). */
#define GP_NOT_FITTED 1
int gp_fit(const struct gp_data *data, uint64_t seed, int n_restarts, int max_evaluations, double *ret_theta);

/* Goes on from a theta that was good for similar data, at most max_evaluations; what it finds is never worse. 0, -ENOMEM or -ECANCELED. */
int gp_refine(const struct gp_data *data, int max_evaluations, double *theta);

struct gp;

/* Conditions on the data, which is borrowed and must outlive the gp. Adds jitter up to 1e-2 of the signal variance where
 * that is needed. 0, -ENOMEM, -ECANCELED, or GP_NOT_FITTED when even that does not help. */
int gp_new(const struct gp_data *data, const double *theta, struct gp **ret);
void gp_free(struct gp *gp);

/* The same of data that begin with those of `smaller`, whose factor is used again: the cost is that of the new points. theta: smaller's. */
int gp_grow(const struct gp *smaller, const struct gp_data *data, const double *theta, struct gp **ret);

/* Posterior mean at the n points of the data itself. */
void gp_fitted_mean(const struct gp *gp, double *ret_mean);

/* Posterior of the noise-free function at m points (m × n_dims). -ENOMEM, -ECANCELED or 0. */
int gp_predict(const struct gp *gp, size_t m, const double *points, double *ret_mean, double *ret_sd);

/* The same where only the best are looked for: what each of the m points is worth, which grows with the deviation. At least the n_best best
 * ones (at most GP_BEST_MAX) are told as gp_predict does; of a point that cannot be one of them, which takes part of the work to see, the
 * worth is -INFINITY and the deviation unknown. A worth of -INFINITY is none. */
#define GP_BEST_MAX 8
typedef double (*gp_worth)(const void *data, size_t point, double mean, double sd);
int gp_predict_best(const struct gp *gp, size_t m, const double *points, size_t n_best, gp_worth worth, const void *data, double *ret_mean, double *ret_sd,
                    double *ret_worth);

/* The mean alone, at one point. Uses space inside the gp. */
double gp_predict_mean(const struct gp *gp, const double *point);

/* Joint posterior covariance of the noise-free function at m points (m × m, both triangles). -ENOMEM or 0. */
int gp_covariance(const struct gp *gp, size_t m, const double *points, double *ret);

/* Below the posterior, for sample paths: k(point, data) (n), b := K⁻¹ b (n), the noise variance on K's diagonal. */
void gp_kernel_row(const struct gp *gp, const double *point, double *ret);
void gp_solve(const struct gp *gp, double *b);
double gp_noise(const struct gp *gp);

/* Mean and deviation at one point, with the gradients by its n_dims features (0 for categorical ones). Uses space inside the gp. */
void gp_predict_gradient(struct gp *gp, const double *point, double *ret_mean, double *ret_sd, double *ret_dmean, double *ret_dsd);

/* One thread for BLAS in the calling thread: matrices of this size lose by more, and threads of many proposals would fight. */
void gp_init_blas(void);
