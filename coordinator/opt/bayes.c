/* Bayesian optimisation, one proposal: the history becomes standardised observations, a Gaussian process is fitted, and
 * log expected improvement says where to look next.
 *
 * - Failed trials count as the worst value seen, so that the model keeps away from where trainings die.
 * - Pending trials are believed to give what the model expects of them (Ginsbourger et al. 2010, kriging believer): the
 *   deviation there shrinks, and parallel workers spread out.
 * - The incumbent is the best posterior mean at an observed point, not the best observation: a lucky seed does not raise it. Where noise
 *   is evident, expected improvement counts as far as one more trial would teach: else the search stays where trials were lucky.
 * - Trials of another sweep make a process of their own, whose mean guides the one of this sweep's trials as far as these
 *   bear it out (gp.h): alike tasks help at once, and what has nothing to do with this one, or says the opposite, does not harm.
 * - From 30 trials on (to 10 000) hyperparameters are those of all ended trials but the one that ended last: they can be found while trials
 *   run, whichever ends next (opt_prepare).
 * - The cost is bounded: beyond 700 trials the best and the latest are kept, and hyperparameters are fitted on at
 *   most 100 of these.
 * - The same history gives the same proposal: what is remembered between calls could be computed again. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/acquire.h"
#include "opt/evidence.h"
#include "opt/gp.h"
#include "opt/opt.h"
#include "opt/space.h"

#define INNER 0.8        /* of every number's range, where the first points lie */
#define GUIDED_INITIAL 3 /* the guide's best, the middle, one more: then the model knows how far to trust the guide */
#define LITTLE_NOISE 0.05 /* of the variance of all trials: the model sees as much where a function is rugged, too */
#define ALL_TRIED "every point of the space was tried"
#define FROM_FOREIGN "the best of the sweep that this one starts from"

/* --- the steps of a proposal ----------------------------------------------------------------------- */

static size_t count_status(const struct opt_history *history, enum opt_status status) {
        size_t n = 0;
        for (size_t i = 0; i < history->n; i++)
                n += history->trials[i].status == status;
        return n;
}

static bool is_parent(const struct opt_space *space, size_t dim) {
        for (size_t i = 0; i < space->n_conditions; i++)
                if (space->conditions[i].parent == dim)
                        return true;
        return false;
}

/* A point of the sequence, its numbers drawn together into `span` of their ranges, around the middle; those that conditions ask for stay, as
 * what counted for nothing was not drawn. */
static void draw_within(const struct opt_space *space, uint64_t seed, uint64_t index, double span, double *x) {
        opt_sobol(space, seed, index, x);
        if (span == 1)
                return;
        for (size_t k = 0; k < space->n_dims; k++)
                if (space->dims[k].kind != OPT_CATEGORICAL && !is_parent(space, k))
                        x[k] = opt_dim_from_unit(&space->dims[k], 0.5 + span * (opt_dim_to_unit(&space->dims[k], x[k]) - 0.5));
        opt_space_settle(space, x);
        if (!opt_space_allows(space, x))
                opt_sobol(space, seed, index, x);
}

/* The first point of the sequence from `number` on that was not tried. Of the first few, which are all that is known then, most would lie at
 * some bound, the more the more parameters there are, and say little of what is between: they keep within `span`. */
static void propose_quasi_random(const struct opt_space *space, const struct tried *tried, const struct opt_bayes_options *options, double span,
                                 enum opt_source source, const char *why, double *features, struct opt_proposal *ret) {
        uint64_t first = options->number ? options->number - 1 : 0;
        *ret = (struct opt_proposal){.x = ret->x, .lengths = ret->lengths, .source = source, .why = why};
        for (uint64_t skip = 0; skip < 64; skip++) {
                draw_within(space, options->seed, first + skip, span, ret->x);
                for (size_t k = 0; k < space->n_dims; k++)
                        features[k] = dim_feature(&space->dims[k], ret->x[k]);
                if (!tried_contains(tried, features))
                        return;
        }
        if (tried_find_gap(tried, options->seed + first, features, ret->x))
                return;
        opt_sobol(space, options->seed, first, ret->x);
        if (opt_space_cardinality(space) > 0) {
                ret->source = OPT_SOURCE_EXPLOIT;
                ret->why = ALL_TRIED;
        }
}

/* The first point of all: what is good in the middle half of the space is nearer to it than to any other. Choices are drawn. */
static void propose_middle(const struct opt_space *space, const struct opt_bayes_options *options, struct opt_proposal *ret) {
        *ret = (struct opt_proposal){.x = ret->x, .lengths = ret->lengths, .source = OPT_SOURCE_SOBOL};
        opt_sobol(space, options->seed, 0, ret->x);
        for (size_t k = 0; k < space->n_dims; k++)
                if (space->dims[k].kind != OPT_CATEGORICAL)
                        ret->x[k] = opt_dim_from_unit(&space->dims[k], 0.5);
        opt_space_settle(space, ret->x);
        if (!opt_space_allows(space, ret->x))
                opt_sobol(space, options->seed, 0, ret->x);
}

/* Best posterior means at observed points: the incumbent's value, and where to search closely. */
static size_t find_anchors(const struct evidence *evidence, const struct opt_history *history, const struct gp *gp, double *mean,
                           const double *ret_anchors[static ACQUIRE_MAX_ANCHORS], const double *ret_features[static ACQUIRE_MAX_ANCHORS],
                           double *ret_incumbent) {
        size_t found = 0;
        gp_fitted_mean(gp, mean);
        for (; found < ACQUIRE_MAX_ANCHORS; found++) {
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
                ret_features[found] = evidence->x + best * evidence->n_dims;
                mean[best] = -INFINITY;
        }
        return found;
}

/* While there is little evidence, expected improvement is largest in the corners, where the model knows least and good
 * values are rare. Proposals keep close to the best few trials at first; the volume of a region around one grows with the number of
 * trials, and once it spans the cube they go anywhere. (Vizier keeps to a region around all trials; centres and numbers are from our
 * benchmark.) */
static double trust_radius(const struct opt_space *space, size_t n) {
        size_t d = 0;
        for (size_t k = 0; k < space->n_dims; k++)
                d += space->dims[k].kind != OPT_CATEGORICAL && opt_dim_cardinality(&space->dims[k]) != 1;
        double radius = 0.12 * pow((double)n, 1 / (double)(d ? d : 1));
        return radius < 0.5 ? radius : 0;
}

static int propose_by_model(const struct opt_space *space, const struct opt_history *history, const struct tried *tried,
                            const struct opt_bayes_options *options, struct evidence *evidence, struct opt_proposal *ret) {
        uint64_t stream = rng_mix(options->seed) ^ options->number;
        const double *anchors[ACQUIRE_MAX_ANCHORS], *anchor_features[ACQUIRE_MAX_ANCHORS];
        struct gp *gp;
        _cleanup_free_ double *memory = malloc((history->n + space->n_dims + 3) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        double *theta = memory + history->n;
        evidence->has_trend = true;
        int r = evidence_choose(evidence, history, options->maximize);
        if (r == 0)
                r = evidence_fit_growing(evidence, space, history, options->maximize, options->seed, options->memory, theta);
        if (r == 0)
                r = evidence_condition(evidence, theta, &gp);
        if (r != 0)
                return r;
        struct acquire_problem problem = {.space = space, .gp = gp, .tried = tried, .anchors = anchors,
                                          .anchor_features = anchor_features, .seed = stream};
        problem.radius = trust_radius(space, history->n);
        problem.noise = fmax(0, gp_noise(gp) - LITTLE_NOISE);
        problem.n_anchors = find_anchors(evidence, history, gp, memory, anchors, anchor_features, &problem.incumbent);
        struct acquire_result result = {.x = ret->x};
        r = acquire_maximise(&problem, &result);
        gp_free(gp);
        if (r != 0)
                return r;
        *ret = (struct opt_proposal){.x = ret->x, .lengths = ret->lengths,
                                     .source = result.is_repeat ? OPT_SOURCE_EXPLOIT : OPT_SOURCE_GP,
                                     .why = result.is_repeat ? ALL_TRIED : NULL,
                                     .has_prediction = true,
                                     .acquisition = result.value};
        for (size_t k = 0; ret->lengths && k < space->n_dims; k++)
                ret->lengths[k] = exp(theta[k]);
        warp_invert(&evidence->warp, result.mean, result.sd, &ret->mean, &ret->sd);
        return 0;
}

/* The foreign trial of which the guide expects most, and which the space allows, as a point of it. */
static bool propose_foreign_best(const struct opt_space *space, const struct opt_history *foreign, const struct evidence *evidence, const struct gp *guide,
                                 struct opt_proposal *ret) {
        double best = -INFINITY;
        _cleanup_free_ double *mean = malloc((evidence->n_ended + space->n_dims + 1) * sizeof *mean);
        if (!mean)
                return false;
        double *x = mean + evidence->n_ended;
        gp_fitted_mean(guide, mean);
        for (size_t i = 0; i < evidence->n_ended; i++) {
                const struct opt_trial *trial = &foreign->trials[evidence->chosen[i]];
                if (trial->status != OPT_OBSERVED || mean[i] <= best)
                        continue;
                for (size_t k = 0; k < space->n_dims; k++)
                        x[k] = dim_snap(&space->dims[k], trial->x[k]);
                opt_space_settle(space, x);
                if (!opt_space_allows(space, x))
                        continue;
                best = mean[i];
                memcpy(ret->x, x, space->n_dims * sizeof *x);
        }
        *ret = (struct opt_proposal){.x = ret->x, .lengths = ret->lengths, .source = OPT_SOURCE_GP, .why = FROM_FOREIGN};
        return best > -INFINITY;
}

struct guidance {
        const struct gp *gp; /* NULL = none */
        const struct evidence *evidence;
        const struct opt_history *foreign;
};

static int propose(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options,
                   const struct guidance *guidance, struct opt_proposal *ret) {
        __attribute__((cleanup(evidence_fini))) struct evidence evidence = {0};
        _cleanup_free_ double *features = malloc((space->n_dims + 1) * sizeof *features);
        __attribute__((cleanup(tried_fini))) struct tried tried = {0};
        if (!features || evidence_init(&evidence, space, history) < 0 || tried_init(&tried, space, evidence.features, history->n) < 0)
                return -ENOMEM;
        evidence.guide = guidance->gp;
        evidence.guide_key = guidance->gp ? guidance->evidence->guide_key : 0;
        evidence.stop = options->stop;
        size_t n_initial = options->n_initial ? options->n_initial : space->n_dims <= 3 ? 4 : 6;
        if (guidance->gp) {
                n_initial = GUIDED_INITIAL;
                if (history->n == 0 && propose_foreign_best(space, guidance->foreign, guidance->evidence, guidance->gp, ret))
                        return 0;
        }
        if (history->n == (guidance->gp ? 1 : 0)) {
                propose_middle(space, options, ret);
                return 0;
        }
        if (options->repeats > 1)
                n_initial *= options->repeats;
        if (history->n < n_initial || count_status(history, OPT_OBSERVED) < MIN_OBSERVED) {
                propose_quasi_random(space, &tried, options, history->n < n_initial ? INNER : 1, OPT_SOURCE_SOBOL, NULL, features, ret);
                return 0;
        }
        int r = propose_by_model(space, history, &tried, options, &evidence, ret);
        if (r > 0) {
                propose_quasi_random(space, &tried, options, 1, OPT_SOURCE_FALLBACK, "the model could not be fitted", features, ret);
                r = 0;
        }
        return r;
}

/* The history apart: own trials, and the guide that others make. */
struct parts {
        struct opt_trial *trials;
        struct opt_history own, foreign;
        struct evidence evidence; /* the guide's */
        struct gp *gp;
        struct guidance guidance;
};

static void parts_fini(struct parts *parts) {
        gp_free(parts->gp);
        evidence_fini(&parts->evidence);
        free(parts->trials);
}

static int divide(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options, struct parts *ret) {
        size_t n_foreign = 0, n_own = 0, n_observed = 0;
        for (size_t i = 0; i < history->n; i++)
                n_foreign += history->trials[i].is_foreign;
        ret->own = *history;
        if (n_foreign == 0)
                return 0;
        ret->trials = malloc(history->n * sizeof *ret->trials);
        if (!ret->trials)
                return -ENOMEM;
        struct opt_trial *next_foreign = ret->trials + history->n - n_foreign;
        for (size_t i = 0; i < history->n; i++) {
                const struct opt_trial *trial = &history->trials[i];
                *(trial->is_foreign ? next_foreign++ : &ret->trials[n_own++]) = *trial;
                n_observed += trial->is_foreign && trial->status == OPT_OBSERVED;
        }
        ret->own = (struct opt_history){ret->trials, n_own};
        ret->foreign = (struct opt_history){ret->trials + n_own, n_foreign};
        ret->evidence.stop = options->stop;
        int r = n_observed < MIN_OBSERVED ? GP_NOT_FITTED
                                          : evidence_make_guide(&ret->evidence, space, &ret->foreign, options->maximize, options->seed, options->memory, &ret->gp);
        if (r == 0)
                ret->guidance = (struct guidance){ret->gp, &ret->evidence, &ret->foreign};
        return r < 0 ? r : 0;
}

int opt_bayes(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options,
              struct opt_proposal *ret) {
        __attribute__((cleanup(parts_fini))) struct parts parts = {0};
        int r = divide(space, history, options, &parts);
        return r == 0 ? propose(space, &parts.own, options, &parts.guidance, ret) : r;
}

int opt_prepare(const struct opt_space *space, const struct opt_history *history, const struct opt_bayes_options *options) {
        __attribute__((cleanup(parts_fini))) struct parts parts = {0};
        int r = divide(space, history, options, &parts);
        if (r != 0)
                return r;
        struct evidence like = {.has_trend = true, .guide = parts.gp, .guide_key = parts.gp ? parts.evidence.guide_key : 0, .stop = options->stop};
        r = evidence_fit_ahead(&like, space, &parts.own, options->maximize, options->seed, options->memory);
        return r < 0 ? r : 0;
}

const char *opt_source_name(enum opt_source source) {
        static const char *const names[] = {"sobol", "random", "gp", "exploit", "fallback"};
        return names[source];
}
