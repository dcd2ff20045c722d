/* Time and randomness behind one small table, so that a whole coordinator runs in a test with simulated time. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct world {
        uint64_t (*wall_ms)(void *data);                         /* since 1970, may jump: for people */
        uint64_t (*mono_ms)(void *data);                         /* never goes back: for leases and waits */
        void (*random_bytes)(void *data, void *ret, size_t len); /* unpredictable: ids, lease tokens, drawn seeds */
        void *data;
};

/* The machine's clocks and getrandom(2). Static lifetime. */
const struct world *world_real(void);

static inline uint64_t world_wall_ms(const struct world *world) {
        return world->wall_ms(world->data);
}
static inline uint64_t world_mono_ms(const struct world *world) {
        return world->mono_ms(world->data);
}

/* A random URL-safe id: prefix, then n_chars lower-case base-32 characters (5 bits each). ret holds all and a NUL. */
void world_make_id(const struct world *world, const char *prefix, size_t n_chars, char *ret);
