/* Exponential backoff with jitter over the upper half: a wait of d is drawn from [d/2, d), so that it is never near zero. */
#include "agent/backoff.h"

#define RETRY_AFTER_MAX_S 300.0

void backoff_init(struct backoff *backoff, uint64_t seed, double first_s, double max_s) {
        rng_init(&backoff->rng, seed, 0);
        backoff->first_s = first_s;
        backoff->max_s = max_s;
        backoff_reset(backoff);
}

void backoff_reset(struct backoff *backoff) {
        backoff->n_failures = 0;
        backoff->due_ms = 0;
}

double backoff_fail(struct backoff *backoff, uint64_t now_ms, double retry_after_s) {
        double wait_s = backoff->first_s;
        for (unsigned i = 0; i < backoff->n_failures && wait_s < backoff->max_s; i++)
                wait_s *= 2;
        if (wait_s > backoff->max_s)
                wait_s = backoff->max_s;
        wait_s *= 0.5 + 0.5 * rng_uniform(&backoff->rng);
        if (retry_after_s > RETRY_AFTER_MAX_S)
                retry_after_s = RETRY_AFTER_MAX_S;
        if (wait_s < retry_after_s)
                wait_s = retry_after_s;
        backoff->n_failures++;
        backoff->due_ms = now_ms + (uint64_t)(wait_s * 1000);
        return wait_s;
}
