/* How well the machine does: what makes a slow worker show among others. */
#pragma once
#include <stdint.h>

#include "model/model.h"

/* A stretch of training: from one report of all figures to the next. Evaluations and waits for the disk do not count. */
struct perf {
        uint64_t began_us, skipped_us;
        uint64_t steps;
        double gemm_s, gemm_flops, busy_s; /* totals at its start */
        uint64_t tokens_since_us, tokens;  /* since the last report of tokens a second */
};

struct perf_figures {
        double step_s;
        double gemm_gflops; /* rate inside the matrix products */
        double cores;       /* processor time over wall time: less than the threads where others want the machine, too */
        double memory_mib;  /* the most that was resident at once since the start */
        double temperature_c; /* NaN: no sensor */
};

void perf_start(struct perf *perf, const struct model *model);
static inline void perf_skip(struct perf *perf, uint64_t ms) {
        perf->skipped_us += 1000 * ms;
        perf->tokens_since_us += 1000 * ms;
}
double perf_tokens_per_s(struct perf *perf); /* since it was last asked */
/* The stretch until now; the next one begins. */
void perf_take(struct perf *perf, const struct model *model, struct perf_figures *ret);
double perf_age_s(const struct perf *perf);

/* The processor's hottest sensor, else the hottest thermal zone, in degrees Celsius; NaN where there is none. root: "" for
 * the system's own /sys, a folder that holds one in tests. */
double perf_temperature(const char *root);
