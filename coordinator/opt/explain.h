/* What the model makes of a history: the configuration to recommend, which dimensions matter, and slices through the
 * response. Pure and deterministic by seed; takes up to a second at a thousand trials.
 *
 * Held dimensions count as varying here: they are only held for proposals. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/opt.h"

struct opt_model;

/* Space and history outlive the model; pending trials are passed over, and foreign ones once there are OPT_MODEL_TRIALS others. 0, -ENOMEM, or OPT_NO_MODEL with fewer than
 * OPT_MODEL_TRIALS observed trials, or when nothing could be fitted. */
#define OPT_MODEL_TRIALS 4
#define OPT_NO_MODEL 1
int opt_model_new(const struct opt_space *space, const struct opt_history *history, bool maximize, uint64_t seed, struct opt_model **ret);
void opt_model_free(struct opt_model *model);

/* Observed and failed trials that the model is made of. */
size_t opt_model_n(const struct opt_model *model);

/* Standard deviation between runs of one configuration, near the better half of the values, in units of the metric. */
double opt_model_noise(const struct opt_model *model);

/* Posterior of the noise-free function at a point, in units of the metric. */
struct opt_prediction {
        double mean, sd;  /* the deviation towards better values, as everywhere (warp.h) */
        double low, high; /* 95 %; farther from the mean where the worse values are far apart */
};
/* At m points of the space; the deviations hold the doubt about the hyperparameters, too, which takes longer than the points do: ask
 * for all of them at once. 0 or -ENOMEM. */
int opt_model_predict(const struct opt_model *model, size_t m, const double *x, struct opt_prediction *ret);

/* Up to max values of a dimension in order: all of few, else evenly spaced in its own scale. Returns how many. */
size_t opt_dim_grid(const struct opt_dim *dim, size_t max, double *ret);

struct opt_incumbent {
        size_t index;            /* in the history: the observed trial with the best posterior mean, or one of the decided configuration */
        double mean, sd;         /* of the function there, in units of the metric */
        double low, high;        /* 95 % */
        size_t n_within_noise;   /* other configurations that may as well be the best: P(better) ≥ 5 % */
        double chance_of_best;   /* that it is the best of the configurations tried */
        bool recommends_repeats; /* another training or a few of the best ones would tell more than it costs */
};
/* decided: a configuration (n_dims) that others chose already, if it was observed; NULL = the model chooses. 0 or -ENOMEM. */
int opt_model_incumbent(const struct opt_model *model, const double *decided, struct opt_incumbent *ret);

/* Up to max distinct observed configurations by falling posterior mean, as positions in the history. 0 or -ENOMEM. */
int opt_model_rank(const struct opt_model *model, size_t max, size_t *ret, size_t *ret_n);

/* Chances that each of n configurations has the best mean, from the values that repeats of it gave: means m, counts (0: no chance),
 * the pooled variance of one value and its degrees of freedom (≥ 1). By draws, seeded. */
void opt_chances(size_t n, const double *mean, const size_t *count, double variance, size_t freedom, bool maximize, uint64_t seed,
                 double *ret);

/* Shares of the function's variance over the space, each with a 90 % interval over functions, hyperparameters and which dimensions do
 * something. Of one that is not distinguishable it begins at 0 and ends where it would if that one did something. */
struct opt_effect {
        double share, low, high;
        double total;          /* with all its interactions */
        double evidence;       /* log posterior density lost without the dimension */
        bool is_distinguishable; /* from noise */
};
struct opt_pair {
        size_t a, b;
        double share, low, high; /* of their interaction alone */
};
/* ret_effects: n_dims; ret_pairs: the strongest distinguishable ones, at most max_pairs. 0 or -ENOMEM. */
int opt_model_importance(const struct opt_model *model, struct opt_effect *ret_effects, size_t max_pairs, struct opt_pair *ret_pairs,
                         size_t *ret_n_pairs);
