/* Bayesian optimisation, one proposal: the history becomes standardised observations, a Gaussian process is fitted, and
 * log expected improvement says where to look next.
 *
 * - Failed trials count as the worst value seen, so that the model keeps away from where trainings die.
 * - Pending trials are believed to give what the model expects of them (Ginsbourger et al. 2010, kriging believer): the
 *   deviation there shrinks, and parallel workers spread out.
 * - The incumbent is the best posterior mean at an observed point, not the best observation: a lucky seed does not raise it.
 * - The cost is bounded: beyond MAX_MODEL trials the best and the latest are kept, and hyperparameters are fitted on at
 *   most MAX_FIT of these.
 * - Nothing is remembered between calls; the same history gives the same proposal. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/acquire.h"
#include "opt/gp.h"
#include "opt/opt.h"
#include "opt/space.h"
#include "opt/warp.h"

#define MAX_MODEL 1000  /* ended trials in the posterior */
#define MAX_PENDING 250 /* the latest, beside them */
#define MAX_FIT 150     /* trials that hyperparameters are fitted on */
#define N_ANCHORS 4
#define MIN_OBSERVED 2

/* The evidence as the model wants it. */
struct evidence {
        size_t n_dims;
        double *features;     /* every trial of the history, n × n_dims */
        bool *is_categorical; /* n_dims */
        size_t *chosen;       /* indices into the history: ended trials first, then pending ones */
        size_t n_ended, n_pending;
        double *x, *y; /* features and z of the chosen ones */
        struct warp warp;
};

static void evidence_fini(struct evidence *evidence) {
        free(evidence->features);
        free(evidence->is_categorical);
        free(evidence->chosen);
        warp_fini(&evidence->warp);
}

struct ranked {
        size_t index;
        double key; /* larger comes first, then the later trial */
};

static int compare_ranked(const void *a, const void *b) {
        const struct ranked *x = a, *y = b;
        if (x->key != y->key)
                return x->key < y->key ? 1 : -1;
        return x->index < y->index ? 1 : x->index > y->index ? -1 : 0;
}

static int compare_index(const void *a, const void *b) {
        size_t x = *(const size_t *)a, y = *(const size_t *)b;
        return (x > y) - (x < y);
}

static double value_key(const struct opt_trial *trial, bool maximize) {
        return trial->status == OPT_OBSERVED ? (maximize ? trial->y : -trial->y) : -INFINITY;
}

/* All ended trials; of more than MAX_MODEL the better half of that number and the latest others. In order of creation. */
static int choose_ended(struct evidence *evidence, const struct opt_history *history, bool maximize) {
        _cleanup_free_ struct ranked *ranked = malloc((history->n + 1) * sizeof *ranked);
        if (!ranked)
                return -ENOMEM;
        size_t n = 0;
        for (size_t i = 0; i < history->n; i++)
                if (history->trials[i].status != OPT_PENDING)
                        ranked[n++] = (struct ranked){i, value_key(&history->trials[i], maximize)};
        if (n > MAX_MODEL) {
                qsort(ranked, n, sizeof *ranked, compare_ranked);
                for (size_t i = MAX_MODEL / 2; i < n; i++)
                        ranked[i].key = (double)ranked[i].index;
                qsort(ranked + MAX_MODEL / 2, n - MAX_MODEL / 2, sizeof *ranked, compare_ranked);
                n = MAX_MODEL;
        }
        for (size_t i = 0; i < n; i++)
                evidence->chosen[i] = ranked[i].index;
        qsort(evidence->chosen, n, sizeof *evidence->chosen, compare_index);
        evidence->n_ended = n;
        return 0;
}

static void choose_pending(struct evidence *evidence, const struct opt_history *history) {
        for (size_t i = history->n; i > 0 && evidence->n_pending < MAX_PENDING; i--)
                if (history->trials[i - 1].status == OPT_PENDING)
                        evidence->chosen[evidence->n_ended + evidence->n_pending++] = i - 1;
}

/* z of the chosen ended trials; there is at least one observation among them. */
static int standardise(struct evidence *evidence, const struct opt_history *history, bool maximize) {
        size_t n = 0;
        for (size_t i = 0; i < evidence->n_ended; i++)
                if (history->trials[evidence->chosen[i]].status == OPT_OBSERVED)
                        evidence->y[n++] = history->trials[evidence->chosen[i]].y;
        int r = warp_init(&evidence->warp, evidence->y, n, maximize);
        for (size_t i = 0; r == 0 && i < evidence->n_ended; i++) {
                const struct opt_trial *trial = &history->trials[evidence->chosen[i]];
                evidence->y[i] = trial->status == OPT_OBSERVED ? warp_apply(&evidence->warp, trial->y) : warp_worst(&evidence->warp);
        }
        return r;
}

static int evidence_init(struct evidence *evidence, const struct opt_space *space, const struct opt_history *history) {
        size_t n = history->n, d = space->n_dims;
        *evidence = (struct evidence){.n_dims = d};
        evidence->features = malloc((n * (2 * d + 1) + 1) * sizeof *evidence->features);
        evidence->is_categorical = malloc(d + 1);
        evidence->chosen = malloc((n + 1) * sizeof *evidence->chosen);
        if (!evidence->features || !evidence->is_categorical || !evidence->chosen)
                return -ENOMEM;
        evidence->x = evidence->features + n * d;
        evidence->y = evidence->x + n * d;
        for (size_t k = 0; k < d; k++)
                evidence->is_categorical[k] = space->dims[k].kind == OPT_CATEGORICAL;
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < d; k++)
                        evidence->features[i * d + k] = dim_feature(&space->dims[k], history->trials[i].x[k]);
        return 0;
}

static int choose(struct evidence *evidence, const struct opt_history *history, bool maximize) {
        int r = choose_ended(evidence, history, maximize);
        if (r == 0)
                r = standardise(evidence, history, maximize);
        choose_pending(evidence, history);
        size_t d = evidence->n_dims;
        for (size_t i = 0; i < evidence->n_ended + evidence->n_pending; i++)
                memcpy(evidence->x + i * d, evidence->features + evidence->chosen[i] * d, d * sizeof *evidence->x);
        return r;
}

static struct gp_data evidence_data(const struct evidence *evidence, size_t n) {
        return (struct gp_data){
                .n = n, .n_dims = evidence->n_dims, .x = evidence->x, .y = evidence->y, .is_categorical = evidence->is_categorical};
}

/* Few trials afford restarts; of many, every k-th is enough to learn the length scales from. */
static int fit(const struct evidence *evidence, uint64_t seed, double *theta) {
        size_t n = evidence->n_ended, d = evidence->n_dims, stride = (n + MAX_FIT - 1) / MAX_FIT, count = 0;
        struct gp_data data = evidence_data(evidence, n);
        if (stride <= 1)
                return gp_fit(&data, seed, n <= 60 ? 2 : 1, n <= 60 ? 60 : 40, theta);
        _cleanup_free_ double *part = malloc((n / stride + 1) * (d + 1) * sizeof *part);
        if (!part)
                return -ENOMEM;
        double *y = part + (n / stride + 1) * d;
        for (size_t i = n - 1 - (n - 1) / stride * stride; i < n; i += stride, count++) {
                memcpy(part + count * d, evidence->x + i * d, d * sizeof *part);
                y[count] = evidence->y[i];
        }
        data = (struct gp_data){.n = count, .n_dims = d, .x = part, .y = y, .is_categorical = evidence->is_categorical};
        return gp_fit(&data, seed, 0, 40, theta);
}

/* The posterior of the ended trials; with pending ones, conditioned also on what it expects of them. */
static int condition(struct evidence *evidence, const double *theta, struct gp **ret) {
        size_t n = evidence->n_ended, m = evidence->n_pending;
        struct gp_data data = evidence_data(evidence, n);
        struct gp *gp;
        int r = gp_new(&data, theta, &gp);
        if (r != 0 || m == 0) {
                if (r == 0)
                        *ret = gp;
                return r;
        }
        _cleanup_free_ double *sd = malloc(m * sizeof *sd);
        r = sd ? gp_predict(gp, m, evidence->x + n * evidence->n_dims, evidence->y + n, sd) : -ENOMEM;
        gp_free(gp);
        if (r < 0)
                return r;
        data = evidence_data(evidence, n + m);
        return gp_new(&data, theta, ret);
}

/* --- the steps of a proposal ----------------------------------------------------------------------- */

static size_t count_status(const struct opt_history *history, enum opt_status status) {
        size_t n = 0;
        for (size_t i = 0; i < history->n; i++)
                n += history->trials[i].status == status;
        return n;
}

/* The first point of the sequence from `number` on that was not tried. */
static void propose_quasi_random(const struct opt_space *space, const struct tried *tried, const struct opt_bayes_options *options,
                                 enum opt_source source, const char *why, double *features, struct opt_proposal *ret) {
        uint64_t first = options->number ? options->number - 1 : 0;
        *ret = (struct opt_proposal){.x = ret->x, .source = source, .why = why};
        for (uint64_t skip = 0; skip < 64; skip++) {
                opt_sobol(space, options->seed, first + skip, ret->x);
                for (size_t k = 0; k < space->n_dims; k++)
                        features[k] = dim_feature(&space->dims[k], ret->x[k]);
                if (!tried_contains(tried, features))
                        return;
        }
        if (!tried_find_gap(tried, options->seed + first, ret->x))
                opt_sobol(space, options->seed, first, ret->x);
}

/* Best posterior means at observed points: the incumbent's value, and where to search closely. */
static size_t find_anchors(const struct evidence *evidence, const struct opt_history *history, const struct gp *gp, double *mean,
                           const double *ret_anchors[static N_ANCHORS], double *ret_incumbent) {
        size_t found = 0;
        gp_fitted_mean(gp, mean);
        for (; found < N_ANCHORS; found++) {
                size_t best = evidence->n_ended;
                for (size_t i = 0; i < evidence->n_ended; i++)
                        if (history->trials[evidence->chosen[i]].status == OPT_OBSERVED && mean[i] > -INFINITY &&
                            (best == evidence->n_ended || mean[i] > mean[best]))
                                best = i;
                if (best == evidence->n_ended)
                        break;
                if (found == 0)
                        *ret_incumbent = mean[best];
                ret_anchors[found] = history->trials[evidence->chosen[best]].x;
                mean[best] = -INFINITY;
        }
        return found;
}

/* While there is little evidence, expected improvement is largest in the corners, where the model knows least and good
 * values are rare. Proposals keep close to the trials at first, and anywhere once the radius reaches half the cube (the
 * shape is Vizier's, the numbers are from our benchmark). */
static double trust_radius(const struct opt_space *space, size_t n) {
        double radius = 0.02 + 0.15 * (double)n / (5 * (double)(space->n_dims + 1));
        return radius < 0.5 ? radius : 0;
}

static int propose_by_model(const struct opt_space *space, const struct opt_history *history, const struct tried *tried,
                            const struct opt_bayes_options *options, struct evidence *evidence, struct opt_proposal *ret) {
        uint64_t stream = rng_mix(options->seed) ^ options->number;
        const double *anchors[N_ANCHORS];
        struct gp *gp;
        _cleanup_free_ double *memory = malloc((history->n + space->n_dims + 2) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *theta = memory + history->n;
        int r = choose(evidence, history, options->maximize);
        if (r == 0)
                r = fit(evidence, stream, theta);
        if (r == 0)
                r = condition(evidence, theta, &gp);
        if (r != 0)
                return r;
        struct acquire_problem problem = {.space = space, .gp = gp, .tried = tried, .anchors = anchors, .seed = stream};
        problem.radius = trust_radius(space, history->n);
        problem.n_anchors = find_anchors(evidence, history, gp, memory, anchors, &problem.incumbent);
        struct acquire_result result = {.x = ret->x};
        r = acquire_maximise(&problem, &result);
        gp_free(gp);
        if (r != 0)
                return r;
        *ret = (struct opt_proposal){.x = ret->x,
                                     .source = result.is_repeat ? OPT_SOURCE_EXPLOIT : OPT_SOURCE_GP,
                                     .why = result.is_repeat ? "every point of the space was tried" : NULL,
                                     .has_prediction = true,
                                     .acquisition = result.value};
        warp_invert(&evidence->warp, result.mean, result.sd, &ret->mean, &ret->sd);
        return 0;
}

int opt_bayes(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options,
              struct opt_proposal *ret) {
        __attribute__((cleanup(evidence_fini))) struct evidence evidence = {0};
        _cleanup_free_ double *features = malloc((space->n_dims + 1) * sizeof *features);
        if (!features || evidence_init(&evidence, space, history) < 0)
                return -ENOMEM;
        struct tried tried = {.space = space, .features = evidence.features, .n = history->n};
        size_t n_initial = options->n_initial ? options->n_initial : space->n_dims <= 3 ? 4 : 6;
        if (history->n < n_initial || count_status(history, OPT_OBSERVED) < MIN_OBSERVED) {
                propose_quasi_random(space, &tried, options, OPT_SOURCE_SOBOL, NULL, features, ret);
                return 0;
        }
        int r = propose_by_model(space, history, &tried, options, &evidence, ret);
        if (r > 0) {
                propose_quasi_random(space, &tried, options, OPT_SOURCE_FALLBACK, "the model could not be fitted", features, ret);
                r = 0;
        }
        return r;
}

const char *opt_source_name(enum opt_source source) {
        static const char *const names[] = {"sobol", "random", "gp", "exploit", "fallback"};
        return names[source];
}
