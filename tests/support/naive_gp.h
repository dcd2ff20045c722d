/* Gaussian process regression straight from the textbook formulas, by Gaussian elimination: the twin that the fast one is
 * held against. O(n³) for everything, no BLAS. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Solves A s = b by elimination with row exchanges; A (n × n) and b are destroyed, b becomes s. Returns log|A|. */
double naive_solve(size_t n, double *a, double *b);

/* theta as in opt/gp.h; x: n × d. Posterior mean and deviation at `point`, with `jitter` on the diagonal. */
void naive_gp_predict(size_t n, size_t d, const double *x, const double *y, const bool *is_categorical, bool has_trend, const double *theta, double jitter,
                      const double *point, double *ret_mean, double *ret_sd);

/* ½ yᵀK⁻¹y + ½ log|K| */
double naive_gp_likelihood(size_t n, size_t d, const double *x, const double *y, const bool *is_categorical, bool has_trend, const double *theta,
                           double jitter);
