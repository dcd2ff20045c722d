#include "naive_gp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double kernel(size_t d, const bool *is_categorical, bool has_trend, const double *theta, const double *a, const double *b) {
        double r2 = 0;
        for (size_t k = 0; k < d; k++) {
                double difference = is_categorical[k] ? (a[k] == b[k] ? 0 : 1) : a[k] - b[k];
                r2 += pow(difference / exp(theta[k]), 2);
        }
        double r = sqrt(r2);
        double trend = 0;
        for (size_t k = 0; has_trend && k < d; k++) {
                double u = 2 * fmin(fmax(a[k], -0.5), 1.5) - 1, v = 2 * fmin(fmax(b[k], -0.5), 1.5) - 1;
                trend += is_categorical[k] ? a[k] == b[k] : u * v + (1.5 * u * u - 0.5) * (1.5 * v * v - 0.5);
        }
        return exp(theta[d]) * (1 + sqrt(5) * r + 5.0 / 3.0 * r2) * exp(-sqrt(5) * r) + (has_trend ? exp(theta[d + 2]) * trend : 0);
}

double naive_solve(size_t n, double *a, double *b) {
        double log_determinant = 0;
        for (size_t c = 0; c < n; c++) {
                size_t pivot = c;
                for (size_t r = c + 1; r < n; r++)
                        if (fabs(a[r * n + c]) > fabs(a[pivot * n + c]))
                                pivot = r;
                for (size_t k = 0; k < n; k++) {
                        double swap = a[c * n + k];
                        a[c * n + k] = a[pivot * n + k];
                        a[pivot * n + k] = swap;
                }
                double swap = b[c];
                b[c] = b[pivot];
                b[pivot] = swap;
                log_determinant += log(fabs(a[c * n + c]));
                for (size_t r = c + 1; r < n; r++) {
                        double factor = a[r * n + c] / a[c * n + c];
                        for (size_t k = c; k < n; k++)
                                a[r * n + k] -= factor * a[c * n + k];
                        b[r] -= factor * b[c];
                }
        }
        for (size_t r = n; r-- > 0;) {
                for (size_t k = r + 1; k < n; k++)
                        b[r] -= a[r * n + k] * b[k];
                b[r] /= a[r * n + r];
        }
        return log_determinant;
}

static double *covariance(size_t n, size_t d, const double *x, const bool *is_categorical, bool has_trend, const double *theta, double jitter) {
        double *k = malloc(n * n * sizeof *k);
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++)
                        k[i * n + j] = kernel(d, is_categorical, has_trend, theta, x + i * d, x + j * d) + (i == j ? exp(theta[d + 1]) + jitter : 0);
        return k;
}

void naive_gp_predict(size_t n, size_t d, const double *x, const double *y, const bool *is_categorical, bool has_trend, const double *theta, double jitter,
                      const double *point, double *ret_mean, double *ret_sd) {
        double *k = covariance(n, d, x, is_categorical, has_trend, theta, jitter), *row = malloc(n * sizeof *row);
        double variance = kernel(d, is_categorical, has_trend, theta, point, point);
        for (size_t i = 0; i < n; i++)
                row[i] = kernel(d, is_categorical, has_trend, theta, x + i * d, point);
        double *s = malloc(n * sizeof *s);
        memcpy(s, row, n * sizeof *s);
        naive_solve(n, k, s); /* K⁻¹ k */
        *ret_mean = 0;
        for (size_t i = 0; i < n; i++) {
                *ret_mean += s[i] * y[i];
                variance -= s[i] * row[i];
        }
        *ret_sd = sqrt(fmax(variance, 1e-12));
        free(k);
        free(row);
        free(s);
}

double naive_gp_likelihood(size_t n, size_t d, const double *x, const double *y, const bool *is_categorical, bool has_trend, const double *theta,
                           double jitter) {
        double *k = covariance(n, d, x, is_categorical, has_trend, theta, jitter), *s = malloc(n * sizeof *s), sum = 0;
        memcpy(s, y, n * sizeof *s);
        double log_determinant = naive_solve(n, k, s);
        for (size_t i = 0; i < n; i++)
                sum += 0.5 * s[i] * y[i];
        free(k);
        free(s);
        return sum + 0.5 * log_determinant;
}
