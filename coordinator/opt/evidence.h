/* The history as the model sees it: features and standardised values of the trials that count, the fitted hyperparameters
 * and the posterior that follows. Shared by proposals (bayes.c) and explanations (explain.c). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/gp.h"
#include "opt/opt.h"
#include "opt/warp.h"

#define MIN_OBSERVED 2

/* The evidence as the model wants it. */
struct evidence {
        size_t n_dims;
        double *features;     /* every trial of the history, n × n_dims */
        bool *is_categorical; /* n_dims */
        size_t *chosen;       /* indices into the history: ended trials first, then pending ones */
        size_t n_ended, n_pending;
        bool expects_noise, has_trend; /* see gp.h */
        double *x, *y; /* features and z of the chosen ones */
        struct warp warp;
        bool skips_foreign;     /* trials */
        size_t max_ended;       /* in the model; 0 = the usual number */
        const struct gp *guide; /* see gp.h; NULL = none. Set before evidence_choose */
        uint64_t guide_key;     /* of what it was made from */
        double *guided;
        const atomic_bool *stop; /* see gp.h */
};

/* Features of the whole history. evidence is zeroed, but for stop. 0 or -ENOMEM; evidence_fini in any case. */
int evidence_init(struct evidence *evidence, const struct opt_space *space, const struct opt_history *history);
void evidence_fini(struct evidence *evidence);

/* The trials that the model is made of, at least one of them observed. */
int evidence_choose(struct evidence *evidence, const struct opt_history *history, bool maximize);

/* A process of foreign trials alone, as a guide. It borrows the evidence. Hyperparameters are found in memory (may be NULL) or kept there. */
int evidence_make_guide(struct evidence *evidence, const struct opt_space *space, const struct opt_history *foreign, bool maximize, uint64_t seed,
                        struct opt_memory *memory, struct gp **ret);

/* The first n of the chosen. */
struct gp_data evidence_data(const struct evidence *evidence, size_t n);

/* max of n positions, ascending: one drawn from each of as many equal parts. Evenly spaced ones would all have the same level of a
 * grid's last parameter. All of them where there are no more. Returns how many. */
size_t evidence_pick(size_t n, size_t max, uint64_t seed, size_t *ret);

/* Maximum a posteriori theta (gp_n_theta). 0, -ENOMEM, -ECANCELED, GP_NOT_FITTED; the same of those below. */
int evidence_fit(const struct evidence *evidence, uint64_t seed, double *theta);

/* The same for a growing history: a whole fit at some lengths of it only, of the trials that had ended, and from its theta a few steps
 * for all but the one that ended last, so that it can be done before that one ends, whichever it is (the posterior is of all; of more than OPT_PREPARED_MAX
 * the steps are for all, too). A function of the history alone: memory (may be NULL) only spares repeating it. */
int evidence_fit_growing(const struct evidence *evidence, const struct opt_space *space, const struct opt_history *history, bool maximize,
                         uint64_t seed, struct opt_memory *memory, double *theta);

/* What that needs once one more trial than in this history has ended. like: says which model; nothing was chosen. */
int evidence_fit_ahead(const struct evidence *like, const struct opt_space *space, const struct opt_history *history, bool maximize, uint64_t seed,
                       struct opt_memory *memory);

/* The posterior of the ended trials; with pending ones, conditioned also on what it expects of them. The evidence outlives it. */
int evidence_condition(struct evidence *evidence, const double *theta, struct gp **ret);
