/* Matrix products by OpenBLAS (the OpenMP build, so that it shares libgomp's thread pool with the kernels). */
#include "kernels/gemm.h"

#include <cblas.h>
#include <time.h>

static double now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void gemm(CBLAS_TRANSPOSE trans_a, CBLAS_TRANSPOSE trans_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, struct gemm_meter *meter) {
        double begin_s = now_s();
        cblas_sgemm(CblasRowMajor, trans_a, trans_b, m, n, k, 1, a, lda, b, ldb, beta, c, n);
        meter->seconds += now_s() - begin_s;
        meter->flops += 2.0 * m * n * k;
}

void gemm_forward(float *y, const float *x, const float *w, int rows, int out, int in, struct gemm_meter *meter) {
        gemm(CblasNoTrans, CblasTrans, rows, out, in, x, in, w, in, 0, y, meter);
}

void gemm_backward_input(float *dx, const float *dy, const float *w, float beta, int rows, int out, int in, struct gemm_meter *meter) {
        gemm(CblasNoTrans, CblasNoTrans, rows, in, out, dy, out, w, in, beta, dx, meter);
}

void gemm_backward_weight(float *dw, const float *dy, const float *x, int rows, int out, int in, struct gemm_meter *meter) {
        gemm(CblasTrans, CblasNoTrans, out, in, rows, dy, out, x, in, 1, dw, meter);
}

const char *gemm_library(void) {
        return openblas_get_config();
}

const char *gemm_core(void) {
        return openblas_get_corename();
}
