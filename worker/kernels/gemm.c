/* Matrix products by OpenBLAS (the OpenMP build, so that it shares libgomp's thread pool with the kernels). */
#include "kernels/gemm.h"

#include <cblas.h>
#include <time.h>

#include "kernels/kernels.h"

#define PIECE_FLOATS 8192 /* what one thread rounds at a time: half of a first-level cache */

static double now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- operands --------------------------------------------------------------------------------------- */
void gemm_init(struct gemm *gemm, bool bf16) {
        *gemm = (struct gemm){.bf16 = bf16, .kernels = kernels_best()};
}

size_t gemm_operand_bytes(const struct gemm *gemm) {
        (void)gemm;
        return sizeof(float);
}

bool gemm_makes_in_place(const struct gemm *gemm) {
        (void)gemm;
        return true;
}

void gemm_fill_operand(const struct gemm *gemm, struct operand room, size_t first, const float *x, size_t n) {
        if (gemm->bf16)
                gemm->kernels->round_bf16((float *)room.at + first, x, n);
}

struct operand gemm_operand(const struct gemm *gemm, struct operand room, const float *x, size_t n) {
        if (!gemm->bf16)
                return (struct operand){(void *)x};
#pragma omp parallel for schedule(static)
        for (size_t first = 0; first < n; first += PIECE_FLOATS)
                gemm_fill_operand(gemm, room, first, x + first, n - first < PIECE_FLOATS ? n - first : PIECE_FLOATS);
        return room;
}

struct operand gemm_operand_at(const struct gemm *gemm, struct operand operand, size_t elements) {
        return (struct operand){(char *)operand.at + elements * gemm_operand_bytes(gemm)};
}

/* --- products --------------------------------------------------------------------------------------- */
static void multiply(struct gemm *gemm, CBLAS_TRANSPOSE trans_a, CBLAS_TRANSPOSE trans_b, int m, int n, int k, struct operand a, int lda,
                     struct operand b, int ldb, float beta, float *c) {
        double begin_s = now_s();
        cblas_sgemm(CblasRowMajor, trans_a, trans_b, m, n, k, 1, a.at, lda, b.at, ldb, beta, c, n);
        gemm->meter.seconds += now_s() - begin_s;
        gemm->meter.flops += 2.0 * m * n * k;
}

void gemm_forward(struct gemm *gemm, float *y, struct operand x, struct operand w, int rows, int out, int in) {
        multiply(gemm, CblasNoTrans, CblasTrans, rows, out, in, x, in, w, in, 0, y);
}

void gemm_backward_input(struct gemm *gemm, float *dx, struct operand dy, struct operand w, float beta, int rows, int out, int in) {
        multiply(gemm, CblasNoTrans, CblasNoTrans, rows, in, out, dy, out, w, in, beta, dx);
}

void gemm_backward_weight(struct gemm *gemm, float *dw, struct operand dy, struct operand x, int rows, int out, int in) {
        multiply(gemm, CblasTrans, CblasNoTrans, out, in, rows, dy, out, x, in, 1, dw);
}

const char *gemm_library(void) {
        return openblas_get_config();
}

const char *gemm_core(void) {
        return openblas_get_corename();
}

const char *gemm_bf16_way(void) {
        return "rounded f32";
}
