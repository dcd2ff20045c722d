#include "sweep/blame.h"

bool blame_fits(enum failure_reason reason) {
        switch (reason) {
        case REASON_CRASHED:
        case REASON_OUT_OF_MEMORY:
        case REASON_IO:
        case REASON_TIMEOUT:
        case REASON_BAD_CHECKPOINT:
        case REASON_BAD_MODEL:
        case REASON_BAD_DATA:
                return true;
        default:
                return false;
        }
}

bool blame_judge(const struct blame_case *cases, size_t n, struct blame *ret) {
        size_t counts[N_FAILURE_REASONS] = {0};
        bool is_alone = true;
        struct blame blame = {.reason = REASON_CRASHED};
        for (size_t i = 0; i < n; i++) {
                if (!blame_fits(cases[i].reason) || cases[i].failed_elsewhere)
                        continue;
                blame.n_trials++;
                blame.n_succeeded += cases[i].succeeded_elsewhere;
                is_alone &= !cases[i].succeeded_elsewhere && !cases[i].sweep_succeeds;
                if (++counts[cases[i].reason] > counts[blame.reason])
                        blame.reason = cases[i].reason;
        }
        *ret = blame;
        return blame.n_trials >= BLAME_TRIALS && !is_alone;
}
