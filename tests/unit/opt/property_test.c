/* Whatever the space and the history, a proposal is a point of the space, and no repeat while there is another. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/opt.h"
#include "opt/space.h"

#define MAX_DIMS 6
#define MAX_TRIALS 18
#define N_STUDIES 6

static const double weights[4] = {0.5, 0, 0.25, 0.25};

static struct opt_dim random_dim(struct rng *rng) {
        struct opt_dim dim = {.kind = (enum opt_kind)rng_below(rng, 8)};
        double a = 1e-6 + pow(10, 4 * rng_uniform(rng) - 2), b = pow(10, 3 * rng_uniform(rng));
        dim.low = a;
        dim.high = rng_below(rng, 12) ? a * (1 + b) : a;
        dim.mu = 4 * rng_uniform(rng) - 2;
        dim.sigma = rng_below(rng, 10) ? b / 100 : 0;
        dim.a = 0.2 + 3 * rng_uniform(rng);
        dim.b = 0.2 + 3 * rng_uniform(rng);
        dim.step = rng_below(rng, 3) ? 0 : a * pow(10, 2 * rng_uniform(rng) - 1.5);
        if (dim.kind == OPT_NORMAL || dim.kind == OPT_LOG_NORMAL)
                dim.step = fmin(dim.step, dim.sigma / 2); /* else all but one value are next to impossible */
        if (dim.kind == OPT_CATEGORICAL) {
                dim.n_choices = 1 + rng_below(rng, 4);
                dim.probabilities = dim.n_choices == 4 ? weights : NULL;
        } else if (dim.kind == OPT_INTEGER) {
                dim.low = floor(4 * rng_uniform(rng));
                dim.high = dim.low + floor(b);
        }
        if (rng_below(rng, 8) == 0) {
                dim.held_value = opt_dim_from_unit(&dim, rng_uniform(rng));
                dim.held = true;
        }
        return dim;
}

static void assert_inside(const struct opt_space *space, const double *x) {
        for (size_t k = 0; k < space->n_dims; k++) {
                const struct opt_dim *dim = &space->dims[k];
                assert_true(isfinite(x[k]));
                if (dim->held)
                        assert_true(x[k] == dim->held_value);
                else if (dim->kind == OPT_CATEGORICAL)
                        assert_true(x[k] >= 0 && x[k] < (double)dim->n_choices && dim_choice_allowed(dim, (size_t)x[k]));
                else if (dim->kind == OPT_BETA)
                        assert_true(x[k] >= 0 && x[k] <= 1);
                else if (dim->kind == OPT_LOG_NORMAL)
                        assert_true(x[k] >= 0);
                else if (dim->kind != OPT_NORMAL)
                        assert_true(x[k] >= dim->low * (1 - 1e-9) && x[k] <= dim->high * (1 + 1e-9));
                if (!dim->held)
                        assert_true(dim_snap(dim, x[k]) == x[k]);
        }
}

static bool is_repeat(const struct opt_space *space, const struct opt_trial *trials, size_t n, const double *x) {
        for (size_t i = 0; i < n; i++)
                if (memcmp(trials[i].x, x, space->n_dims * sizeof *x) == 0)
                        return true;
        return false;
}

static void one_study(uint64_t seed) {
        struct rng rng;
        rng_init(&rng, seed, 99);
        struct opt_dim dims[MAX_DIMS];
        struct opt_space space = {.dims = dims, .n_dims = 1 + rng_below(&rng, MAX_DIMS)};
        struct opt_trial trials[MAX_TRIALS];
        double points[MAX_TRIALS][MAX_DIMS];
        for (size_t k = 0; k < space.n_dims; k++)
                dims[k] = random_dim(&rng);
        uint64_t cardinality = opt_space_cardinality(&space);
        size_t n_own = 0; /* points of the space among the trials: the others were brought from elsewhere */
        for (size_t n = 0; n < MAX_TRIALS; n++) {
                struct opt_history history = {trials, n};
                struct opt_bayes_options options = {.maximize = seed % 2, .seed = seed, .number = n + 1};
                struct opt_proposal proposal = {.x = points[n]};
                assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                assert_inside(&space, points[n]);
                bool repeats = is_repeat(&space, trials, n, points[n]);
                if (cardinality == 0 || n_own < cardinality)
                        assert_false(repeats);
                if (n % 6 == 5) { /* evidence from anywhere */
                        for (size_t k = 0; k < space.n_dims; k++)
                                points[n][k] = dims[k].kind == OPT_CATEGORICAL ? (double)rng_below(&rng, dims[k].n_choices)
                                                                               : 100 * rng_normal(&rng);
                } else {
                        n_own += !repeats;
                }
                uint64_t fate = rng_below(&rng, 6);
                trials[n] = (struct opt_trial){.x = points[n],
                                               .y = rng_normal(&rng) * pow(10, 6 * rng_uniform(&rng) - 3),
                                               .status = fate == 0   ? OPT_FAILED
                                                         : fate == 1 ? OPT_PENDING
                                                                     : OPT_OBSERVED};
        }
}

static void every_proposal_is_a_new_point_of_the_space(void **state) {
        (void)state;
        for (uint64_t seed = 0; seed < N_STUDIES; seed++)
                one_study(seed);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(every_proposal_is_a_new_point_of_the_space)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
