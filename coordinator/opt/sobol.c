/* The Sobol sequence with a nested uniform (Owen) scramble made by hashing: A. B. Owen, "Randomly permuted (t,m,s)-nets"
 * (1995); B. Burley, "Practical hash-based Owen scrambling", JCGT 9(4), 2020. A scrambled point depends on (seed, dimension,
 * index) only, so there is no state to keep. Dimensions beyond the table are independent draws. */
#include <stddef.h>

#include "common/rng.h"
#include "opt/sobol.h"
#include "opt/sobol_table.h"

#define BITS 32
#define N_TABLE (1 + sizeof sobol_directions / sizeof *sobol_directions)

/* The first n v_k of Bratley & Fox (1988): v_k = 2^(32-k) m_k, later ones by the recurrence of the polynomial. */
static void fill_directions(size_t dim, int n, uint32_t v[static BITS]) {
        if (dim == 0) {
                for (int k = 0; k < n; k++)
                        v[k] = 1u << (31 - k);
                return;
        }
        const struct sobol_direction *row = &sobol_directions[dim - 1];
        int degree = 31 - __builtin_clz(row->polynomial);
        for (int k = 0; k < n; k++) {
                if (k < degree) {
                        v[k] = (uint32_t)row->m[k] << (31 - k);
                        continue;
                }
                v[k] = v[k - degree] ^ (v[k - degree] >> degree);
                for (int i = 1; i < degree; i++)
                        if (row->polynomial >> (degree - i) & 1)
                                v[k] ^= v[k - i];
        }
}

uint32_t sobol_point(size_t dim, uint32_t index) {
        uint32_t v[BITS], x = 0;
        fill_directions(dim, index ? BITS - __builtin_clz(index) : 0, v);
        for (int k = 0; index; k++, index >>= 1)
                if (index & 1)
                        x ^= v[k];
        return x;
}

static uint32_t reverse_bits(uint32_t x) {
        x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
        x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
        x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
        return __builtin_bswap32(x);
}

/* Laine & Karras (2011): every bit is flipped by a hash of the bits below it only. On the reversed word that is a
 * nested permutation of the digits. */
static uint32_t hash_lower_bits(uint32_t x, uint32_t seed) {
        x += seed;
        x ^= x * 0x6c50b47cu;
        x ^= x * 0xb82f1e52u;
        x ^= x * 0xc7afe638u;
        x ^= x * 0x8d22f6e6u;
        return x;
}

double sobol_scrambled(uint64_t seed, size_t dim, uint64_t index) {
        uint64_t key = rng_mix(rng_mix(seed) ^ rng_mix(0x536f626f6cu + dim));
        if (dim >= N_TABLE)
                return (double)(rng_mix(key ^ rng_mix(index)) >> 11) * 0x1p-53;
        uint32_t x = reverse_bits(sobol_point(dim, (uint32_t)index));
        x = reverse_bits(hash_lower_bits(x, (uint32_t)key));
        return ((double)x + 0.5) * 0x1p-32;
}
