/* Small matrix products for attention: C = A·B on matrices of a few dozen rows, where BLAS spends its time on packing.
 * A tile of ROWS × COLS·LANES results stays in registers; B is read in whole vectors, so its width, and C's, is padded
 * to a multiple of 16. A has a stride for either index, so that Aᵀ needs no copy. */
#pragma once
#include "kernels/simd.h"

#define TILE_ROWS 6
#define TILE_COLS (LANES == 16 ? 4 : 2)

/* The unroll pragmas matter: without them GCC 12 keeps the accumulators in memory. */
INLINE void product_tile(float *c, size_t c_stride, const float *a, size_t a_row, size_t a_k, const float *b, size_t b_stride, int k,
                         const int rows, const int cols) {
        vf sum[TILE_ROWS][TILE_COLS];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
                for (int j = 0; j < cols; j++)
                        sum[i][j] = (vf){0};
        for (int l = 0; l < k; l++, a += a_k, b += b_stride) {
                vf right[TILE_COLS];
#pragma GCC unroll 8
                for (int j = 0; j < cols; j++)
                        right[j] = v_load(b + j * LANES);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) {
                        const vf left = v_set(a[i * a_row]);
#pragma GCC unroll 8
                        for (int j = 0; j < cols; j++)
                                sum[i][j] += left * right[j];
                }
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
                for (int j = 0; j < cols; j++)
                        v_store(c + i * c_stride + j * LANES, sum[i][j]);
}

INLINE void product_columns(float *c, size_t c_stride, const float *a, size_t a_row, size_t a_k, const float *b, size_t b_stride, int m,
                            int k, const int cols) {
        int i = 0;
        for (; i + 6 <= m; i += 6)
                product_tile(c + i * c_stride, c_stride, a + i * a_row, a_row, a_k, b, b_stride, k, 6, cols);
        if (i + 4 <= m) {
                product_tile(c + i * c_stride, c_stride, a + i * a_row, a_row, a_k, b, b_stride, k, 4, cols);
                i += 4;
        }
        for (; i + 2 <= m; i += 2)
                product_tile(c + i * c_stride, c_stride, a + i * a_row, a_row, a_k, b, b_stride, k, 2, cols);
        if (i < m)
                product_tile(c + i * c_stride, c_stride, a + i * a_row, a_row, a_k, b, b_stride, k, 1, cols);
}

/* C [m, n] = A [m, k] · B [k, n]; A's element (i, l) at a + i·a_row + l·a_k; n a multiple of LANES. */
static void product(float *c, size_t c_stride, const float *a, size_t a_row, size_t a_k, const float *b, size_t b_stride, int m, int n, int k) {
        int j = 0;
        for (; j + TILE_COLS * LANES <= n; j += TILE_COLS * LANES)
                product_columns(c + j, c_stride, a, a_row, a_k, b + j, b_stride, m, k, TILE_COLS);
        for (; TILE_COLS > 2 && j + 2 * LANES <= n; j += 2 * LANES)
                product_columns(c + j, c_stride, a, a_row, a_k, b + j, b_stride, m, k, 2);
        for (; j < n; j += LANES)
                product_columns(c + j, c_stride, a, a_row, a_k, b + j, b_stride, m, k, 1);
}
