/* A sweep spec: a Weights & Biases sweep file, and what is ours beside it. sweep_spec_parse finds every fault at once.
 * Keys that have no meaning here are faults, never ignored. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/problem.h"
#include "proto/relation.h"
#include "proto/stop_rule.h"

enum method { METHOD_GRID, METHOD_RANDOM, METHOD_SOBOL, METHOD_BAYES, METHOD_OFAT, METHOD_STAGED, METHOD_CONFIRM, N_METHODS };

/* The Weights & Biases meaning of each; see the table in the essay of spec.c. */
enum distribution {
        DIST_CONSTANT,
        DIST_CATEGORICAL, /* also categorical_w_probabilities */
        DIST_INT_UNIFORM,
        DIST_UNIFORM,
        DIST_Q_UNIFORM,
        DIST_LOG_UNIFORM, /* min, max are base-e exponents */
        DIST_LOG_UNIFORM_VALUES,
        DIST_Q_LOG_UNIFORM,
        DIST_Q_LOG_UNIFORM_VALUES,
        DIST_INV_LOG_UNIFORM,
        DIST_INV_LOG_UNIFORM_VALUES,
        DIST_NORMAL,
        DIST_Q_NORMAL,
        DIST_LOG_NORMAL,
        DIST_Q_LOG_NORMAL,
        DIST_BETA,
        DIST_Q_BETA,
        N_DISTRIBUTIONS
};

struct parameter {
        char *name; /* dotted where nested: "optimizer.lr" */
        enum distribution distribution;
        double min, max;       /* as written in the spec (exponents for the log_uniform family without _values) */
        double q, mu, sigma, a, b;
        bool integer;          /* values are written as JSON integers (int_uniform; q_* with an integer q) */
        json_t *value;         /* constant */
        json_t *values;        /* categorical: array of any JSON */
        double *probabilities; /* categorical with probabilities: json_array_size(values) of them, else NULL */
        json_t *fallback;      /* `default`: what a configuration has that does not say, and what trials of before the parameter had; NULL */
};

struct parameter_list {
        struct parameter *items; /* in the spec's order */
        size_t n;
};

/* One factor of an OFAT stage, or one parameter of a grid stage's `values`. */
struct level_set {
        char *name;
        json_t *values; /* array */
};

struct stage_spec {
        enum method method; /* never METHOD_STAGED; METHOD_CONFIRM only after another stage */
        struct level_set *levels; /* ofat: `levels`; grid: `values` */
        size_t n_levels;
        struct parameter_list parameters; /* the stage's own, else empty: the sweep's are used */
        size_t select_top; /* 0 = all that the stage can vary */
        uint64_t run_cap;  /* 0 = none */
        bool warm_start;
        unsigned top_k, repeats; /* confirm: so many configurations, so many trials of each */
        bool pause_after;
};

struct metric_spec {
        char *name; /* "" when the spec has no metric: no series is watched, outcomes give the value */
        bool maximize; /* the default is minimize, as in W&B */
        bool has_target;
        double target;
        bool summary_last; /* value = last point instead of the best */
};

/* Evidence to begin with: of another sweep, or listed. Neither = none. */
struct warm_start {
        char *sweep;    /* public id */
        size_t top;     /* its best so many */
        json_t *trials; /* array of {"params","value"}, with "state":"stopped" where one ended early */
};

struct sweep_spec {
        json_t *source; /* as given */
        char *name;     /* generated from the method when left out */
        enum method method;
        struct metric_spec metric;
        struct stop_rule early_terminate;
        struct parameter_list parameters;
        uint64_t run_cap; /* 0 = none */
        char *trainer;    /* "distilbert-mrpc", "command", "external" */
        char *program;    /* of the command trainer: the allow-list name; NULL else */
        json_t *fixed;    /* object, maybe empty */
        json_t *baseline; /* object, maybe empty; keys dotted */
        struct level_set *levels; /* of method ofat at the top level */
        size_t n_levels;
        struct stage_spec *stages; /* of METHOD_STAGED; every other method is given as exactly one stage here too */
        size_t n_stages;
        struct warm_start warm_start;
        struct relations_spec relations; /* conditions, constraints, tie */
        unsigned repeats; /* trials of each proposed configuration, ≥ 1; confirm stages have their own */
        unsigned max_attempts;
        bool has_seed;
        uint64_t seed;
        unsigned parallelism; /* running at once, 0 = no limit */
        int priority;         /* higher first, default 0 */
        double trial_timeout_s, no_progress_timeout_s, max_hours; /* 0 = none */
        char *model_sha256, *data_sha256; /* NULL = the first claim fixes them */
        bool has_notify;
        unsigned notify; /* 1 << webhook_event: what the server's webhooks are told of this sweep */
};

/* 0 and a new *ret · SPEC_FAULTY with at least one fault · -ENOMEM. document is borrowed (its reference is kept). */
#define SPEC_FAULTY 1
int sweep_spec_parse(json_t *document, struct faults *faults, struct sweep_spec **ret);
void sweep_spec_free(struct sweep_spec *spec);

const char *method_name(enum method method);
const char *distribution_name(enum distribution distribution);
/* RFC 6901 of a parameter in the document of a spec that stands at `pointer`: dots of nested ones are steps there. */
void parameter_pointer(char *ret, size_t size, const json_t *document, const char *pointer, const char *name);
const struct parameter *parameter_find(const struct parameter_list *list, const char *name);
bool distribution_is_quantised(enum distribution distribution);

/* Does a JSON value lie in the parameter's domain? Used for enqueued trials and for baselines: bounds for numbers,
 * membership for categoricals, equality for constants. Fills detail (256 bytes) with the reason when it does not. */
bool parameter_accepts(const struct parameter *parameter, const json_t *value, char detail[static 256]);
