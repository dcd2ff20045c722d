/* Matrix products by oneDNN, for gemm.c alone. A build without oneDNN has these functions too: they refuse. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gemm_layer;
struct onednn;

/* c [m, n] of a linear layer: y = x·wᵀ · dx = dy·w · dw = dyᵀ·x */
enum product { PRODUCT_FORWARD, PRODUCT_BACKWARD_INPUT, PRODUCT_BACKWARD_WEIGHT, N_PRODUCTS };

/* The processor multiplies bfloat16 itself; it has AVX-512. Where it has less, oneDNN works but BLAS is faster. */
bool onednn_is_fast_bf16(void);
bool onednn_is_fast_f32(void);
/* "oneDNN 2.6.3 avx512_core_bf16", static: the version and the instruction set that it uses. */
const char *onednn_name(void);

/* All products of these layers, for any number of rows, with factors in bfloat16 or in float32. -ENOTSUP: oneDNN refuses one; -ENOMEM. */
int onednn_new(const struct gemm_layer *layers, size_t n_layers, bool bf16, struct onednn **ret);
void onednn_free(struct onednn *onednn);

/* c [m, n] = a·b, or c += a·b; k is the length of the sums. Ends the process when oneDNN fails at what it agreed to, which
 * it does for want of memory alone: a result from elsewhere would not repeat to the bit. */
void onednn_multiply(struct onednn *onednn, enum product product, int m, int n, int k, const void *a, const void *b, bool add, float *c);
