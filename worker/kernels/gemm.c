/* Matrix products by OpenBLAS (the OpenMP build, so that it shares libgomp's thread pool with the kernels) or oneDNN (likewise). */
#include "kernels/gemm.h"

#include <cblas.h>
#include <stdio.h>
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
enum gemm_way gemm_way(bool bf16) {
        const char *wish = getenv(bf16 ? "SWEEPD_BF16" : "SWEEPD_F32");
        bool onednn = bf16 ? onednn_is_fast_bf16() : onednn_is_fast_f32();
        if (wish && strcmp(wish, "onednn") == 0)
                onednn = true;
        if (wish && strcmp(wish, bf16 ? "rounded" : "blas") == 0)
                onednn = false;
        return bf16 ? (onednn ? GEMM_BF16_ONEDNN : GEMM_ROUNDED) : onednn ? GEMM_F32_ONEDNN : GEMM_F32;
}

const char *gemm_way_name(enum gemm_way way) {
        static char name[80];
        if (way == GEMM_F32_ONEDNN) {
                snprintf(name, sizeof name, "f32 by %s", onednn_name());
                return name;
        }
        return way == GEMM_BF16_ONEDNN ? onednn_name() : way == GEMM_ROUNDED ? "rounded f32" : "f32";
}

static bool is_onednn(enum gemm_way way) {
        return way == GEMM_F32_ONEDNN || way == GEMM_BF16_ONEDNN;
}

static bool takes_float32(enum gemm_way way) {
        return way == GEMM_F32 || way == GEMM_F32_ONEDNN;
}

void gemm_init(struct gemm *gemm, enum gemm_way way) {
        *gemm = (struct gemm){.way = way, .kernels = kernels_best()};
}

void gemm_fini(struct gemm *gemm) {
        onednn_free(gemm->onednn);
        gemm->onednn = NULL;
}

bool gemm_prepare(struct gemm *gemm, const struct gemm_layer *layers, size_t n_layers) {
        if (!is_onednn(gemm->way) || onednn_new(layers, n_layers, gemm->way == GEMM_BF16_ONEDNN, &gemm->onednn) == 0)
                return true;
        gemm->way = gemm->way == GEMM_BF16_ONEDNN ? GEMM_ROUNDED : GEMM_F32;
        return false;
}

/* --- operands --------------------------------------------------------------------------------------- */
size_t gemm_operand_bytes(const struct gemm *gemm) {
        return gemm->way == GEMM_BF16_ONEDNN ? sizeof(uint16_t) : sizeof(float);
}

bool gemm_makes_in_place(const struct gemm *gemm) {
        return gemm->way != GEMM_BF16_ONEDNN;
}

void gemm_fill_operand(const struct gemm *gemm, struct operand room, size_t first, const float *x, size_t n) {
        if (gemm->way == GEMM_ROUNDED)
                gemm->kernels->round_bf16((float *)room.at + first, x, n);
        if (gemm->way == GEMM_BF16_ONEDNN)
                gemm->kernels->to_bf16((uint16_t *)room.at + first, x, n);
}

struct operand gemm_operand(const struct gemm *gemm, struct operand room, const float *x, size_t n) {
        if (takes_float32(gemm->way))
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
        if (is_onednn(gemm->way))
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
