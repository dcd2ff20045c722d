/* Dropout masks from Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The mask of an
 * element is a pure function of (seed, step, site, row, column): nothing is stored, backward makes it again, and neither
 * the number of threads nor the instruction set changes it.
 *
 * Counter: {16·group + block, row, step low, site + 2^16·(step high)}, key: the seed. One group is 64 columns of a row;
 * column 16·w + b of the group is word w of block b, so that vectors of blocks give vectors of columns. */
#pragma once
#include "kernels/kernels.h"
#include "kernels/simd.h"

#define MASK_GROUP 64

INLINE vu v_set_u(uint32_t x) {
        return x + (vu){0};
}

INLINE vu v_load_u(const uint32_t *p) {
        vu x;
        memcpy(&x, p, sizeof x);
        return x;
}

/* High and low halves of a · multiplier, lane by lane. */
INLINE void v_multiply_wide(vu a, uint32_t multiplier, vu *high, vu *low) {
#if LANES == 16
        __m512i m = _mm512_set1_epi32((int)multiplier);
        __m512i even = _mm512_mul_epu32((__m512i)a, m), odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), m);
        *high = (vu)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
        *low = (vu)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
#elif LANES == 8
        __m256i m = _mm256_set1_epi32((int)multiplier);
        __m256i even = _mm256_mul_epu32((__m256i)a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), m);
        *high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
        *low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
#else
        __m128i m = _mm_set1_epi32((int)multiplier), upper = _mm_set_epi32(-1, 0, -1, 0);
        __m128i even = _mm_mul_epu32((__m128i)a, m), odd = _mm_mul_epu32(_mm_srli_epi64((__m128i)a, 32), m);
        *high = (vu)_mm_or_si128(_mm_srli_epi64(even, 32), _mm_and_si128(odd, upper));
        *low = (vu)_mm_or_si128(_mm_andnot_si128(upper, even), _mm_slli_epi64(odd, 32));
#endif
}

INLINE void philox_blocks(vu c[4], uint64_t seed) {
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++) {
                vu high0, low0, high1, low1;
                v_multiply_wide(c[0], 0xD2511F53u, &high0, &low0);
                v_multiply_wide(c[2], 0xCD9E8D57u, &high1, &low1);
                c[0] = high1 ^ c[1] ^ k0;
                c[1] = low1;
                c[2] = high0 ^ c[3] ^ k1;
                c[3] = low0;
                k0 += 0x9E3779B9u;
                k1 += 0xBB67AE85u;
        }
}

/* What a site multiplies with: 0 where dropped, 1/(1-p) where kept, for 64 columns from 64·group on. */
INLINE void mask_group(float factors[static MASK_GROUP], const struct mask *mask, uint64_t row, int group) {
        const vf scale = v_set(1.0f / (1.0f - mask->p));
        const vu threshold = v_set_u((uint32_t)((double)mask->p * 4294967296.0));
        static const uint32_t blocks[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        for (int block = 0; block < 16; block += LANES) {
                vu c[4] = {v_load_u(blocks + block) + (uint32_t)(16 * group), v_set_u((uint32_t)row), v_set_u((uint32_t)mask->step),
                           v_set_u(mask->site | (uint32_t)(mask->step >> 32) << 16)};
                philox_blocks(c, mask->seed);
                for (int w = 0; w < 4; w++)
                        v_store(factors + 16 * w + block, v_select(c[w] >= threshold, scale, v_set(0)));
        }
}
