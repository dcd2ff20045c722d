#include "common/rng.h"

#include <math.h>

uint64_t rng_mix(uint64_t z) {
        z += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed, uint64_t stream) {
        uint64_t z = rng_mix(seed) ^ rng_mix(~stream);
        for (int i = 0; i < 4; i++) {
                z += 0x9E3779B97F4A7C15u;
                rng->state[i] = rng_mix(z);
        }
}

static uint64_t rotl(uint64_t x, int k) {
        return (x << k) | (x >> (64 - k));
}

uint64_t rng_u64(struct rng *rng) {
        uint64_t *s = rng->state;
        uint64_t result = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotl(s[3], 45);
        return result;
}

double rng_uniform(struct rng *rng) {
        return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

uint64_t rng_below(struct rng *rng, uint64_t limit) {
        uint64_t reject = -limit % limit, x;
        do
                x = rng_u64(rng);
        while (x < reject);
        return x % limit;
}

double rng_normal(struct rng *rng) {
        double u = 1.0 - rng_uniform(rng), v = rng_uniform(rng);
        return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}
