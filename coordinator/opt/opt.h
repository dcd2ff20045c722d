/* The optimizer's boundary: a search space and the evidence so far in, proposals out. Pure and deterministic by seed:
 * no clock, no I/O, no JSON, no globals; any thread.
 *
 * A point is n_dims doubles in natural units: the number itself for a numeric dimension, the index of the choice for
 * a categorical one. Constants are no dimensions. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_kind {
        OPT_CATEGORICAL,    /* n_choices, probabilities (NULL = equal) */
        OPT_UNIFORM,        /* low … high */
        OPT_LOG_UNIFORM,    /* low … high as values, both > 0 */
        OPT_INV_LOG_UNIFORM, /* low … high as values; log(1/x) uniform */
        OPT_INTEGER,        /* low … high inclusive, whole numbers, equally likely */
        OPT_NORMAL,         /* mu, sigma; unbounded */
        OPT_LOG_NORMAL,     /* exp of normal(mu, sigma) */
        OPT_BETA,           /* a, b; on [0, 1] */
};

struct opt_dim {
        enum opt_kind kind;
        double low, high, mu, sigma, a, b;
        double step; /* > 0: rounded to multiples of step (half to even), clamped to the outermost multiples in bounds */
        size_t n_choices;
        const double *probabilities; /* borrowed */
        bool held;         /* the evidence varies here, proposals do not: they take held_value */
        double held_value; /* natural units */
};

/* Dimension `dim` counts only while `parent` counts and has one of the values (natural units). A dimension with several of
 * these needs all of them; without values it never counts. A dimension that does not count has its resting value. */
struct opt_condition {
        size_t dim, parent;
        const double *values; /* borrowed */
        size_t n_values;
};

/* low ≤ Σ factors[k] · x[k] ≤ high over the dimensions that count. Bounds are infinite where there is none. */
struct opt_constraint {
        const double *factors; /* n_dims, borrowed; 0 for categoricals */
        double low, high;
};

#define OPT_DIMS_MAX 1024 /* of a space with conditions or constraints */

struct opt_space {
        const struct opt_dim *dims;
        size_t n_dims;
        const struct opt_condition *conditions; /* parents before their children: every parent's own conditions stand earlier */
        size_t n_conditions;
        const struct opt_constraint *constraints;
        size_t n_constraints;
};

/* The unit cube: u in [0,1) → value by the dimension's own quantile function (W&B's ppf), quantised. */
double opt_dim_from_unit(const struct opt_dim *dim, double u);
/* Value → its CDF in [0,1]; for a categorical the middle of its interval. The inverse of the above up to quantisation. */
double opt_dim_to_unit(const struct opt_dim *dim, double value);
/* Number of distinct values, 0 = infinitely many (or more than 2^53). */
uint64_t opt_dim_cardinality(const struct opt_dim *dim);
/* The same of all combinations, conditions and constraints aside. */
uint64_t opt_space_cardinality(const struct opt_space *space);

/* What a dimension that does not count holds, so that equal configurations are equal points. */
double opt_dim_resting(const struct opt_dim *dim);

/* Which dimensions count at x: ret[n_dims]. */
void opt_space_counts(const struct opt_space *space, const double *x, bool *ret);
/* Puts dimensions that do not count to rest. */
void opt_space_settle(const struct opt_space *space, double *x);
/* Does a settled point satisfy the constraints? */
bool opt_space_allows(const struct opt_space *space, const double *x);

/* Independent draws: a function of (seed, index) only. x: n_dims, settled; it satisfies the constraints unless no such point
 * could be found, which opt_space_allows tells. */
void opt_random(const struct opt_space *space, uint64_t seed, uint64_t index, double *x);

/* Scrambled Sobol sequence (Joe & Kuo directions, Owen-style hash scramble by seed): point `index` from 0. */
void opt_sobol(const struct opt_space *space, uint64_t seed, uint64_t index, double *x);

enum opt_status { OPT_OBSERVED, OPT_FAILED, OPT_PENDING };

struct opt_trial {
        const double *x;   /* n_dims, natural units; may lie outside the bounds (warm starts, OFAT levels):
                              the model sees it where it is, proposals stay inside */
        double y;          /* OPT_OBSERVED only; finite */
        enum opt_status status;
        uint64_t ended;    /* among ends, a later one has a larger number; of equal ones the trial that was created later ended later */
        bool is_foreign;   /* of another sweep, whose metric may go another way: it guides proposals as far as own trials bear it out */
};

struct opt_history {
        const struct opt_trial *trials; /* in order of creation */
        size_t n;
};

enum opt_source { OPT_SOURCE_SOBOL, OPT_SOURCE_RANDOM, OPT_SOURCE_GP, OPT_SOURCE_EXPLOIT, OPT_SOURCE_FALLBACK };
const char *opt_source_name(enum opt_source source); /* "sobol", "random", "gp", "exploit", "fallback" */

struct opt_proposal {
        double *x; /* n_dims, the caller's */
        double *lengths; /* the same, may be NULL. With a prediction: over what part of the dimension's range the metric changes by much,
                            jointly with others; far above 1 where it hardly matters */
        enum opt_source source;
        const char *why;   /* static text for a fallback, NULL else */
        bool has_prediction;
        double mean, sd;   /* of the metric, in its own units, at x */
        double acquisition; /* log expected improvement, less where there is noise that hides it */
};

/* What a series of proposals may keep between them to be quick: the last few results of pure functions, found by their arguments, so
 * that proposals are the same without. One thread at a time. */
struct opt_memory;
struct opt_memory *opt_memory_new(void); /* NULL without memory */
void opt_memory_free(struct opt_memory *memory);

/* Proposals from OPT_PREPARED_FROM + 1 ended trials on, and how many of them had no hyperparameters to find. */
struct opt_memory_use {
        uint64_t proposals, ready;
};
struct opt_memory_use opt_memory_use(const struct opt_memory *memory); /* may be NULL */

struct opt_bayes_options {
        bool maximize;
        uint64_t seed;
        uint64_t number;    /* of the proposal, from 1: selects the random stream */
        unsigned repeats;   /* trials that each configuration gets; 0 and 1 are the same */
        struct opt_memory *memory; /* may be NULL */
        size_t n_initial;   /* quasi-random points before the model; 0 = the default for the dimension */
        const atomic_bool *stop; /* may be NULL. Once another thread has set it, the computation soon gives up: -ECANCELED */
};

/* Matérn-5/2 ARD GP with learned noise, log expected improvement, pending trials taken into account; never an exact
 * duplicate of a trial while the space holds an untried point. Always gives a point of the space: on numerical trouble
 * or while there is too little evidence it is quasi-random and says so. 0, -ENOMEM or -ECANCELED. */
int opt_bayes(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options,
              struct opt_proposal *ret);

#define OPT_PREPARED_FROM 29 /* ended trials: with fewer there is nothing to prepare */
#define OPT_PREPARED_MAX 10000 /* nor with more: reading them once more costs more than it saves */

/* Ahead of the next trial's end: what the proposal after it needs of the trials that have ended so far goes into options->memory.
 * Proposals are the same without. 0, -ENOMEM or -ECANCELED. */
int opt_prepare(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options);
