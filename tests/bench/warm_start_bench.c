/* What the trials of another sweep are worth to a new one, or cost it.
 *
 *   warm_start_bench [SEEDS]
 *
 * Four functions of 2 to 6 parameters, 30 trials each, in process. The other sweep: 60 trials within other bounds, 20 of them Sobol points, of the same function,
 * of one with a shifted optimum, of that on another scale, of its opposite, of its values in a drawn order, of noise alone. Prints the mean log of the best
 * value so far as a part of the function's mean (natural logarithm, 1e-4 at least): guided by that sweep, and with its trials taken for
 * one's own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "opt/opt.h"

#define MAX_DIMS 6
#define N_FOREIGN 60
#define N_OWN 30
#define N_SHOWN 4

static const size_t shown[N_SHOWN] = {5, 10, 20, 30};

/* --- functions on the unit cube, with their best, about 0, somewhere inside; shift: per dimension ------------- */

static double bowl(const double *u, size_t d, const double *shift) {
        double sum = 0;
        for (size_t k = 0; k < d; k++)
                sum += (double)(k + 1) * pow(u[k] - 0.37 - 0.05 * (double)k - shift[k], 2);
        return sum;
}

static double branin(const double *u, size_t d, const double *shift) {
        (void)d;
        double a = (u[0] + shift[0]) * 15 - 5, b = (u[1] + shift[1]) * 15;
        return pow(b - 5.1 / (4 * M_PI * M_PI) * a * a + 5 / M_PI * a - 6, 2) + 10 * (1 - 1 / (8 * M_PI)) * cos(a) + 10 - 0.397887;
}

static double hartmann6(const double *u, size_t d, const double *shift) {
        static const double alpha[] = {1, 1.2, 3, 3.2},
                            a[4][6] = {{10, 3, 17, 3.5, 1.7, 8}, {.05, 10, 17, .1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, .05, 10, .1, 14}},
                            p[4][6] = {{.1312, .1696, .5569, .0124, .8283, .5886},
                                       {.2329, .4135, .8307, .3736, .1004, .9991},
                                       {.2348, .1451, .3522, .2883, .3047, .6650},
                                       {.4047, .8828, .8732, .5743, .1091, .0381}};
        double sum = 0;
        for (int i = 0; i < 4; i++) {
                double e = 0;
                for (size_t k = 0; k < d; k++)
                        e += a[i][k] * pow(u[k] - shift[k] - p[i][k], 2);
                sum += alpha[i] * exp(-e);
        }
        return 3.32237 - sum;
}

static double rastrigin(const double *u, size_t d, const double *shift) {
        double sum = 0;
        for (size_t k = 0; k < d; k++) {
                double z = 4 * (u[k] - 0.6 + 0.07 * (double)k - shift[k]);
                sum += z * z + 3 * (1 - cos(2 * M_PI * z));
        }
        return sum;
}

static const struct function {
        size_t d;
        double (*at)(const double *u, size_t d, const double *shift);
} functions[] = {{6, bowl}, {2, branin}, {6, hartmann6}, {4, rastrigin}};
#define N_FUNCTIONS (sizeof functions / sizeof *functions)

/* --- studies -------------------------------------------------------------------------------------------------- */

enum other { NOTHING, SAME, SHIFTED, SCALED, OPPOSITE, SHUFFLED, NOISE, N_OTHERS };
static const char *const names[] = {"none", "the same", "shifted", "shifted and on another scale", "the opposite", "shuffled", "noise"};
static const double zero[MAX_DIMS];

struct study {
        struct opt_trial trials[N_FOREIGN + N_OWN];
        double x[N_FOREIGN + N_OWN][MAX_DIMS];
        size_t n;
};

static void cube(struct opt_dim *dims, size_t d, double low, double high) {
        for (size_t k = 0; k < d; k++)
                dims[k] = (struct opt_dim){.kind = OPT_UNIFORM, .low = low, .high = high};
}

static void propose(struct study *study, const struct opt_space *space, uint64_t seed, uint64_t number, struct opt_memory *memory) {
        struct opt_history history = {study->trials, study->n};
        struct opt_bayes_options options = {.seed = seed, .number = number, .memory = memory};
        struct opt_proposal proposal = {.x = study->x[study->n]};
        if (opt_bayes(space, &history, &options, &proposal) < 0)
                abort();
}

static void run_other(struct study *study, const struct function *function, enum other other, double mean, uint64_t seed, struct rng *rng) {
        struct opt_dim dims[MAX_DIMS];
        struct opt_space space = {.dims = dims, .n_dims = function->d};
        struct opt_memory *memory = opt_memory_new();
        double shift[MAX_DIMS];
        for (size_t k = 0; k < function->d; k++)
                shift[k] = 0.12 * rng_uniform(rng) - 0.06;
        cube(dims, function->d, 0.05, 1.1);
        for (; study->n < N_FOREIGN; study->n++) {
                double *x = study->x[study->n];
                if (study->n < 20)
                        opt_sobol(&space, seed + 900, study->n, x);
                else
                        propose(study, &space, seed + 500, study->n + 1, memory);
                double value = function->at(x, function->d, other == SAME ? zero : shift);
                value = other == SCALED ? 1000 + 37 * pow(fmax(value, 0) + 0.01 * mean, 0.7) : other == OPPOSITE ? -value : other == NOISE ? rng_normal(rng) : value;
                study->trials[study->n] = (struct opt_trial){.x = x, .y = value};
        }
        opt_memory_free(memory);
        for (size_t i = N_FOREIGN; other == SHUFFLED && i-- > 1;) {
                size_t k = rng_below(rng, i + 1);
                double y = study->trials[i].y;
                study->trials[i].y = study->trials[k].y;
                study->trials[k].y = y;
        }
}

static double mean_of(const struct function *function) {
        struct rng rng;
        double sum = 0, u[MAX_DIMS];
        rng_init(&rng, 1, function->d);
        for (int i = 0; i < 500; i++) {
                for (size_t k = 0; k < function->d; k++)
                        u[k] = rng_uniform(&rng);
                sum += function->at(u, function->d, zero) / 500;
        }
        return sum;
}

static void run(size_t f, enum other other, bool guides, uint64_t seed, double sum[N_SHOWN]) {
        const struct function *function = &functions[f];
        struct opt_dim dims[MAX_DIMS];
        struct opt_space space = {.dims = dims, .n_dims = function->d};
        struct rng rng;
        struct study study = {.n = 0};
        double mean = mean_of(function), best = INFINITY;
        rng_init(&rng, seed, f);
        if (other != NOTHING)
                run_other(&study, function, other, mean, seed, &rng);
        for (size_t i = 0; i < study.n; i++)
                study.trials[i].is_foreign = guides;
        cube(dims, function->d, 0, 1);
        struct opt_memory *memory = opt_memory_new();
        for (size_t own = 1; own <= N_OWN; own++, study.n++) {
                propose(&study, &space, seed, own, memory);
                double value = function->at(study.x[study.n], function->d, zero);
                study.trials[study.n] = (struct opt_trial){.x = study.x[study.n], .y = value};
                best = fmin(best, value);
                for (size_t i = 0; i < N_SHOWN; i++)
                        if (own == shown[i])
                                sum[i] += log(fmax(best / mean, 1e-4));
        }
        opt_memory_free(memory);
}

int main(int argc, char **argv) {
        uint64_t n_seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 12;
        if (n_seeds == 0)
                return 2;
        printf("%-30s after %zu, %zu, %zu, %zu trials\n", "the other sweep", shown[0], shown[1], shown[2], shown[3]);
        for (enum other other = NOTHING; other < N_OTHERS; other++)
                for (int guides = 1; guides >= (other != NOTHING ? 0 : 1); guides--) {
                        double sum[N_SHOWN] = {0};
                        for (size_t f = 0; f < N_FUNCTIONS; f++)
                                for (uint64_t seed = 0; seed < n_seeds; seed++)
                                        run(f, other, guides, seed, sum);
                        printf("%-30s", names[other]);
                        for (size_t i = 0; i < N_SHOWN; i++)
                                printf(" %6.2f", sum[i] / (double)(n_seeds * N_FUNCTIONS));
                        puts(guides ? "" : "  taken for own trials");
                        fflush(stdout);
                }
        return 0;
}
