#include "opt/chain.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"

#define COMMON_VARIANCE 1.0 /* of the log length scales that are drawn: of their mean, and of each around it; the sum is the model's */
#define APART_VARIANCE (GP_LENGTH_VARIANCE - COMMON_VARIANCE)
#define ENTRY_VARIANCE 2.25 /* around the others, of one that is proposed in CHAIN_FLAT's place */
#define MIN_ROUNDS 3        /* from one draw to the next: steps for each hyperparameter … */
#define ROUND_TRIALS 600    /* and how many more, by so many trials: few trials tell little, and cost little */
#define MAX_WORK 3e8        /* of these steps together, in operations or so */

struct chain {
        const struct gp_data *data;
        size_t d;
        double *theta, *next; /* d + 2 */
        double *shortest;     /* d: log length scales */
        double *scratch;
        double likelihood, prior; /* their negative logarithms */
        struct rng rng;
};

static double square(double x) {
        return x * x;
}

/* How many dimensions but `but` do something, and the mean of their log length scales. */
static size_t chain_active(const struct chain *chain, const double *theta, size_t but, double *ret_mean) {
        size_t n = 0;
        double sum = 0;
        for (size_t k = 0; k < chain->d; k++)
                if (k != but && theta[k] != CHAIN_FLAT) {
                        sum += theta[k];
                        n++;
                }
        *ret_mean = n ? sum / (double)n : 0;
        return n;
}

static double chain_prior(const struct chain *chain, const double *theta) {
        size_t d = chain->d;
        double mean, count = (double)chain_active(chain, theta, d, &mean), all = (double)d;
        if (count == 0 || fabs(theta[d]) > 4 || theta[d + 1] < -10 || theta[d + 1] > 2)
                return INFINITY;
        double of_mean = APART_VARIANCE + count * COMMON_VARIANCE;
        double sum = square(theta[d]) / 2 + square(theta[d + 1] - GP_WIDE_NOISE_MEAN) / (2 * GP_WIDE_NOISE_VARIANCE);
        sum += 0.5 * count * square(mean - M_SQRT2 - 0.5 * log(all)) / of_mean + 0.5 * log(of_mean) + 0.5 * (count - 1) * log(APART_VARIANCE);
        for (size_t k = 0; k < d; k++) {
                if (theta[k] == CHAIN_FLAT)
                        continue;
                if (theta[k] < chain->shortest[k] || theta[k] > log(GP_LONGEST))
                        return INFINITY;
                sum += square(theta[k] - mean) / (2 * APART_VARIANCE);
        }
        int sign;
        return sum + lgamma_r(all + 1, &sign) - lgamma_r(count + 1, &sign) - lgamma_r(all - count + 1, &sign); /* one of so many choices of as many */
}

/* Goes to next, unless chance is against it. entry: the negative log density of the way there, less that of the way back. */
static void chain_try(struct chain *chain, double entry) {
        double prior = chain_prior(chain, chain->next), chance = log(fmax(rng_uniform(&chain->rng), 1e-300));
        if (!isfinite(prior))
                return;
        double proposed = gp_likelihood(chain->data, chain->next, chain->scratch);
        if (!(proposed < chain->likelihood + chain->prior + entry - prior - chance))
                return;
        chain->likelihood = proposed;
        chain->prior = prior;
        memcpy(chain->theta, chain->next, (chain->d + 2) * sizeof *chain->theta);
}

static double chain_stride(struct chain *chain) {
        static const double widths[] = {0.1, 0.4, 1.5};
        return widths[rng_below(&chain->rng, 3)] * rng_normal(&chain->rng);
}

/* One that does something does nothing, or the other way round. */
static void chain_toggle(struct chain *chain, size_t k) {
        double mean;
        if (chain_active(chain, chain->theta, k, &mean) == 0)
                return; /* the only one */
        bool enters = chain->theta[k] == CHAIN_FLAT;
        double length = enters ? mean + sqrt(ENTRY_VARIANCE) * rng_normal(&chain->rng) : chain->theta[k];
        double density = square(length - mean) / (2 * ENTRY_VARIANCE) + 0.5 * log(ENTRY_VARIANCE);
        chain->next[k] = enters ? length : CHAIN_FLAT;
        chain_try(chain, enters ? density : -density);
}

/* One of the length scales moves; one that does nothing changes places with another. */
static void chain_move(struct chain *chain, size_t k) {
        if (chain->theta[k] != CHAIN_FLAT) {
                chain->next[k] += chain_stride(chain);
        } else {
                size_t other = (size_t)rng_below(&chain->rng, chain->d);
                if (chain->theta[other] == CHAIN_FLAT)
                        return;
                chain->next[k] = chain->theta[other];
                chain->next[other] = CHAIN_FLAT;
        }
        chain_try(chain, 0);
}

/* All length scales, also so that functions stay about as steep. */
static void chain_stretch(struct chain *chain, bool with_signal) {
        double stride = chain_stride(chain);
        for (size_t k = 0; k < chain->d; k++)
                chain->next[k] += chain->theta[k] != CHAIN_FLAT ? stride : 0;
        chain->next[chain->d] += with_signal ? 2 * stride : 0;
        chain_try(chain, 0);
}

static void chain_step(struct chain *chain) {
        size_t d = chain->d, which = (size_t)rng_below(&chain->rng, 2 * d + 4);
        memcpy(chain->next, chain->theta, (d + 2) * sizeof *chain->next);
        if (which < d) {
                chain_toggle(chain, which);
        } else if (which < 2 * d) {
                chain_move(chain, which - d);
        } else if (which < 2 * d + 2) {
                chain->next[which - d] += chain_stride(chain); /* signal, noise */
                chain_try(chain, 0);
        } else {
                chain_stretch(chain, which == 2 * d + 2);
        }
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

/* No surprises are expected between the values that were tried: of a grid with two levels no observation tells that there are none. */
static double shortest_length(const struct gp_data *data, size_t k, double *scratch) {
        double gap = GP_SHORTEST;
        for (size_t i = 0; i < data->n; i++)
                scratch[i] = data->x[i * data->n_dims + k];
        qsort(scratch, data->n, sizeof *scratch, compare);
        for (size_t i = 1; i < data->n && !data->is_categorical[k]; i++)
                gap = fmax(gap, scratch[i] - scratch[i - 1]);
        return log(fmin(gap, 1));
}

int chain_draw(const struct gp_data *data, const double *mode, uint64_t seed, size_t n_draws, double *ret_thetas) {
        size_t d = data->n_dims, n_theta = d + 2;
        double n = (double)data->n, work = n * n * (n / 3 + (double)d + 20);
        size_t n_steps = (size_t)fmin((MIN_ROUNDS + ROUND_TRIALS / (n + 1)) * (double)(2 * d + 4), 1 + MAX_WORK / work);
        _cleanup_free_ double *memory = malloc((gp_scratch_size(data->n, d) + 3 * n_theta) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        struct chain chain = {.data = data, .d = d, .theta = memory, .next = memory + n_theta, .shortest = memory + 2 * n_theta};
        chain.scratch = memory + 3 * n_theta;
        for (size_t k = 0; k < d; k++) {
                chain.shortest[k] = shortest_length(data, k, chain.scratch);
                chain.theta[k] = fmin(fmax(mode[k], chain.shortest[k]), log(GP_LONGEST) - 1e-9);
        }
        chain.theta[d] = fmin(fmax(mode[d], -3.9), 3.9);
        chain.theta[d + 1] = fmax(mode[d + 1], -9.9);
        chain.likelihood = gp_likelihood(data, chain.theta, chain.scratch);
        chain.prior = chain_prior(&chain, chain.theta);
        rng_init(&chain.rng, seed, 0x746874);
        for (size_t t = 0; t < n_draws; t++) {
                for (size_t step = 0; step < (t == 0 ? 4 : 1) * n_steps; step++)
                        chain_step(&chain);
                memcpy(ret_thetas + t * n_theta, chain.theta, n_theta * sizeof *ret_thetas);
        }
        return 0;
}
