#include "sweep/ending.h"

struct ending ending_by_value(enum trial_state state, bool has_value, double value, bool has_summary, double summary) {
        if (has_value)
                return (struct ending){.state = state, .has_value = true, .value = value, .reason = -1};
        if (has_summary)
                return (struct ending){.state = state, .has_value = true, .value = summary, .reason = -1};
        return (struct ending){.state = TRIAL_FAILED, .reason = REASON_NO_METRIC};
}

struct ending ending_by_failure(enum failure_reason reason, unsigned failures, unsigned max_attempts) {
        bool counts = failure_reason_retryable(reason);
        bool again = counts && failures + 1 < max_attempts;
        return (struct ending){.state = again ? TRIAL_QUEUED : TRIAL_FAILED, .reason = (int)reason, .counts = counts};
}

struct ending ending_after_stop(struct ending ending, bool has_summary, double summary) {
        bool lost = ending.state == TRIAL_QUEUED || ending.counts;
        return lost ? ending_by_value(TRIAL_STOPPED, false, 0, has_summary, summary) : ending;
}

struct ending ending_by_release(void) {
        return (struct ending){.state = TRIAL_QUEUED, .reason = -1};
}

bool ending_target_reached(bool maximize, double target, double best) {
        return maximize ? best >= target : best <= target;
}

bool ending_sweep_is_over(bool exhausted, uint64_t n_queued, uint64_t n_running) {
        return exhausted && n_queued == 0 && n_running == 0;
}
