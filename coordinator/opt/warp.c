/* The half-rank warp of Google Vizier (Song et al. 2024, arXiv:2408.11527, §4): observations above the median stay linear,
 * those below get at most the normal quantile of their rank. */
#include "opt/warp.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "opt/quantile.h"

#define LARGEST 1e300 /* values beyond are alike: differences of two stay finite */

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static double median(const double *sorted, size_t n) {
        return n % 2 ? sorted[n / 2] : sorted[n / 2 - 1] + 0.5 * (sorted[n / 2] - sorted[n / 2 - 1]);
}

/* Root mean square distance from the centre of those at or above `floor`. Distances may be so small or large that their squares are not
 * numbers any more: they are taken as parts of a power of two near the largest. */
static double spread(const double *sorted, size_t n, double centre, double floor) {
        double sum = 0, largest = 0;
        size_t count = 0;
        int exponent;
        for (size_t i = 0; i < n; i++)
                if (sorted[i] >= floor)
                        largest = fmax(largest, fabs(sorted[i] - centre));
        frexp(largest, &exponent);
        for (size_t i = 0; i < n; i++)
                if (sorted[i] >= floor) {
                        double part = ldexp(sorted[i] - centre, -exponent);
                        sum += part * part;
                        count++;
                }
        return count ? ldexp(sqrt(sum / (double)count), exponent) : 0;
}

/* z before standardisation, for a sorted list; equal observations share the middle rank. */
static void half_rank(const double *sorted, size_t n, double centre, double scale, double *z) {
        size_t n_bad = 0;
        while (n_bad < n && sorted[n_bad] < centre)
                n_bad++;
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && sorted[end] == sorted[i]; end++)
                        ;
                double value = (sorted[i] - centre) / scale;
                if (i < n_bad)
                        value = fmax(value, normal_quantile(0.5 * 0.5 * (double)(i + end) / (double)n_bad));
                for (size_t k = i; k < end; k++)
                        z[k] = value;
        }
}

static void standardise(double *z, size_t n, double *ret_deviation) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < n; i++)
                mean += z[i] / (double)n;
        for (size_t i = 0; i < n; i++)
                square += (z[i] - mean) * (z[i] - mean) / (double)n;
        double deviation = square > 0 ? sqrt(square) : 1;
        for (size_t i = 0; i < n; i++)
                z[i] = (z[i] - mean) / deviation;
        *ret_deviation = deviation;
}

int warp_init(struct warp *warp, const double *y, size_t n, bool maximize) {
        double *raw = malloc(2 * n * sizeof *raw), deviation;
        if (!raw)
                return -ENOMEM;
        *warp = (struct warp){.raw = raw, .z = raw + n, .sign = maximize ? 1 : -1};
        for (size_t i = 0; i < n; i++)
                raw[i] = warp->sign * fmin(fmax(y[i], -LARGEST), LARGEST);
        qsort(raw, n, sizeof *raw, compare);
        double centre = median(raw, n), scale = spread(raw, n, centre, centre);
        if (!(scale > 0) || !isfinite(scale))
                scale = spread(raw, n, centre, -INFINITY);
        if (!(scale > 0) || !isfinite(scale))
                scale = 1;
        half_rank(raw, n, centre, scale, warp->z);
        standardise(warp->z, n, &deviation);
        warp->slope = scale * deviation;
        for (size_t i = 0; i < n; i++)
                if (warp->n == 0 || raw[i] > raw[warp->n - 1]) {
                        raw[warp->n] = raw[i];
                        warp->z[warp->n++] = warp->z[i];
                }
        return 0;
}

void warp_fini(struct warp *warp) {
        free(warp->raw);
        *warp = (struct warp){0};
}

/* Piecewise linear through (from, to), both ascending; outside along `slope`. */
static double interpolate(const double *from, const double *to, size_t n, double slope, double at) {
        if (at <= from[0])
                return to[0] + (at - from[0]) * slope;
        if (at >= from[n - 1])
                return to[n - 1] + (at - from[n - 1]) * slope;
        size_t low = 0, high = n - 1;
        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;
                *(from[middle] <= at ? &low : &high) = middle;
        }
        double share = (at - from[low]) / (from[high] - from[low]);
        return to[low] + share * (to[high] - to[low]);
}

double warp_apply(const struct warp *warp, double y) {
        return interpolate(warp->raw, warp->z, warp->n, 1 / warp->slope, warp->sign * fmin(fmax(y, -LARGEST), LARGEST));
}

double warp_worst(const struct warp *warp) {
        return warp->z[0];
}

void warp_invert(const struct warp *warp, double mean, double sd, double *ret_mean, double *ret_sd) {
        double at = interpolate(warp->z, warp->raw, warp->n, warp->slope, mean);
        *ret_mean = warp->sign * at;
        *ret_sd = interpolate(warp->z, warp->raw, warp->n, warp->slope, mean + sd) - at;
}
