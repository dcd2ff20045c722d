/* Matrix products by OpenBLAS (the OpenMP build, so that it shares libgomp's thread pool with the kernels) or oneDNN. */
#include "kernels/gemm.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"
#include "kernels/onednn.h"

#define PIECE_FLOATS 8192 /* what one thread rounds at a time: half of a first-level cache */

static double now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- ways ------------------------------------------------------------------------------------------- */
enum gemm_way gemm_bf16_way(void) {
        const char *wish = getenv("SWEEPD_BF16");
        if (wish && strcmp(wish, "onednn") == 0)
                return GEMM_ONEDNN;
        if (wish && strcmp(wish, "rounded") == 0)
                return GEMM_ROUNDED;
        return onednn_is_fast() ? GEMM_ONEDNN : GEMM_ROUNDED;
}

const char *gemm_way_name(enum gemm_way way) {
        return way == GEMM_ONEDNN ? onednn_name() : way == GEMM_ROUNDED ? "rounded f32" : "f32";
}

void gemm_init(struct gemm *gemm, enum gemm_way way) {
        *gemm = (struct gemm){.way = way, .kernels = kernels_best()};
}

void gemm_fini(struct gemm *gemm) {
        onednn_free(gemm->onednn);
        gemm->onednn = NULL;
}

bool gemm_prepare(struct gemm *gemm, const struct gemm_layer *layers, size_t n_layers) {
        if (gemm->way != GEMM_ONEDNN || onednn_new(layers, n_layers, &gemm->onednn) == 0)
                return true;
        gemm->way = GEMM_ROUNDED;
        return false;
}

/* --- operands --------------------------------------------------------------------------------------- */
size_t gemm_operand_bytes(const struct gemm *gemm) {
        return gemm->way == GEMM_ONEDNN ? sizeof(uint16_t) : sizeof(float);
}

bool gemm_makes_in_place(const struct gemm *gemm) {
        return gemm->way != GEMM_ONEDNN;
}

void gemm_fill_operand(const struct gemm *gemm, struct operand room, size_t first, const float *x, size_t n) {
        if (gemm->way == GEMM_ROUNDED)
                gemm->kernels->round_bf16((float *)room.at + first, x, n);
        if (gemm->way == GEMM_ONEDNN)
                gemm->kernels->to_bf16((uint16_t *)room.at + first, x, n);
}

struct operand gemm_operand(const struct gemm *gemm, struct operand room, const float *x, size_t n) {
        if (gemm->way == GEMM_F32)
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
static const CBLAS_TRANSPOSE transposes[][2] = {
        [PRODUCT_FORWARD] = {CblasNoTrans, CblasTrans},
        [PRODUCT_BACKWARD_INPUT] = {CblasNoTrans, CblasNoTrans},
        [PRODUCT_BACKWARD_WEIGHT] = {CblasTrans, CblasNoTrans},
};

/* c [m, n] = beta·c + a·b */
static void multiply(struct gemm *gemm, enum product product, int m, int n, int k, struct operand a, int lda, struct operand b, int ldb,
                     float beta, float *c) {
        double begin_s = now_s();
        if (gemm->way == GEMM_ONEDNN)
                onednn_multiply(gemm->onednn, product, m, n, k, a.at, b.at, beta != 0, c);
        else
                cblas_sgemm(CblasRowMajor, transposes[product][0], transposes[product][1], m, n, k, 1, a.at, lda, b.at, ldb, beta, c, n);
        gemm->meter.seconds += now_s() - begin_s;
        gemm->meter.flops += 2.0 * m * n * k;
}

void gemm_forward(struct gemm *gemm, float *y, struct operand x, struct operand w, int rows, int out, int in) {
        multiply(gemm, PRODUCT_FORWARD, rows, out, in, x, in, w, in, 0, y);
}

void gemm_backward_input(struct gemm *gemm, float *dx, struct operand dy, struct operand w, float beta, int rows, int out, int in) {
        multiply(gemm, PRODUCT_BACKWARD_INPUT, rows, in, out, dy, out, w, in, beta, dx);
}

void gemm_backward_weight(struct gemm *gemm, float *dw, struct operand dy, struct operand x, int rows, int out, int in) {
        multiply(gemm, PRODUCT_BACKWARD_WEIGHT, out, in, rows, dy, out, x, in, 1, dw);
}

static void multiply_pieces(struct gemm *gemm, enum product product, int m, int n, int k, struct piece a, struct piece b, float beta, float *c,
                            size_t stride) {
        double begin_s = now_s();
        cblas_sgemm(CblasRowMajor, transposes[product][0], transposes[product][1], m, n, k, 1, a.at, (int)a.stride, b.at, (int)b.stride, beta, c,
                    (int)stride);
        gemm->meter.seconds += now_s() - begin_s;
        gemm->meter.flops += 2.0 * m * n * k;
}

void gemm_pieces_forward(struct gemm *gemm, float *y, size_t stride, struct piece x, struct piece w, int rows, int out, int in) {
        multiply_pieces(gemm, PRODUCT_FORWARD, rows, out, in, x, w, 0, y, stride);
}

void gemm_pieces_backward_input(struct gemm *gemm, float *dx, size_t stride, struct piece dy, struct piece w, int rows, int out, int in) {
        multiply_pieces(gemm, PRODUCT_BACKWARD_INPUT, rows, in, out, dy, w, 0, dx, stride);
}

void gemm_pieces_backward_weight(struct gemm *gemm, float *dw, size_t stride, struct piece dy, struct piece x, int rows, int out, int in) {
        multiply_pieces(gemm, PRODUCT_BACKWARD_WEIGHT, out, in, rows, dy, x, 1, dw, stride);
}

const char *gemm_library(void) {
        return openblas_get_config();
}

const char *gemm_core(void) {
        return openblas_get_corename();
}
