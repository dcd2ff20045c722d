/* Counting, and writing what was counted as OpenMetrics text. Nothing here locks: who counts says which thread may. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define HISTOGRAM_BOUNDS_MAX 16

/* Upper bounds of the buckets, rising; one more bucket takes the rest. */
struct histogram_bounds {
        size_t n;
        double at[HISTOGRAM_BOUNDS_MAX];
};
extern const struct histogram_bounds histogram_seconds; /* 0.0005 … 30 */
extern const struct histogram_bounds histogram_sizes;   /* 1 … 10000 */

struct histogram {
        uint64_t buckets[HISTOGRAM_BOUNDS_MAX + 1], n;
        double sum;
};

void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds, double value);

/* A family before its samples: type is "counter", "gauge", "histogram" or "info"; unit NULL or what the name ends in. */
void metrics_family(struct buf *buf, const char *name, const char *type, const char *unit, const char *help);
/* One sample: the family's name, suffix ("_total" of a counter, "" of a gauge), labels ("state=\"running\"", "" = none). */
void metrics_sample(struct buf *buf, const char *name, const char *suffix, const char *labels, double value);
void metrics_histogram(struct buf *buf, const char *name, const char *labels, const struct histogram_bounds *bounds,
                       const struct histogram *histogram);

/* Seconds on the monotonic clock, for durations only: nothing is ever decided by it. */
double metrics_now_s(void);
