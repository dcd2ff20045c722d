/* Plain twins of the fast kernels, in double and one element at a time: what the fast ones are compared with. Backward
 * kernels are compared with finite differences of these forwards. Arguments as in kernels/kernels.h. */
#pragma once
#include <stddef.h>

#include "kernels/kernels.h"

/* Philox4x32-10 as in the paper: counter → four words. */
void naive_philox(uint32_t counter[static 4], uint32_t key0, uint32_t key1);
/* 0 or 1/(1-p); 1 where p is 0. */
double naive_mask(const struct mask *mask, uint64_t row, int col);

/* y = (z - mean)·rstd·gamma + beta over one row */
void naive_norm_row(double *y, const double *z, const float *gamma, const float *beta, int dim);
/* y = norm(dropout(z + bias) + residual) */
void naive_residual_norm(double *y, const double *z, const float *bias, const double *residual, const float *gamma, const float *beta,
                         const struct mask *mask, int rows, int dim);
double naive_gelu(double x);
/* context [query rows, heads·head_dim] from q, k, v without bias, all without gaps between rows of heads·head_dim */
void naive_attention(double *context, const double *q, const double *k, const double *v, const struct attention *attention);
/* mixed [n_sequences, heads, dim] and sums [n_sequences, heads]; x apart from the folded's own */
void naive_folded(double *mixed, double *sums, const double *u, const double *x, const struct folded *folded);
void naive_adamw(float *w, float *g, float *m, float *v, size_t n, double clip, double beta1, double beta2, double epsilon, double lr,
                 double weight_decay, unsigned t);
