/* AdamW as torch.optim.AdamW does it, in one pass over memory: clip, moments, decay, update, zeroing of the gradient. */
#include "kernels/isa.h"
#include "kernels/simd.h"

/* Moments of rows that are no longer used shrink into denormal numbers, which are slow: treat those as zero here. */
INLINE unsigned denormals_off(void) {
        unsigned before = _mm_getcsr();
        _mm_setcsr(before | 0x8040);
        return before;
}

void K(adamw)(float *w, float *g, float *m, float *v, size_t n, const struct adamw_scalars *scalars) {
        const struct adamw_scalars s = *scalars;
        unsigned before = denormals_off();
        for (size_t i = 0; i < n; i += LANES) {
                int rest = n - i < LANES ? (int)(n - i) : LANES;
                vf gradient = v_load_part(g + i, rest) * s.clip;
                vf first = v_load_part(m + i, rest) * s.beta1 + gradient * s.rest1;
                vf second = v_load_part(v + i, rest) * s.beta2 + gradient * gradient * s.rest2;
                vf denominator = v_sqrt(second) / s.root_correction + s.epsilon;
                v_store_part(w + i, v_load_part(w + i, rest) * s.decay - first / denominator * s.step_size, rest);
                v_store_part(m + i, first, rest);
                v_store_part(v + i, second, rest);
                v_store_part(g + i, (vf){0}, rest);
        }
        _mm_setcsr(before);
}

typedef double vd __attribute__((vector_size(LANES * 4)));           /* LANES / 2 doubles */
typedef float vf_half __attribute__((vector_size(LANES * 2), aligned(4), may_alias));

double K(square_sum)(const float *x, size_t n) {
        vd low = {0}, high = {0};
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) {
                vd a = __builtin_convertvector(*(const vf_half *)(x + i), vd);
                vd b = __builtin_convertvector(*(const vf_half *)(x + i + LANES / 2), vd);
                low += a * a;
                high += b * b;
        }
        double sum = 0;
        for (int lane = 0; lane < LANES / 2; lane++)
                sum += low[lane] + high[lane];
        for (; i < n; i++)
                sum += (double)x[i] * x[i];
        return sum;
}
