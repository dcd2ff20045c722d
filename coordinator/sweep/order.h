/* Which sweep serves a worker next: the highest priority; among equals the one with the least running, then the least
 * served so far, then the oldest. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidate {
        int64_t sweep;
        int priority;
        uint64_t n_running, n_served;
        void *owner; /* the caller's */
};

void order_candidates(struct candidate *candidates, size_t n);

/* parallelism 0 = no limit. */
bool order_has_room(unsigned parallelism, uint64_t n_running);
