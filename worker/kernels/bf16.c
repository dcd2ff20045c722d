/* float32 → bfloat16, the upper 16 bits of a float32: rounded to nearest, ties to even; a NaN stays one (its payload may
 * lose bits, and it becomes quiet), what is too large becomes infinite. */
#include "kernels/isa.h"
#include "kernels/simd.h"

INLINE vf v_round_bf16(vf x) {
        const vu bits = (vu)x, odd = bits >> 16 & 1;
        const vu rounded = bits + 0x7FFF + odd, quiet = bits | 0x400000;
        return (vf)((vu)v_select(x != x, (vf)quiet, (vf)rounded) & 0xFFFF0000u);
}

void K(round_bf16)(float *y, const float *x, size_t n) {
        for (size_t i = 0; i < n; i += LANES) {
                int rest = n - i < LANES ? (int)(n - i) : LANES;
                v_store_part(y + i, v_round_bf16(v_load_part(x + i, rest)), rest);
        }
}

typedef uint16_t vh __attribute__((vector_size(LANES * 2)));

void K(to_bf16)(uint16_t *y, const float *x, size_t n) {
        for (size_t i = 0; i < n; i += LANES) {
                int rest = n - i < LANES ? (int)(n - i) : LANES;
                vh upper = __builtin_convertvector((vu)v_round_bf16(v_load_part(x + i, rest)) >> 16, vh);
                memcpy(y + i, &upper, (size_t)rest * sizeof *y);
        }
}
