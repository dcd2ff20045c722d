/* The three matrix products of a linear layer y = x·Wᵀ, W [out, in], through BLAS. This is the only user of BLAS in the
 * worker. All matrices are row-major without gaps. A meter counts time and work, for `sweep-trainer bench`. */
#pragma once
#include <stddef.h>

struct gemm_meter {
        double seconds, flops;
};

/* y [rows, out] = x [rows, in] · w [out, in]ᵀ */
void gemm_forward(float *y, const float *x, const float *w, int rows, int out, int in, struct gemm_meter *meter);
/* dx [rows, in] = beta·dx + dy [rows, out] · w [out, in] */
void gemm_backward_input(float *dx, const float *dy, const float *w, float beta, int rows, int out, int in, struct gemm_meter *meter);
/* dw [out, in] += dy [rows, out]ᵀ · x [rows, in] */
void gemm_backward_weight(float *dw, const float *dy, const float *x, int rows, int out, int in, struct gemm_meter *meter);

/* "OpenBLAS 0.3.21 … " and the core it picked, static. */
const char *gemm_library(void);
const char *gemm_core(void);
