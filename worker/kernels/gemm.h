/* The three matrix products of a linear layer y = x·Wᵀ, W [out, in]. This is the only user of BLAS in the worker. All
 * matrices are row-major without gaps. A meter counts time and work, for `sweep-trainer bench`.
 *
 * Factors are multiplied in float32, or rounded to bfloat16 (the upper half of a float32, to nearest even) and multiplied
 * with sums in float32, as autocast does. A factor is brought into that form once, where it is made: struct operand.
 *
 * Where the processor has AVX-512, float32 factors are multiplied by oneDNN, elsewhere by BLAS. bfloat16 has two ways to the same
 * numbers (but for the order of sums): where the processor multiplies it itself, oneDNN does it at twice the speed; elsewhere factors
 * are rounded and multiplied by BLAS, as a product of two bfloat16 numbers is exact in float32. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct gemm_meter {
        double seconds, flops;
};

enum gemm_way { GEMM_F32, GEMM_F32_ONEDNN, GEMM_ROUNDED, GEMM_BF16_ONEDNN };

struct kernel_set;
struct onednn;

struct gemm {
        enum gemm_way way;
        const struct kernel_set *kernels;
        struct onednn *onednn; /* NULL unless the way is oneDNN's */
        struct gemm_meter meter;
};

/* A factor of a product: float32, rounded float32 or bfloat16. */
struct operand {
        void *at;
};

/* A linear layer. */
struct gemm_layer {
        int out, in;
};

/* The way here. SWEEPD_F32=onednn|blas and SWEEPD_BF16=onednn|rounded in the environment ask for one of them. */
enum gemm_way gemm_way(bool bf16);

void gemm_init(struct gemm *gemm, enum gemm_way way);
void gemm_fini(struct gemm *gemm);
/* Makes all that products of these layers need, for any number of rows. Other layers must not be asked for when the way is
 * oneDNN's. False: oneDNN cannot, and products will be computed by BLAS from now on. Before any operand is made. */
bool gemm_prepare(struct gemm *gemm, const struct gemm_layer *layers, size_t n_layers);
size_t gemm_operand_bytes(const struct gemm *gemm); /* of one element */
/* May an operand lie where the float32 matrix lies that it is made of? */
bool gemm_makes_in_place(const struct gemm *gemm);

/* x [n] as a factor of products: x itself where they take float32, else rounded into room, which it returns. */
struct operand gemm_operand(const struct gemm *gemm, struct operand room, const float *x, size_t n);
/* The same for a piece of a matrix, by the calling thread alone: elements from `first` on. Nothing to do for float32. */
void gemm_fill_operand(const struct gemm *gemm, struct operand room, size_t first, const float *x, size_t n);
/* The matrix that begins `elements` behind another. */
struct operand gemm_operand_at(const struct gemm *gemm, struct operand operand, size_t elements);

/* y [rows, out] = x [rows, in] · w [out, in]ᵀ */
void gemm_forward(struct gemm *gemm, float *y, struct operand x, struct operand w, int rows, int out, int in);
/* beta is 0 or 1: dx [rows, in] = beta·dx + dy [rows, out] · w [out, in] */
void gemm_backward_input(struct gemm *gemm, float *dx, struct operand dy, struct operand w, float beta, int rows, int out, int in);
/* dw [out, in] += dy [rows, out]ᵀ · x [rows, in] */
void gemm_backward_weight(struct gemm *gemm, float *dw, struct operand dy, struct operand x, int rows, int out, int in);

/* A piece of a larger matrix: its rows lie a stride apart. */
struct piece {
        const float *at;
        size_t stride;
};

/* The same products of pieces, in float32 whatever the way: y = x·wᵀ, dx = dy·w, dw += dyᵀ·x. */
void gemm_pieces_forward(struct gemm *gemm, float *y, size_t stride, struct piece x, struct piece w, int rows, int out, int in);
void gemm_pieces_backward_input(struct gemm *gemm, float *dx, size_t stride, struct piece dy, struct piece w, int rows, int out, int in);
void gemm_pieces_backward_weight(struct gemm *gemm, float *dw, size_t stride, struct piece dy, struct piece x, int rows, int out, int in);

/* "OpenBLAS 0.3.21 … " and the core it picked, static. */
const char *gemm_library(void);
const char *gemm_core(void);
/* "f32" · "f32 by oneDNN 2.6.3 avx512_core_bf16" · "rounded f32" · "oneDNN 2.6.3 avx512_core_bf16", … */
const char *gemm_way_name(enum gemm_way way);
