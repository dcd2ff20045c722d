/* A small deterministic generator (xoshiro256++, Blackman & Vigna 2019, seeded by splitmix64): same seed and stream,
 * same numbers on every machine. Not for secrets: those come from world.h. */
#pragma once
#include <stdint.h>

struct rng {
        uint64_t state[4];
};

/* Different streams of one seed are independent. */
void rng_init(struct rng *rng, uint64_t seed, uint64_t stream);

uint64_t rng_u64(struct rng *rng);
double rng_uniform(struct rng *rng);                 /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *rng, uint64_t limit); /* 0 … limit-1 without bias; limit > 0 */
double rng_normal(struct rng *rng);                  /* standard normal (Box–Muller, one of the pair) */

/* splitmix64's finaliser: a good 64-bit mix of its argument. */
uint64_t rng_mix(uint64_t value);
