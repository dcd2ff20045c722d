/* Where to look next: log expected improvement, and its maximum over a mixed space. Pure and deterministic by seed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/gp.h"
#include "opt/opt.h"

/* log E[max(f − incumbent, 0)] for f ~ N(mean, sd²), exact far into the tail, and its derivatives. Ament et al. 2023,
 * arXiv:2310.20708, eq. 8. */
double log_expected_improvement(double mean, double sd, double incumbent, double *ret_dmean, double *ret_dsd);

/* The log of what one more trial is worth there while trials have a variance of `noise` beside f's: expected improvement times
 * 1 − √(noise / (sd² + noise)), which vanishes where more trials teach nothing. Huang et al. 2006, doi:10.1007/s10898-005-2454-3. */
double log_augmented_improvement(double mean, double sd, double incumbent, double noise, double *ret_dmean, double *ret_dsd);

/* Points that exist already, by their features: borrowed, n × n_dims. Found by a weighted sum of the features, in which equal points are
 * neighbours, so that a question does not look at all of them. */
struct tried_sum {
        double sum;
        size_t index;
};
struct tried {
        const struct opt_space *space;
        const double *features;
        size_t n;
        struct tried_sum *sums; /* ascending */
};

/* 0 or -ENOMEM */
int tried_init(struct tried *tried, const struct opt_space *space, const double *features, size_t n);
void tried_fini(struct tried *tried);

/* The same values in every discrete dimension, and within 1e-6 of the unit interval in every continuous one. */
bool tried_contains(const struct tried *tried, const double *features);

/* An untried point, when the space is finite or has unbounded lattices and nothing that was drawn is new. False when there
 * is none, or none that is not next to impossible. features: room for n_dims numbers. */
bool tried_find_gap(const struct tried *tried, uint64_t seed, double *features, double *ret_x);

#define ACQUIRE_MAX_ANCHORS 4

struct acquire_problem {
        const struct opt_space *space;
        struct gp *gp;
        double incumbent; /* in the gp's units, larger is better */
        double noise;     /* variance of what one more trial shows, as far as it is more than little; 0 = none */
        const struct tried *tried;
        const double *const *anchors; /* natural units: good points to search around, best first */
        const double *const *anchor_features; /* the same as features */
        size_t n_anchors; /* at most ACQUIRE_MAX_ANCHORS */
        double radius; /* trust region: how far from the nearest anchor, in unit coordinates; 0 = anywhere */
        uint64_t seed;
};

struct acquire_result {
        double *x;       /* n_dims, the caller's */
        double mean, sd; /* in the gp's units */
        double value;    /* log expected improvement, augmented where there is noise */
        bool is_repeat;  /* every point of the space was tried: the best of them again */
};

/* 0, -ENOMEM or -ECANCELED (gp_data's stop). */
int acquire_maximise(const struct acquire_problem *problem, struct acquire_result *ret);
