/* The good leases and when each of them is over. Sorted by trial, which mostly come in that order. Times are any
 * monotonic milliseconds of the caller; LEASE_NEVER = no such limit. Memory only: after a restart every running trial
 * gets a full new lease, because a worker must not lose its work to the coordinator's absence. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define LEASE_NEVER UINT64_MAX

struct lease {
        int64_t trial, sweep, worker;
        unsigned attempt;
        uint64_t expires_ms; /* moved by every report */
        uint64_t timeout_ms; /* trial_timeout_s after the start of the attempt */
        uint64_t stall_ms;   /* moved by progress: no_progress_timeout_s */
};

struct lease_table {
        struct lease *items; /* owned, sorted by trial */
        size_t n, cap;
};

void lease_table_fini(struct lease_table *table);

/* Adds or replaces the lease of a trial. 0 or -ENOMEM. */
int lease_table_put(struct lease_table *table, const struct lease *lease);
void lease_table_remove(struct lease_table *table, int64_t trial);
struct lease *lease_table_find(const struct lease_table *table, int64_t trial); /* NULL = none; valid until the next change */

/* When the next one is over, LEASE_NEVER without any. */
uint64_t lease_table_deadline(const struct lease_table *table);

enum lease_end {
        LEASE_GOOD,
        LEASE_EXPIRED,
        LEASE_TIMED_OUT,
        LEASE_STALLED,
        LEASE_TAKEN, /* another process registered under the worker's name: told by a caller, not by the table */
};
enum lease_end lease_judge(const struct lease *lease, uint64_t now_ms);

/* The first lease from *position on that is over; *position moves past it. NULL = no more. */
const struct lease *lease_table_next_over(const struct lease_table *table, size_t *position, uint64_t now_ms);
