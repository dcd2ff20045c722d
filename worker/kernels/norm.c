/* LayerNorm (eps 1e-12) with what surrounds it: embedding lookup, or bias, dropout and residual; and column sums.
 * Two passes over a row that stays in the first-level cache: sum for the mean, then squares of the differences, since
 * E[x²] - E[x]² loses all digits when the spread is small against the mean. */
#include <math.h>
#include <omp.h>

#include "kernels/isa.h"
#include "kernels/philox.h"

#define NORM_EPSILON 1e-12f

/* z → (z - mean)·rstd in place, y = z·gamma + beta; returns rstd. */
INLINE float normalize_row(float *y, float *z, const float *gamma, const float *beta, int dim) {
        vf sum = {0}, squares = {0};
        for (int c = 0; c < dim; c += LANES)
                sum += v_load_part(z + c, dim - c);
        const vf mean = v_set(v_sum(sum) / (float)dim);
        for (int c = 0; c < dim; c += LANES) {
                vf difference = v_first(v_load_part(z + c, dim - c) - mean, dim - c);
                squares += difference * difference;
        }
        const float rstd = 1.0f / sqrtf(v_sum(squares) / (float)dim + NORM_EPSILON);
        for (int c = 0; c < dim; c += LANES) {
                int n = dim - c;
                vf normal = (v_load_part(z + c, n) - mean) * rstd;
                v_store_part(z + c, normal, n);
                v_store_part(y + c, normal * v_load_part(gamma + c, n) + v_load_part(beta + c, n), n);
        }
        return rstd;
}

/* x *= mask over one row */
INLINE void mask_apply_row(float *x, const struct mask *mask, uint64_t row, int cols) {
        for (int group = 0; group * MASK_GROUP < cols; group++) {
                float factors[MASK_GROUP];
                mask_group(factors, mask, row, group);
                for (int c = group * MASK_GROUP, i = 0; i < MASK_GROUP && c < cols; c += LANES, i += LANES)
                        v_store_part(x + c, v_load_part(x + c, cols - c) * v_load(factors + i), cols - c);
        }
}

void K(embeddings_forward)(float *x, float *normal, float *rstd, const float *words, const float *positions, const float *gamma,
                           const float *beta, const struct mask *mask, const int32_t *ids, const int32_t *offsets, int n_sequences, int dim) {
#pragma omp parallel for schedule(static)
        for (int s = 0; s < n_sequences; s++)
                for (int t = offsets[s]; t < offsets[s + 1]; t++) {
                        const float *word = words + (size_t)ids[t] * dim, *position = positions + (size_t)(t - offsets[s]) * dim;
                        float *z = normal + (size_t)t * dim, *y = x + (size_t)t * dim;
                        for (int c = 0; c < dim; c++)
                                z[c] = word[c] + position[c];
                        rstd[t] = normalize_row(y, z, gamma, beta, dim);
                        if (mask->p > 0)
                                mask_apply_row(y, mask, (uint64_t)t, dim);
                }
}

/* Each thread owns a range of columns and walks all tokens: no two threads meet, and the order of addition is fixed. */
void K(embeddings_backward)(float *d_words, float *d_positions, const float *d_z, const int32_t *ids, const int32_t *offsets,
                            int n_sequences, int dim) {
#pragma omp parallel
        {
                int n = omp_get_num_threads(), me = omp_get_thread_num();
                int begin = (int)((int64_t)dim * me / n), end = (int)((int64_t)dim * (me + 1) / n);
                for (int s = 0; s < n_sequences; s++)
                        for (int t = offsets[s]; t < offsets[s + 1]; t++) {
                                const float *d = d_z + (size_t)t * dim;
                                float *position = d_positions + (size_t)(t - offsets[s]) * dim, *word = d_words + (size_t)ids[t] * dim;
                                for (int c = begin; c < end; c++)
                                        position[c] += d[c];
                                if (ids[t] != 0)
                                        for (int c = begin; c < end; c++)
                                                word[c] += d[c];
                        }
        }
}

void K(norm_forward)(float *y, float *z, float *rstd, const float *bias, const float *residual, const float *gamma, const float *beta,
                     const struct mask *mask, int rows, int dim) {
#pragma omp parallel for schedule(static)
        for (int r = 0; r < rows; r++) {
                float *z_row = z + (size_t)r * dim;
                const float *residual_row = residual + (size_t)r * dim;
                for (int c = 0; c < dim; c += LANES)
                        v_store_part(z_row + c, v_load_part(z_row + c, dim - c) + v_load_part(bias + c, dim - c), dim - c);
                if (mask->p > 0)
                        mask_apply_row(z_row, mask, (uint64_t)r, dim);
                for (int c = 0; c < dim; c += LANES)
                        v_store_part(z_row + c, v_load_part(z_row + c, dim - c) + v_load_part(residual_row + c, dim - c), dim - c);
                rstd[r] = normalize_row(y + (size_t)r * dim, z_row, gamma, beta, dim);
        }
}

/* d → rstd·(g - mean(g) - normal·mean(g·normal)) with g = d·gamma; adds to the column sums of d·normal and d. */
INLINE void norm_backward_row(float *d, float *d_gamma, float *d_beta, const float *normal, float rstd, const float *gamma, int dim) {
        vf sum = {0}, sum_normal = {0};
        for (int c = 0; c < dim; c += LANES) {
                int n = dim - c;
                vf dy = v_load_part(d + c, n), x = v_load_part(normal + c, n), g = dy * v_load_part(gamma + c, n);
                v_store_part(d_gamma + c, v_load_part(d_gamma + c, n) + dy * x, n);
                v_store_part(d_beta + c, v_load_part(d_beta + c, n) + dy, n);
                v_store_part(d + c, g, n);
                sum += g;
                sum_normal += g * x;
        }
        const vf mean = v_set(v_sum(sum) / (float)dim), mean_normal = v_set(v_sum(sum_normal) / (float)dim);
        for (int c = 0; c < dim; c += LANES) {
                int n = dim - c;
                v_store_part(d + c, (v_load_part(d + c, n) - mean - v_load_part(normal + c, n) * mean_normal) * rstd, n);
        }
}

INLINE void add_row(float *sums, const float *x, int cols) {
        for (int c = 0; c < cols; c += LANES)
                v_store_part(sums + c, v_load_part(sums + c, cols - c) + v_load_part(x + c, cols - c), cols - c);
}

void K(norm_backward)(float *d, float *d_branch, float *d_gamma, float *d_beta, float *d_bias, const float *normal, const float *rstd,
                      const float *gamma, const struct mask *in_mask, const struct mask *mask, int rows, int dim, struct scratch scratch) {
        int n_threads = 1;
#pragma omp parallel
        {
                float *gamma_part = scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread;
                float *beta_part = gamma_part + dim, *bias_part = beta_part + dim;
                memset(gamma_part, 0, 3 * (size_t)dim * sizeof *gamma_part);
#pragma omp single
                n_threads = omp_get_num_threads();
#pragma omp for schedule(static)
                for (int r = 0; r < rows; r++) {
                        float *row = d + (size_t)r * dim, *branch = row;
                        if (in_mask->p > 0)
                                mask_apply_row(row, in_mask, (uint64_t)r, dim);
                        norm_backward_row(row, gamma_part, beta_part, normal + (size_t)r * dim, rstd[r], gamma, dim);
                        if (d_branch) {
                                branch = d_branch + (size_t)r * dim;
                                memcpy(branch, row, (size_t)dim * sizeof *row);
                                if (mask->p > 0)
                                        mask_apply_row(branch, mask, (uint64_t)r, dim);
                        }
                        if (d_bias)
                                add_row(bias_part, branch, dim);
                }
        }
        for (int i = 0; i < n_threads; i++) {
                const float *part = scratch.base + (size_t)i * scratch.floats_per_thread;
                add_row(d_gamma, part, dim);
                add_row(d_beta, part + dim, dim);
                if (d_bias)
                        add_row(d_bias, part + 2 * dim, dim);
        }
}

/* Each thread owns whole 16-column stripes, so the result does not even depend on their number. */
void K(add_column_sums)(float *sums, const float *x, int rows, int cols) {
        int stripes = (cols + 15) / 16;
#pragma omp parallel
        {
                int n = omp_get_num_threads(), me = omp_get_thread_num();
                int begin = 16 * (int)((int64_t)stripes * me / n), end = 16 * (int)((int64_t)stripes * (me + 1) / n);
                end = end < cols ? end : cols;
                if (begin < end)
                        for (int r = 0; r < rows; r++)
                                add_row(sums + begin, x + (size_t)r * cols + begin, end - begin);
        }
}

void K(mask_row)(float *factors, const struct mask *mask, uint64_t row, int cols) {
        for (int group = 0; group * MASK_GROUP < cols; group++)
                mask_group(factors + group * MASK_GROUP, mask, row, group);
}
