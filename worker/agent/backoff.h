/* How long to wait after a failed call: doubling with jitter up to a maximum, or what the server asked for. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/rng.h"

struct backoff {
        struct rng rng;
        double first_s, max_s;
        unsigned n_failures; /* in a row */
        uint64_t due_ms;     /* mono; 0 = at once */
};

/* Workers that fail together must not come back together: seed is different in every process. */
void backoff_init(struct backoff *backoff, uint64_t seed, double first_s, double max_s);
void backoff_reset(struct backoff *backoff);

/* retry_after_s: the server's wish, 0 = none; believed up to five minutes. Returns the wait in seconds. */
double backoff_fail(struct backoff *backoff, uint64_t now_ms, double retry_after_s);

static inline bool backoff_is_due(const struct backoff *backoff, uint64_t now_ms) {
        return now_ms >= backoff->due_ms;
}
