/* Trials of another sweep: they help as far as they have to do with this one, and do not harm where they have not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/explain.h"
#include "opt/opt.h"

#define DIMS 4
#define N_FOREIGN 40
#define N_OWN 20
#define N_SEEDS 12

enum other { NONE, ALIKE, INVERTED, SHUFFLED, N_OTHERS };

static const struct opt_dim dims[DIMS] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1},
                                          {.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 1e-1},
                                          {.kind = OPT_UNIFORM, .low = -1, .high = 1},
                                          {.kind = OPT_CATEGORICAL, .n_choices = 3}};
static const struct opt_dim wider[DIMS] = {{.kind = OPT_UNIFORM, .low = 0.1, .high = 1.5},
                                           {.kind = OPT_LOG_UNIFORM, .low = 1e-6, .high = 1e-1},
                                           {.kind = OPT_UNIFORM, .low = -1, .high = 0.6},
                                           {.kind = OPT_CATEGORICAL, .n_choices = 3}};

/* A loss with its best, 0, at (0.7, 1e-3, −0.4, 1) + shift. */
static double loss(const double *x, const double *shift) {
        double a = x[0] - 0.7 - shift[0], b = log10(x[1]) / 4 + 0.75 - shift[1], c = (x[2] + 0.4) / 2 - shift[2];
        return a * a + 2 * b * b + c * c + a * c + 0.05 * fabs(x[3] - 1);
}

struct study {
        struct opt_trial trials[N_FOREIGN + N_OWN];
        double x[N_FOREIGN + N_OWN][DIMS];
        size_t n;
};

/* The other sweep has other bounds, another scale, and its best somewhere near. */
static void add_foreign(struct study *study, enum other other, uint64_t seed) {
        const struct opt_space space = {.dims = wider, .n_dims = DIMS};
        struct rng rng;
        rng_init(&rng, seed, 12);
        double shift[3];
        for (size_t k = 0; k < 3; k++)
                shift[k] = 0.1 * rng_uniform(&rng) - 0.05;
        for (; study->n < N_FOREIGN; study->n++) {
                opt_sobol(&space, seed + 100, study->n, study->x[study->n]);
                double value = 30 + 7 * loss(study->x[study->n], shift);
                study->trials[study->n] = (struct opt_trial){.x = study->x[study->n], .y = other == INVERTED ? -value : value, .is_foreign = true};
        }
        for (size_t i = N_FOREIGN; other == SHUFFLED && i-- > 1;) {
                size_t k = rng_below(&rng, i + 1);
                double y = study->trials[i].y;
                study->trials[i].y = study->trials[k].y;
                study->trials[k].y = y;
        }
}

/* Best losses after each trial of its own. */
static void run(struct study *study, enum other other, uint64_t seed, double ret[N_OWN]) {
        static const double none[3];
        const struct opt_space space = {.dims = dims, .n_dims = DIMS};
        struct opt_memory *memory = opt_memory_new();
        study->n = 0;
        if (other != NONE)
                add_foreign(study, other, seed);
        double best = INFINITY;
        for (size_t i = 0; i < N_OWN; i++, study->n++) {
                struct opt_history history = {study->trials, study->n};
                struct opt_bayes_options options = {.seed = seed, .number = i + 1, .memory = memory};
                double *x = study->x[study->n], again[DIMS];
                struct opt_proposal proposal = {.x = x}, without = {.x = again};
                assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                assert_true(opt_space_allows(&space, x) && x[0] <= 1 && x[1] >= 1e-5 && x[2] <= 1);
                if (i == 0 && other != NONE)
                        assert_non_null(proposal.why);
                if (i % 7 == 0) {
                        options.memory = NULL;
                        assert_int_equal(opt_bayes(&space, &history, &options, &without), 0);
                        assert_memory_equal(again, x, sizeof again);
                }
                best = fmin(best, loss(x, none));
                study->trials[study->n] = (struct opt_trial){.x = x, .y = loss(x, none)};
                ret[i] = best;
        }
        opt_memory_free(memory);
}

static void another_sweep_helps_or_does_no_harm(void **state) {
        (void)state;
        static const char *const names[] = {"none", "alike", "inverted", "shuffled"};
        double early[N_OTHERS] = {0}, late[N_OTHERS] = {0}, best[N_OWN];
        for (enum other other = NONE; other < N_OTHERS; other++) {
                for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
                        struct study study;
                        run(&study, other, seed, best);
                        early[other] += log10(fmax(best[5], 1e-6)) / N_SEEDS;
                        late[other] += log10(fmax(best[N_OWN - 1], 1e-6)) / N_SEEDS;
                }
                print_message("%s: log10 of the best after 6 %.2f, after %d %.2f\n", names[other], early[other], N_OWN, late[other]);
        }
        assert_true(early[ALIKE] < early[NONE] - 0.3);
        assert_true(late[ALIKE] < late[NONE] + 0.2);
        for (enum other other = INVERTED; other <= SHUFFLED; other++) {
                assert_true(early[other] < early[NONE] + 0.4);
                assert_true(late[other] < late[NONE] + 0.4);
        }
}

/* Its bests are not recommended as ours: what they are worth here is not known. */
static void own_trials_are_recommended_once_there_are_some(void **state) {
        (void)state;
        const struct opt_space space = {.dims = dims, .n_dims = DIMS};
        struct study study = {0};
        static const double none[3];
        add_foreign(&study, INVERTED, 3);
        for (uint64_t i = 0; i < 8; i++, study.n++) {
                opt_sobol(&space, 5, i, study.x[study.n]);
                study.trials[study.n] = (struct opt_trial){.x = study.x[study.n], .y = loss(study.x[study.n], none)};
        }
        for (size_t n = N_FOREIGN; n <= study.n; n += 8) {
                struct opt_history history = {study.trials, n};
                struct opt_model *model;
                struct opt_incumbent incumbent;
                assert_int_equal(opt_model_new(&space, &history, false, 1, &model), 0);
                assert_int_equal(opt_model_incumbent(model, NULL, &incumbent), 0);
                assert_int_equal(opt_model_n(model), n == N_FOREIGN ? N_FOREIGN : 8);
                assert_true(n == N_FOREIGN || incumbent.index >= N_FOREIGN);
                opt_model_free(model);
        }
}

/* Nothing but failures, values that are all the same, points that our constraints or bounds do not allow. */
static void odd_sweeps_to_start_from(void **state) {
        (void)state;
        const struct opt_space space = {.dims = dims, .n_dims = DIMS};
        for (int kind = 0; kind < 4; kind++) {
                struct study study = {0};
                add_foreign(&study, ALIKE, 3);
                for (size_t i = 0; i < N_FOREIGN; i++) {
                        if (kind == 0)
                                study.trials[i].status = OPT_FAILED;
                        study.trials[i].y = kind == 1 ? 4 : kind == 2 ? i % 2 ? 1e300 : -1e300 : study.trials[i].y;
                        study.x[i][0] += kind == 3 ? 50 : 0;
                }
                for (uint64_t i = 0; i < 8; i++, study.n++) {
                        struct opt_history history = {study.trials, study.n};
                        struct opt_bayes_options options = {.seed = 4, .number = i + 1};
                        struct opt_proposal proposal = {.x = study.x[study.n]};
                        assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                        for (size_t k = 0; k < DIMS; k++)
                                assert_true(opt_dim_from_unit(&dims[k], 0) <= proposal.x[k] && proposal.x[k] <= opt_dim_from_unit(&dims[k], 1) + 1e-12);
                        assert_false(isnan(proposal.mean) || isnan(proposal.sd));
                        study.trials[study.n] = (struct opt_trial){.x = proposal.x, .y = proposal.x[0]};
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(another_sweep_helps_or_does_no_harm),
                cmocka_unit_test(own_trials_are_recommended_once_there_are_some),
                cmocka_unit_test(odd_sweeps_to_start_from),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
