/* Vectors for the kernels, over GCC's vector extension. The files that include this are compiled once per instruction
 * set (see meson.build); LANES follows from the flags, and everything here is inlined so that no two copies meet.
 * Contraction to fused multiply-add is on for these files, reassociation is not: sums are split by hand. */
#pragma once
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef float vf_memory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vf v_load(const float *p) {
        return *(const vf_memory *)p;
}
INLINE void v_store(float *p, vf x) {
        *(vf_memory *)p = x;
}
INLINE vf v_set(float x) {
        return x - (vf){0};
}
INLINE vf v_select(vi mask, vf yes, vf no) {
        return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
/* When either is NaN these give b: write the constant first and a NaN passes through. */
INLINE vf v_max(vf a, vf b) {
#if LANES == 16
        return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
        return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
        return (vf)_mm_max_ps((__m128)a, (__m128)b);
#endif
}
INLINE vf v_min(vf a, vf b) {
#if LANES == 16
        return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8
        return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
        return (vf)_mm_min_ps((__m128)a, (__m128)b);
#endif
}

/* The first n lanes of memory, zeros behind; and back. n may be LANES or more: then all of them. */
INLINE vf v_load_part(const float *p, int n) {
        if (__builtin_expect(n >= LANES, 1))
                return v_load(p);
        float lanes[LANES] = {0};
        memcpy(lanes, p, (size_t)n * sizeof *p);
        return v_load(lanes);
}
INLINE void v_store_part(float *p, vf x, int n) {
        if (__builtin_expect(n >= LANES, 1)) {
                v_store(p, x);
                return;
        }
        float lanes[LANES];
        v_store(lanes, x);
        memcpy(p, lanes, (size_t)n * sizeof *p);
}
/* Zero from lane n on. */
INLINE vf v_first(vf x, int n) {
        if (__builtin_expect(n >= LANES, 1))
                return x;
        float lanes[LANES] = {0};
        v_store_part(lanes, x, n);
        return v_load(lanes);
}

INLINE float v_sum(vf x) {
        float lanes[LANES];
        v_store(lanes, x);
        for (int width = LANES / 2; width > 0; width /= 2)
                for (int i = 0; i < width; i++)
                        lanes[i] += lanes[i + width];
        return lanes[0];
}
INLINE float v_highest(vf x) {
        float lanes[LANES];
        v_store(lanes, x);
        for (int width = LANES / 2; width > 0; width /= 2)
                for (int i = 0; i < width; i++)
                        lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
        return lanes[0];
}

INLINE vf v_sqrt(vf x) {
#if LANES == 16
        return (vf)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
        return (vf)_mm256_sqrt_ps((__m256)x);
#else
        return (vf)_mm_sqrt_ps((__m128)x);
#endif
}

/* e^x to 2e-7 relative: x = n ln2 + r, minimax polynomial of degree 6 in r (1.9e-9 before rounding). Adding 1.5·2^23
 * leaves n in the low bits, so that one shift makes the exponent. Below -87.3 it stays at 1e-38, above 88.3 at 2e38. */
INLINE vf v_exp(vf x) {
        const vf magic = v_set(12582912.0f);
        x = v_max(v_set(-87.3f), v_min(v_set(88.3f), x));
        vf t = x * 1.44269504f + magic;
        vf n = t - magic;
        vf r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
        vf p = v_set(0.00138368341f);
        p = p * r + 0.00837482233f;
        p = p * r + 0.0416682251f;
        p = p * r + 0.166664198f;
        p = p * r + 0.499999911f;
        p = p * r + 1.0f;
        p = p * r + 1.0f;
        return (vf)((vi)p + ((vi)t << 23));
}

/* Φ(x) - 1/2 = erf(x/√2)/2 to 2e-7: odd rational function in x², minimax on |x| ≤ 5.5, where it has reached 1/2. */
INLINE vf v_half_erf(vf x) {
        x = v_max(v_set(-5.5f), v_min(v_set(5.5f), x));
        vf s = x * x;
        vf p = v_set(1.12004864e-10f), q = v_set(5.82434186e-05f);
        p = p * s - 2.17242242e-08f;
        p = p * s + 3.09129473e-06f;
        q = q * s + 0.00176578807f;
        p = p * s + 0.000158805022f;
        q = q * s + 0.0284695216f;
        p = p * s + 0.00443858327f;
        q = q * s + 0.254049569f;
        p = p * s + 0.0348610356f;
        q = q * s + 1.0f;
        p = p * s + 0.398942262f;
        return x * p / q;
}
