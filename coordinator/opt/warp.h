/* Observations as the model sees them: larger is better, the better half linear, the worse half pulled in by rank, zero
 * mean and unit deviation. A diverged training then cannot flatten the differences among good ones. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct warp {
        size_t n;        /* distinct observations */
        double *raw, *z; /* ascending, owned (one allocation at raw); raw has the sign that makes larger better */
        double slope;    /* raw units per z in the linear half */
        double sign;     /* +1 maximise, −1 minimise */
};

/* From n ≥ 1 finite observations. 0 or -ENOMEM. */
int warp_init(struct warp *warp, const double *y, size_t n, bool maximize);
void warp_fini(struct warp *warp);

double warp_apply(const struct warp *warp, double y); /* metric units → z, also for values not seen */
double warp_worst(const struct warp *warp);           /* z of the worst observation */

/* A prediction in z back in metric units. The deviation is that towards better values: towards worse ones the warp may be as steep as
 * outliers are far away, and half of the way to a diverged trial is no deviation of a good one. */
void warp_invert(const struct warp *warp, double mean, double sd, double *ret_mean, double *ret_sd);
