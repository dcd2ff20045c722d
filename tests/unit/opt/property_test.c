/* Whatever the space and the history, a proposal is a point of the space, and no repeat while there is another. */
#include <math.h>
#include <pthread.h>
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
                        assert_true(x[k] >= dim->low - 1e-9 * fabs(dim->low) && x[k] <= dim->high + 1e-9 * fabs(dim->high));
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

/* --- values of any size ------------------------------------------------------------------------------ */

#define N_STEPS 20

static const struct opt_dim square[2] = {{.kind = OPT_UNIFORM, .low = -5, .high = 10}, {.kind = OPT_UNIFORM, .low = 0, .high = 15}};

static double bowl(const double *x) {
        return pow((x[0] - 4) / 15, 2) + pow((x[1] - 11) / 15, 2);
}

/* A study whose metric is `offset + factor · bowl`; the proposals in ret, the best bowl is returned. */
static double bowl_study(double offset, double factor, bool maximize, double ret[N_STEPS][2], struct opt_proposal *ret_last) {
        struct opt_space space = {.dims = square, .n_dims = 2};
        struct opt_trial trials[N_STEPS];
        double best = INFINITY;
        for (size_t n = 0; n < N_STEPS; n++) {
                struct opt_history history = {trials, n};
                struct opt_bayes_options options = {.maximize = maximize, .seed = 3, .number = n + 1};
                *ret_last = (struct opt_proposal){.x = ret[n]};
                assert_int_equal(opt_bayes(&space, &history, &options, ret_last), 0);
                assert_inside(&space, ret[n]);
                assert_true(isfinite(ret_last->mean) && isfinite(ret_last->sd) && ret_last->sd >= 0 && !isnan(ret_last->acquisition));
                double value = offset + (maximize ? -factor : factor) * bowl(ret[n]);
                trials[n] = (struct opt_trial){.x = ret[n], .y = value, .status = OPT_OBSERVED};
                best = fmin(best, bowl(ret[n]));
        }
        return best;
}

/* A power of two changes no digit, so no proposal. */
static void the_unit_of_the_metric_does_not_matter(void **state) {
        (void)state;
        static const int exponents[] = {-900, 40, 900};
        double one[N_STEPS][2], other[N_STEPS][2];
        struct opt_proposal last, scaled;
        assert_true(bowl_study(0, 1, true, one, &last) < 1e-4);
        for (size_t i = 0; i < sizeof exponents / sizeof *exponents; i++) {
                bowl_study(0, ldexp(1, exponents[i]), true, other, &scaled);
                assert_memory_equal(one, other, sizeof one);
                assert_true(ldexp(last.mean, exponents[i]) == scaled.mean && ldexp(last.sd, exponents[i]) == scaled.sd);
        }
}

static void differences_of_any_size_are_seen(void **state) {
        (void)state;
        double points[N_STEPS][2];
        struct opt_proposal last;
        assert_true(bowl_study(1, 1e-12, false, points, &last) < 1e-2); /* four digits are left of it */
        assert_true(fabs(last.mean - 1) < 1e-12);
        assert_true(bowl_study(1e-12, 1e-12, true, points, &last) < 1e-3);
        assert_true(bowl_study(-1e12, 1e12, false, points, &last) < 1e-3);
        assert_true(bowl_study(0, 1e300, false, points, &last) < 1e-3);
        bowl_study(1e12, 1e-12, false, points, &last); /* constant to the last digit */
        bowl_study(0, 0, true, points, &last);
        bowl_study(7.5, 0, false, points, &last);
        assert_true(last.mean == 7.5);
}

/* --- 50 parameters ------------------------------------------------------------------------------------ */

#define WIDE 50
#define MANY 10

static void fifty_mixed_parameters_in_odd_histories(void **state) {
        (void)state;
        static const double odd[] = {1.7e308, -1.7e308, 5e-324, 0, -0.0, 1e-12, 1 + 1e-15, 1};
        struct rng rng;
        rng_init(&rng, 8, 50);
        static struct opt_dim dims[WIDE];
        static double points[MANY][WIDE];
        struct opt_trial trials[MANY];
        struct opt_space space = {.dims = dims, .n_dims = WIDE};
        for (size_t k = 0; k < WIDE; k++)
                dims[k] = random_dim(&rng);
        for (int kind = 0; kind < 4; kind++) /* mixed fates, all failed, all alike, extremes */
                for (size_t n = 0; n < MANY; n++) {
                        struct opt_history history = {trials, n};
                        struct opt_bayes_options options = {.maximize = kind % 2, .seed = 5, .number = n + 1};
                        struct opt_proposal proposal = {.x = points[n]};
                        assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                        assert_inside(&space, points[n]);
                        assert_false(is_repeat(&space, trials, n, points[n]));
                        assert_false(isnan(proposal.mean) || isnan(proposal.sd) || isnan(proposal.acquisition));
                        if (kind == 1)
                                assert_int_equal(proposal.source, OPT_SOURCE_SOBOL);
                        trials[n] = (struct opt_trial){.x = points[n],
                                                       .y = kind == 0   ? rng_normal(&rng)
                                                            : kind == 2 ? 0.25
                                                                        : odd[rng_below(&rng, sizeof odd / sizeof *odd)],
                                                       .status = kind == 1 ? OPT_FAILED : kind == 0 ? (enum opt_status)rng_below(&rng, 3) : OPT_OBSERVED};
                }
}

/* --- finite spaces ------------------------------------------------------------------------------------- */

/* With conditions there are fewer points than combinations: each comes once before any comes again, and then it is said. */
static void a_finite_space_with_conditions_is_used_up(void **state) {
        (void)state;
        static const struct opt_dim dims[] = {{.kind = OPT_CATEGORICAL, .n_choices = 2},
                                              {.kind = OPT_INTEGER, .low = 1, .high = 4},
                                              {.kind = OPT_UNIFORM, .low = 0.2, .high = 0.6, .step = 0.2}};
        static const double first = 0, second = 1;
        static const struct opt_condition conditions[] = {{.dim = 1, .parent = 0, .values = &first, .n_values = 1},
                                                          {.dim = 2, .parent = 0, .values = &second, .n_values = 1}};
        struct opt_space space = {.dims = dims, .n_dims = 3, .conditions = conditions, .n_conditions = 2};
        enum { POINTS = 4 + 3 };
        double points[POINTS + 1][3];
        struct opt_trial trials[POINTS + 1];
        for (size_t n = 0; n <= POINTS; n++) {
                struct opt_history history = {trials, n};
                struct opt_bayes_options options = {.seed = 2, .number = n + 1};
                struct opt_proposal proposal = {.x = points[n]};
                assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                assert_int_equal(is_repeat(&space, trials, n, points[n]), n == POINTS);
                assert_int_equal(proposal.source == OPT_SOURCE_EXPLOIT && proposal.why, n == POINTS);
                trials[n] = (struct opt_trial){.x = points[n], .y = points[n][1] + points[n][2], .status = n % 4 == 3 ? OPT_FAILED : OPT_OBSERVED};
        }
}

/* --- threads ------------------------------------------------------------------------------------------- */

static void *study_in_thread(void *ret) {
        struct opt_proposal last;
        bowl_study(0, 1, false, ret, &last);
        return NULL;
}

static void proposals_are_the_same_in_threads_side_by_side(void **state) {
        (void)state;
        enum { THREADS = 3 };
        static double alone[N_STEPS][2], beside[THREADS][N_STEPS][2];
        pthread_t threads[THREADS];
        study_in_thread(alone);
        for (size_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, study_in_thread, beside[i]), 0);
        for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        for (size_t i = 0; i < THREADS; i++)
                assert_memory_equal(alone, beside[i], sizeof alone);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_proposal_is_a_new_point_of_the_space), cmocka_unit_test(the_unit_of_the_metric_does_not_matter),
                cmocka_unit_test(differences_of_any_size_are_seen),           cmocka_unit_test(fifty_mixed_parameters_in_odd_histories),
                cmocka_unit_test(a_finite_space_with_conditions_is_used_up),  cmocka_unit_test(proposals_are_the_same_in_threads_side_by_side),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
