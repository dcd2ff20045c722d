/* When a trial is ended early: `early_terminate` of a sweep spec, decoded. Plain numbers, shared by the parser and by
 * the rules of coordinator/sweep. An iteration is one point of the sweep's metric, counted from 1 in order of step. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum stop_type {
        STOP_NEVER,
        STOP_HYPERBAND, /* Weights & Biases': bands from max_iter and s, or from min_iter; eta, strict */
        STOP_ASHA,      /* rungs min_iter, min_iter eta, …, below max_iter where it is given */
        STOP_MEDIAN,    /* worse than the median of the others' running averages: min_iter, min_trials */
        STOP_CURVE,     /* too small a chance to become the best: min_iter, min_trials, threshold */
        N_STOP_TYPES
};

struct stop_rule {
        enum stop_type type;
        uint64_t min_iter, max_iter; /* 0 = not given */
        unsigned s;                  /* hyperband: number of bands below max_iter */
        double eta;                  /* > 1: of eta trials at a band one goes on */
        bool strict;                 /* hyperband: the value at the band counts, not the best so far */
        unsigned min_trials;         /* median, curve: judge no trial before so many others can be compared */
        double threshold;            /* curve: the chance under which a trial is stopped */
};
