/* Activations fused with their bias: GELU with the exact erf (not the tanh form), ReLU with dropout; and the functions
 * they rest on, one row at a time, for tests. */
#include <omp.h>

#include "kernels/isa.h"
#include "kernels/philox.h"

#define INVERSE_ROOT_2PI 0.398942280401432678f

void K(gelu_forward)(float *h, float *pre, const float *bias, int rows, int cols) {
#pragma omp parallel for schedule(static)
        for (int r = 0; r < rows; r++)
                for (int c = 0; c < cols; c += LANES) {
                        size_t i = (size_t)r * cols + c;
                        vf x = v_load_part(pre + i, cols - c) + v_load_part(bias + c, cols - c);
                        if (h != pre)
                                v_store_part(pre + i, x, cols - c);
                        v_store_part(h + i, x * (v_half_erf(x) + 0.5f), cols - c);
                }
}

/* gelu'(x) = Φ(x) + x·φ(x) */
void K(gelu_backward)(float *d, float *h, float *d_bias, const float *pre, int rows, int cols, struct scratch scratch) {
        int n_threads = 1;
#pragma omp parallel
        {
                float *part = scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread;
                memset(part, 0, (size_t)cols * sizeof *part);
#pragma omp single
                n_threads = omp_get_num_threads();
#pragma omp for schedule(static)
                for (int r = 0; r < rows; r++)
                        for (int c = 0; c < cols; c += LANES) {
                                size_t i = (size_t)r * cols + c;
                                int n = cols - c;
                                vf x = v_load_part(pre + i, n), phi = v_half_erf(x) + 0.5f;
                                vf slope = phi + x * v_exp(x * x * -0.5f) * INVERSE_ROOT_2PI;
                                vf dx = v_load_part(d + i, n) * slope;
                                v_store_part(h + i, x * phi, n);
                                v_store_part(d + i, dx, n);
                                v_store_part(part + c, v_load_part(part + c, n) + dx, n);
                        }
        }
        for (int i = 0; i < n_threads; i++)
                for (int c = 0; c < cols; c++)
                        d_bias[c] += scratch.base[(size_t)i * scratch.floats_per_thread + c];
}

/* The head has one row a sequence: not worth threads. */
void K(relu_forward)(float *h, float *pre, const float *bias, const struct mask *mask, int rows, int cols) {
        for (int r = 0; r < rows; r++)
                for (int group = 0; group * MASK_GROUP < cols; group++) {
                        float factors[MASK_GROUP];
                        if (mask->p > 0)
                                mask_group(factors, mask, (uint64_t)r, group);
                        for (int c = group * MASK_GROUP, i = 0; i < MASK_GROUP && c < cols; c++, i++) {
                                size_t at = (size_t)r * cols + c;
                                pre[at] += bias[c];
                                h[at] = pre[at] > 0 ? pre[at] * (mask->p > 0 ? factors[i] : 1) : pre[at] * 0;
                        }
                }
}

void K(relu_backward)(float *d, float *d_bias, const float *pre, const struct mask *mask, int rows, int cols) {
        for (int r = 0; r < rows; r++)
                for (int group = 0; group * MASK_GROUP < cols; group++) {
                        float factors[MASK_GROUP];
                        if (mask->p > 0)
                                mask_group(factors, mask, (uint64_t)r, group);
                        for (int c = group * MASK_GROUP, i = 0; i < MASK_GROUP && c < cols; c++, i++) {
                                size_t at = (size_t)r * cols + c;
                                d[at] = pre[at] > 0 ? d[at] * (mask->p > 0 ? factors[i] : 1) : 0;
                                d_bias[c] += d[at];
                        }
                }
}

void K(exp)(float *y, const float *x, int n) {
        for (int i = 0; i < n; i += LANES)
                v_store_part(y + i, v_exp(v_load_part(x + i, n - i)), n - i);
}

void K(half_erf)(float *y, const float *x, int n) {
        for (int i = 0; i < n; i += LANES)
                v_store_part(y + i, v_half_erf(v_load_part(x + i, n - i)), n - i);
}
