#include "common/metrics.h"

#include <time.h>

#include "common/json.h"

const struct histogram_bounds histogram_seconds = {15, {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}};
const struct histogram_bounds histogram_sizes = {13, {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}};

void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds, double value) {
        size_t i = 0;
        while (i < bounds->n && value > bounds->at[i])
                i++;
        histogram->buckets[i]++;
        histogram->n++;
        histogram->sum += value;
}

void metrics_family(struct buf *buf, const char *name, const char *type, const char *unit, const char *help) {
        buf_printf(buf, "# TYPE %s %s\n", name, type);
        if (unit)
                buf_printf(buf, "# UNIT %s %s\n", name, unit);
        buf_printf(buf, "# HELP %s %s\n", name, help);
}

void metrics_sample(struct buf *buf, const char *name, const char *suffix, const char *labels, double value) {
        char number[32];
        json_format_real(value, number);
        buf_printf(buf, "%s%s%s%s%s %s\n", name, suffix, *labels ? "{" : "", labels, *labels ? "}" : "", number);
}

void metrics_histogram(struct buf *buf, const char *name, const char *labels, const struct histogram_bounds *bounds,
                       const struct histogram *histogram) {
        uint64_t below = 0;
        char number[32];
        for (size_t i = 0; i <= bounds->n; i++) {
                below += histogram->buckets[i];
                if (i < bounds->n)
                        json_format_real(bounds->at[i], number);
                buf_printf(buf, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels, *labels ? "," : "", i < bounds->n ? number : "+Inf",
                           (unsigned long long)below);
        }
        metrics_sample(buf, name, "_sum", labels, histogram->sum);
        metrics_sample(buf, name, "_count", labels, (double)histogram->n);
}

double metrics_now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
