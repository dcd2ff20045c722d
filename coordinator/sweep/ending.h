/* How trials and sweeps end: the contract's rules on values, retries and targets, as functions of plain numbers. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "proto/state.h"

/* Where a trial goes when an attempt of it is over. */
struct ending {
        enum trial_state state; /* TRIAL_QUEUED = once more */
        bool has_value;         /* of completed and stopped */
        double value;
        int reason;  /* enum failure_reason: of a failed state, or why it is queued again; -1 = none */
        bool counts; /* towards max_attempts */
};

/* The value rule: the outcome's own value, else the summary of the metric's series, else failed with no_metric.
 * state is completed or stopped. */
struct ending ending_by_value(enum trial_state state, bool has_value, double value, bool has_summary, double summary);

/* The retry rule: failures is how many retryable ends the present allowance has seen before this one. */
struct ending ending_by_failure(enum failure_reason reason, unsigned failures, unsigned max_attempts);

/* The worker gave it back: queued, and it does not count. */
struct ending ending_by_release(void);

/* The end of a trial that had been told to stop: given back, lost or failed in a way that would be tried again, it is
 * stopped, with the value of its series. Other ends stay what they are. */
struct ending ending_after_stop(struct ending ending, bool has_summary, double summary);

/* No new trial once a value reaches the target. */
bool ending_target_reached(bool maximize, double target, double best);

/* Nothing more can be proposed and nothing is queued or running. */
bool ending_sweep_is_over(bool exhausted, uint64_t n_queued, uint64_t n_running);
