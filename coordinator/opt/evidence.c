#include "opt/evidence.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/memory.h"
#include "opt/space.h"

#define MAX_MODEL 700   /* ended trials in the posterior */
#define MAX_PENDING 250 /* the latest, beside them */
#define MAX_FIT 100     /* trials that hyperparameters are fitted on */

void evidence_fini(struct evidence *evidence) {
        free(evidence->features);
        free(evidence->is_categorical);
        free(evidence->chosen);
        free(evidence->guided);
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

/* All ended trials; of too many the better half of that number and the latest others. In order of creation. */
static int choose_ended(struct evidence *evidence, const struct opt_history *history, bool maximize) {
        _cleanup_free_ struct ranked *ranked = malloc((history->n + 1) * sizeof *ranked);
        if (!ranked)
                return -ENOMEM;
        size_t n = 0, max = evidence->max_ended ? evidence->max_ended : MAX_MODEL;
        for (size_t i = 0; i < history->n; i++)
                if (history->trials[i].status != OPT_PENDING && !(evidence->skips_foreign && history->trials[i].is_foreign))
                        ranked[n++] = (struct ranked){i, value_key(&history->trials[i], maximize)};
        if (n > max) {
                qsort(ranked, n, sizeof *ranked, compare_ranked);
                for (size_t i = max / 2; i < n; i++)
                        ranked[i].key = (double)ranked[i].index;
                qsort(ranked + max / 2, n - max / 2, sizeof *ranked, compare_ranked);
                n = max;
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

int evidence_init(struct evidence *evidence, const struct opt_space *space, const struct opt_history *history) {
        size_t n = history->n, d = space->n_dims;
        *evidence = (struct evidence){.n_dims = d, .stop = evidence->stop};
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

int evidence_choose(struct evidence *evidence, const struct opt_history *history, bool maximize) {
        int r = choose_ended(evidence, history, maximize);
        if (r == 0)
                r = standardise(evidence, history, maximize);
        choose_pending(evidence, history);
        size_t d = evidence->n_dims;
        for (size_t i = 0; i < evidence->n_ended + evidence->n_pending; i++)
                memcpy(evidence->x + i * d, evidence->features + evidence->chosen[i] * d, d * sizeof *evidence->x);
        if (r == 0 && evidence->guide) {
                evidence->guided = malloc((evidence->n_ended + evidence->n_pending + 1) * sizeof *evidence->guided);
                if (!evidence->guided)
                        return -ENOMEM;
                for (size_t i = 0; i < evidence->n_ended + evidence->n_pending; i++)
                        evidence->guided[i] = gp_predict_mean(evidence->guide, evidence->x + i * d);
        }
        return r;
}

struct gp_data evidence_data(const struct evidence *evidence, size_t n) {
        return (struct gp_data){
                .n = n, .n_dims = evidence->n_dims, .x = evidence->x, .y = evidence->y, .is_categorical = evidence->is_categorical,
                .expects_noise = evidence->expects_noise, .has_trend = evidence->has_trend, .guide = evidence->guide, .guided = evidence->guided,
                .stop = evidence->stop};
}

size_t evidence_pick(size_t n, size_t max, uint64_t seed, size_t *ret) {
        struct rng rng;
        rng_init(&rng, seed, 0x7069636b);
        size_t count = n < max ? n : max;
        for (size_t i = 0; i < count; i++) {
                size_t from = i * n / count, to = (i + 1) * n / count;
                ret[i] = from + (to - from > 1 ? (size_t)rng_below(&rng, to - from) : 0);
        }
        return count;
}

/* What hyperparameters are learned from: of many trials, MAX_FIT from all parts of their order. */
struct thinned {
        struct gp_data data;
        double *memory; /* NULL while it is the evidence itself */
};

static int thin(const struct evidence *evidence, uint64_t seed, struct thinned *ret) {
        size_t n = evidence->n_ended, d = evidence->n_dims;
        *ret = (struct thinned){.data = evidence_data(evidence, n)};
        if (n <= MAX_FIT)
                return 0;
        ret->memory = malloc(MAX_FIT * (d + 2) * sizeof *ret->memory);
        if (!ret->memory)
                return -ENOMEM;
        double *x = ret->memory, *y = x + MAX_FIT * d, *guided = y + MAX_FIT;
        size_t chosen[MAX_FIT];
        evidence_pick(n, MAX_FIT, seed, chosen);
        chosen[MAX_FIT - 1] = n - 1; /* the latest */
        for (size_t count = 0; count < MAX_FIT; count++) {
                size_t i = chosen[count];
                memcpy(x + count * d, evidence->x + i * d, d * sizeof *x);
                y[count] = evidence->y[i];
                guided[count] = evidence->guide ? evidence->guided[i] : 0;
        }
        ret->data.n = MAX_FIT;
        ret->data.x = x;
        ret->data.y = y;
        ret->data.guided = guided;
        return 0;
}

/* Few trials afford restarts. */
int evidence_fit(const struct evidence *evidence, uint64_t seed, double *theta) {
        size_t n = evidence->n_ended;
        struct thinned thinned;
        int r = thin(evidence, seed, &thinned);
        if (r == 0)
                r = gp_fit(&thinned.data, seed, n <= 60 ? 2 : n <= MAX_FIT ? 1 : 0, n <= 60 ? 60 : 40, theta);
        free(thinned.memory);
        return r;
}

int evidence_condition(struct evidence *evidence, const double *theta, struct gp **ret) {
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
        data = evidence_data(evidence, n + m);
        if (r == 0)
                r = gp_grow(gp, &data, theta, ret);
        gp_free(gp);
        return r;
}

/* --- a growing history ------------------------------------------------------------------------------ */

#define ALWAYS_BELOW (OPT_PREPARED_FROM + 1) /* trials: a whole fit costs little */
#define GROWTH 1.25        /* from one whole fit to the next */
#define REFINE_STEPS 12

/* The length at which the last whole fit was made. */
static size_t last_whole_fit(size_t n) {
        size_t at = ALWAYS_BELOW;
        if (n < at)
                return n;
        for (size_t next = at; next <= n; next = (size_t)ceil((double)next * GROWTH))
                at = next;
        return at;
}

static uint64_t mix_double(uint64_t key, double value) {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        return rng_mix(key ^ bits) + key;
}

static uint64_t history_key(const struct opt_space *space, const struct opt_history *history, bool maximize, uint64_t seed) {
        uint64_t key = rng_mix(seed + maximize) + space->n_dims;
        for (size_t k = 0; k < space->n_dims; k++) {
                const struct opt_dim *dim = &space->dims[k];
                const double members[] = {dim->kind, dim->low, dim->high, dim->mu, dim->sigma, dim->a, dim->b, dim->step, (double)dim->n_choices};
                for (size_t i = 0; i < sizeof members / sizeof *members; i++)
                        key = mix_double(key, members[i]);
        }
        for (size_t i = 0; i < history->n; i++) {
                const struct opt_trial *trial = &history->trials[i];
                key = mix_double(rng_mix(key ^ trial->ended), trial->status == OPT_OBSERVED ? trial->y : NAN);
                for (size_t k = 0; k < space->n_dims; k++)
                        key = mix_double(key, trial->x[k]);
        }
        return key ? key : 1;
}

struct ending {
        uint64_t ended;
        size_t index;
};

static bool is_before(struct ending a, struct ending b) {
        return a.ended != b.ended ? a.ended < b.ended : a.index < b.index;
}

static int compare_endings(const void *a, const void *b) {
        const struct ending *x = a, *y = b;
        return is_before(*y, *x) - is_before(*x, *y);
}

#define MAX_ROUNDS 32 /* a few do where the order is nearly that of creation */

/* The n-th of all (0 < n ≤ count) in their order, by quickselect. They are moved about. */
static struct ending select_ending(struct ending *endings, size_t count, size_t n) {
        size_t low = 0, high = count; /* it is among these */
        for (int round = 0; round < MAX_ROUNDS && high - low > 1; round++) {
                struct ending pivot = endings[n - 1];
                size_t place = low;
                endings[n - 1] = endings[high - 1];
                for (size_t i = low; i + 1 < high; i++)
                        if (is_before(endings[i], pivot)) {
                                struct ending moved = endings[i];
                                endings[i] = endings[place];
                                endings[place++] = moved;
                        }
                endings[high - 1] = endings[place];
                endings[place] = pivot;
                if (place == n - 1)
                        return pivot;
                *(place < n ? &low : &high) = place < n ? place + 1 : place;
        }
        qsort(endings + low, high - low, sizeof *endings, compare_endings);
        return endings[n - 1];
}

/* The end of the n-th trial to end, of at least n. */
static int nth_ending(const struct opt_history *history, size_t n, struct ending *ret) {
        _cleanup_free_ struct ending *endings = malloc((history->n + 1) * sizeof *endings);
        if (!endings)
                return -ENOMEM;
        size_t count = 0;
        bool is_ordered = true; /* one trial at a time, or an import */
        for (size_t i = 0; i < history->n; i++)
                if (history->trials[i].status != OPT_PENDING) {
                        endings[count++] = (struct ending){history->trials[i].ended, i};
                        is_ordered &= count < 2 || is_before(endings[count - 2], endings[count - 1]);
                }
        *ret = is_ordered ? endings[n - 1] : select_ending(endings, count, n);
        return 0;
}

/* The n trials that ended first, in order of creation. */
struct beginning {
        struct opt_trial *trials;
        struct opt_history history;
        bool is_observed; /* any of them */
};

static int begin(const struct opt_history *history, size_t n, struct beginning *ret) {
        struct ending last;
        struct opt_trial *trials = malloc(n * sizeof *trials);
        *ret = (struct beginning){.trials = trials};
        if (!trials || nth_ending(history, n, &last) < 0)
                return -ENOMEM;
        size_t count = 0;
        for (size_t i = 0; i < history->n && count < n; i++)
                if (history->trials[i].status != OPT_PENDING && !is_before(last, (struct ending){history->trials[i].ended, i})) {
                        trials[count++] = history->trials[i];
                        ret->is_observed |= history->trials[i].status == OPT_OBSERVED;
                }
        ret->history = (struct opt_history){trials, count};
        return 0;
}

static void beginning_fini(struct beginning *beginning) {
        free(beginning->trials);
}

/* By the same model as `like`. */
static int take_evidence(const struct evidence *like, const struct opt_space *space, const struct opt_history *history, bool maximize, struct evidence *ret) {
        int r = evidence_init(ret, space, history);
        ret->expects_noise = like->expects_noise;
        ret->has_trend = like->has_trend;
        ret->guide = like->guide;
        ret->stop = like->stop;
        return r == 0 ? evidence_choose(ret, history, maximize) : r;
}

/* From a theta that was found for fewer trials. */
static int refine(const struct evidence *evidence, uint64_t seed, double *theta) {
        struct thinned thinned = {0};
        int r = thin(evidence, seed, &thinned);
        if (r == 0)
                r = gp_refine(&thinned.data, REFINE_STEPS, theta);
        free(thinned.memory);
        return r;
}

/* Hyperparameters of the first n ended trials: by a whole fit, or refined from the last whole fit before. */
static int fit_first(enum memory_kind kind, const struct evidence *like, const struct opt_space *space, const struct opt_history *history, size_t n, bool maximize,
                     uint64_t seed, struct opt_memory *memory, double *theta) {
        size_t n_theta = space->n_dims + 2 + like->has_trend;
        __attribute__((cleanup(beginning_fini))) struct beginning first = {0};
        int r = begin(history, n, &first);
        if (r < 0)
                return r;
        if (!first.is_observed)
                return GP_NOT_FITTED;
        uint64_t key = history_key(space, &first.history, maximize, seed) ^ like->guide_key;
        if (memory_recall(memory, kind, key, n_theta, theta))
                return 0;
        if (kind == MEMORY_REFINED)
                r = fit_first(MEMORY_WHOLE, like, space, &first.history, last_whole_fit(n), maximize, seed, memory, theta);
        if (r != 0)
                return r;
        __attribute__((cleanup(evidence_fini))) struct evidence evidence = {0};
        r = take_evidence(like, space, &first.history, maximize, &evidence);
        if (r == 0)
                r = kind == MEMORY_WHOLE ? evidence_fit(&evidence, seed, theta) : refine(&evidence, seed, theta);
        if (r == 0)
                memory_keep(memory, kind, key, n_theta, theta);
        return r;
}

static size_t count_ended(const struct opt_history *history) {
        size_t n = 0;
        for (size_t i = 0; i < history->n; i++)
                n += history->trials[i].status != OPT_PENDING;
        return n;
}

int evidence_fit_ahead(const struct evidence *like, const struct opt_space *space, const struct opt_history *history, bool maximize, uint64_t seed,
                       struct opt_memory *memory) {
        size_t n = count_ended(history);
        _cleanup_free_ double *theta = malloc((space->n_dims + 3) * sizeof *theta);
        if (!theta)
                return -ENOMEM;
        return n < OPT_PREPARED_FROM || n > OPT_PREPARED_MAX ? 0 : fit_first(MEMORY_REFINED, like, space, history, n, maximize, seed, memory, theta);
}

int evidence_fit_growing(const struct evidence *evidence, const struct opt_space *space, const struct opt_history *history, bool maximize,
                         uint64_t seed, struct opt_memory *memory, double *theta) {
        size_t n = count_ended(history);
        if (n < ALWAYS_BELOW)
                return evidence_fit(evidence, seed, theta);
        bool is_long = n - 1 > OPT_PREPARED_MAX;
        uint64_t before = memory_count_kept(memory);
        int r = is_long ? fit_first(MEMORY_WHOLE, evidence, space, history, last_whole_fit(n), maximize, seed, memory, theta)
                        : fit_first(MEMORY_REFINED, evidence, space, history, n - 1, maximize, seed, memory, theta);
        if (r == 0 && is_long)
                r = refine(evidence, seed, theta);
        if (r == 0)
                memory_note_proposal(memory, !is_long && memory_count_kept(memory) == before);
        return r == GP_NOT_FITTED ? evidence_fit(evidence, seed, theta) : r;
}

/* --- another sweep's trials -------------------------------------------------------------------------- */

#define MAX_GUIDE 250 /* a guide is asked at every point that the search looks at */

int evidence_make_guide(struct evidence *evidence, const struct opt_space *space, const struct opt_history *foreign, bool maximize, uint64_t seed,
                        struct opt_memory *memory, struct gp **ret) {
        size_t n_theta = space->n_dims + 3;
        _cleanup_free_ double *theta = malloc(n_theta * sizeof *theta);
        int r = theta ? evidence_init(evidence, space, foreign) : -ENOMEM;
        if (r < 0)
                return r;
        evidence->has_trend = true;
        evidence->max_ended = MAX_GUIDE;
        evidence->guide_key = history_key(space, foreign, maximize, seed);
        r = evidence_choose(evidence, foreign, maximize);
        if (r == 0 && !memory_recall(memory, MEMORY_GUIDE, evidence->guide_key, n_theta, theta)) {
                r = evidence_fit(evidence, seed, theta);
                if (r == 0)
                        memory_keep(memory, MEMORY_GUIDE, evidence->guide_key, n_theta, theta);
        }
        return r == 0 ? evidence_condition(evidence, theta, ret) : r;
}
