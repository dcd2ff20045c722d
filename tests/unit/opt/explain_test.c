#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/explain.h"
#include "opt/gp.h"
#include "opt/paths.h"

#define MAX_TRIALS 128
#define MAX_DIMS 6

struct study {
        struct opt_dim dims[MAX_DIMS];
        struct opt_space space;
        struct opt_trial trials[MAX_TRIALS];
        double x[MAX_TRIALS * MAX_DIMS];
        struct opt_history history;
        struct opt_effect effects[MAX_DIMS]; /* importance() */
        struct opt_pair pairs[3];
        size_t n_pairs;
};

static void study_init(struct study *study, size_t n_dims, size_t n, uint64_t seed, double (*f)(const double *x), double noise) {
        struct rng rng;
        rng_init(&rng, seed, 1);
        for (size_t k = 0; k < n_dims; k++)
                study->dims[k] = (struct opt_dim){.kind = OPT_UNIFORM, .low = 0, .high = 1};
        study->space = (struct opt_space){.dims = study->dims, .n_dims = n_dims};
        for (size_t i = 0; i < n; i++) {
                double *x = study->x + i * n_dims;
                opt_random(&study->space, seed, i, x);
                study->trials[i] = (struct opt_trial){.x = x, .y = (f ? f(x) : 0) + noise * rng_normal(&rng), .status = OPT_OBSERVED};
        }
        study->history = (struct opt_history){study->trials, n};
}

static void importance(struct study *study) {
        struct opt_model *model;
        assert_int_equal(opt_model_new(&study->space, &study->history, false, 7, &model), 0);
        assert_int_equal(opt_model_importance(model, study->effects, 3, study->pairs, &study->n_pairs), 0);
        opt_model_free(model);
}

/* --- importance ------------------------------------------------------------------------------------ */

static double ishigami_like(const double *x) {
        return 3 * x[0] + 8 * (x[1] - 0.5) * (x[2] - 0.5);
}

static void shares_are_those_of_the_function(void **state) {
        (void)state;
        struct study study = {0};
        study_init(&study, 5, 100, 3, ishigami_like, 0.01);
        importance(&study);
        /* Var(3 x0) = 9/12 = .75; the product has 64/144 = .444. The warp bends the worse half, so only about. */
        assert_true(fabs(study.effects[0].share - 0.63) < 0.12);
        assert_true(study.effects[0].low > 0.4 && study.effects[0].high < 0.85);
        for (size_t k = 0; k < 3; k++)
                assert_true(study.effects[k].is_distinguishable);
        for (size_t k = 3; k < 5; k++) {
                assert_false(study.effects[k].is_distinguishable);
                assert_true(study.effects[k].share < 0.05 && study.effects[k].total < 0.05);
        }
        assert_true(study.effects[1].share < 0.1 && study.effects[1].total > 0.2);
        assert_true(study.n_pairs > 0);
        assert_int_equal(study.pairs[0].a, 1);
        assert_int_equal(study.pairs[0].b, 2);
        assert_true(fabs(study.pairs[0].share - 0.37) < 0.15 && study.pairs[0].low > 0.1);
}

static void pure_noise_has_no_important_dimension(void **state) {
        (void)state;
        static const size_t sizes[] = {8, 20, 60};
        int n_distinguished = 0;
        for (uint64_t seed = 0; seed < 30; seed++) {
                struct study study = {0};
                study_init(&study, 4, sizes[seed % 3], seed, NULL, 1);
                importance(&study);
                for (size_t k = 0; k < 4; k++)
                        n_distinguished += study.effects[k].is_distinguishable;
        }
        assert_true(n_distinguished <= 2); /* of 120 */
}

/* Two of three matter, alike; the noise is as large as both. */
static double two_of_three(const double *x) {
        return 3.5 * (x[0] - 0.5) + 1.4 * sin(2 * M_PI * x[1]);
}

static void intervals_hold_the_truth_where_noise_hides_it(void **state) {
        (void)state;
        static const double truth[] = {0.51, 0.49, 0};
        int n_held = 0, n = 0;
        for (uint64_t seed = 0; seed < 10; seed++) {
                struct study study = {0};
                study_init(&study, 3, 20, 40 + seed, two_of_three, 3);
                importance(&study);
                for (size_t k = 0; k < 3; k++, n++) {
                        n_held += study.effects[k].low <= truth[k] && truth[k] <= study.effects[k].high;
                        assert_true(0 <= study.effects[k].low && study.effects[k].low <= study.effects[k].share);
                        assert_true(study.effects[k].share <= study.effects[k].high && study.effects[k].high <= 1);
                        assert_true(study.effects[k].is_distinguishable || study.effects[k].low == 0);
                }
        }
        assert_true(n_held >= n - 5); /* of 30 */
}

static double both(const double *x) {
        return 0.8165 * x[0] + x[1];
}

/* The outer values of a step are half as likely as the others, and choices as likely as they are said to be: both have a variance of 1/12 then. */
static void values_count_as_often_as_they_occur(void **state) {
        (void)state;
        static const double probabilities[] = {0.25, 0.5, 0.25};
        const struct opt_dim three[] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1, .step = 0.5},
                                        {.kind = OPT_CATEGORICAL, .n_choices = 3, .probabilities = probabilities}};
        for (int i = 0; i < 2; i++) {
                struct study study = {0};
                study_init(&study, 2, 0, 8, NULL, 0);
                study.dims[0] = three[i];
                for (size_t n = 0; n < 120; n++) {
                        double *x = study.x + n * 2;
                        opt_random(&study.space, 8, n, x);
                        double at[] = {i ? x[0] / 2 : x[0], x[1]};
                        study.trials[n] = (struct opt_trial){.x = x, .y = both(at), .status = OPT_OBSERVED};
                }
                study.history.n = 120;
                importance(&study);
                print_message("shares %.3f, %.3f\n", study.effects[0].share, study.effects[1].share);
                assert_true(fabs(study.effects[0].share - 0.5) < 0.05 && fabs(study.effects[1].share - 0.5) < 0.05);
        }
}

static double only_the_first(const double *x) {
        return x[0];
}

static void the_only_parameter_may_explain_everything(void **state) {
        (void)state;
        struct study study = {0};
        study_init(&study, 3, 30, 6, only_the_first, 0.02);
        importance(&study);
        assert_true(study.effects[0].is_distinguishable && study.effects[0].low > 0.95 && study.effects[0].high > 0.995);
        for (size_t k = 1; k < 3; k++)
                assert_true(!study.effects[k].is_distinguishable && study.effects[k].low == 0 && study.effects[k].high < 0.02);
}

static void a_constant_metric_explains_nothing(void **state) {
        (void)state;
        struct study study = {0};
        study_init(&study, 3, 20, 1, NULL, 0);
        importance(&study);
        for (size_t k = 0; k < 3; k++) {
                assert_false(study.effects[k].is_distinguishable);
                assert_true(isfinite(study.effects[k].share) && study.effects[k].share >= 0 && study.effects[k].share <= 1);
        }
        assert_int_equal(study.n_pairs, 0);
}

static double by_choice(const double *x) {
        return x[0] == 2 ? 1 : 0;
}

static void a_choice_that_matters_is_found(void **state) {
        (void)state;
        struct study study = {0};
        study_init(&study, 3, 0, 5, NULL, 0);
        study.dims[0] = (struct opt_dim){.kind = OPT_CATEGORICAL, .n_choices = 4, .held = true, .held_value = 1};
        for (size_t i = 0; i < 40; i++) {
                double *x = study.x + i * 3;
                study.dims[0].held = false;
                opt_random(&study.space, 5, i, x);
                study.dims[0].held = true; /* held for proposals; evidence varies it all the same */
                study.trials[i] = (struct opt_trial){.x = x, .y = by_choice(x), .status = OPT_OBSERVED};
        }
        study.history.n = 40;
        importance(&study);
        assert_true(study.effects[0].is_distinguishable && study.effects[0].share > 0.7);
        assert_false(study.effects[1].is_distinguishable || study.effects[2].is_distinguishable);
}

#define N_LONG 5000

/* Σ (a_k (x_k − 0.3)²): of the variance each dimension has the part a_k² of Σ a². */
static const double amplitude[] = {1, 0.7, 0.45, 0};
#define N_AMPLITUDES (sizeof amplitude / sizeof *amplitude)

static void shares_of_a_long_history_are_those_of_the_whole_space(void **state) {
        (void)state;
        struct study study = {0};
        struct rng rng;
        double *x = malloc(N_LONG * N_AMPLITUDES * sizeof *x);
        struct opt_trial *trials = calloc(N_LONG, sizeof *trials);
        assert_true(x && trials);
        study_init(&study, N_AMPLITUDES, 0, 0, NULL, 0);
        rng_init(&rng, 11, 1);
        for (size_t i = 0; i < N_LONG; i++) {
                double *at = x + i * N_AMPLITUDES, y = 0.05 * rng_normal(&rng);
                opt_random(&study.space, 11, i, at);
                for (size_t k = 0; k < N_AMPLITUDES; k++)
                        y += amplitude[k] * (at[k] - 0.3) * (at[k] - 0.3);
                trials[i] = (struct opt_trial){.x = at, .y = y, .status = OPT_OBSERVED};
        }
        study.history = (struct opt_history){trials, N_LONG};
        importance(&study);
        for (size_t k = 0; k < N_AMPLITUDES; k++) {
                double share = amplitude[k] * amplitude[k] / (1 + 0.49 + 0.2025);
                assert_true(study.effects[k].is_distinguishable == (share > 0));
                assert_true(fabs(study.effects[k].share - share) < 0.06); /* with the worse half pulled in by rank */
                assert_true(study.effects[k].low - 0.04 < share && share < study.effects[k].high + 0.04);
                assert_true(study.effects[k].high - study.effects[k].low < 0.15);
        }
        free(x);
        free(trials);
}

/* In the order of a grid every second trial has the same level of the last parameter. */
static void a_grids_last_parameter_of_two_levels_matters_as_any_other(void **state) {
        (void)state;
        for (size_t n = 128; n <= 512; n *= 2) {
                struct study study = {0};
                struct opt_trial *trials = calloc(n, sizeof *trials);
                double *x = malloc(3 * n * sizeof *x);
                assert_true(trials && x);
                study_init(&study, 3, 0, 0, NULL, 0);
                for (size_t i = 0; i < n; i++) {
                        double *at = x + 3 * i;
                        at[0] = (double)(i / 16) / (double)(n / 16);
                        at[1] = (double)(i / 2 % 8) / 7;
                        at[2] = (double)(i % 2);
                        trials[i] = (struct opt_trial){.x = at, .y = at[0] + at[2], .status = OPT_OBSERVED};
                }
                study.history = (struct opt_history){trials, n};
                importance(&study);
                assert_true(study.effects[0].is_distinguishable && study.effects[2].is_distinguishable);
                assert_true(fabs(study.effects[0].share - 0.5) < 0.1 && fabs(study.effects[2].share - 0.5) < 0.1);
                free(x);
                free(trials);
        }
}

/* --- the incumbent --------------------------------------------------------------------------------- */

static double bowl(const double *x) {
        return pow(x[0] - 0.3, 2) + pow(x[1] - 0.6, 2);
}

static void the_incumbent_is_no_lucky_trial(void **state) {
        (void)state;
        struct study study = {0};
        study_init(&study, 2, 60, 2, bowl, 0.03);
        double *x = study.x + 60 * 2;
        x[0] = 0.9;
        x[1] = 0.1;
        study.trials[60] = (struct opt_trial){.x = x, .y = -0.05, .status = OPT_OBSERVED}; /* 0.61 in truth */
        study.history.n = 61;
        struct opt_model *model;
        struct opt_incumbent incumbent;
        assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), 0);
        assert_int_equal(opt_model_incumbent(model, NULL, &incumbent), 0);
        assert_int_not_equal(incumbent.index, 60);
        assert_true(bowl(study.trials[incumbent.index].x) < 0.05);
        assert_true(incumbent.low <= incumbent.mean && incumbent.mean <= incumbent.high);
        assert_true(incumbent.n_within_noise >= 1);
        assert_true(incumbent.chance_of_best > 0 && incumbent.chance_of_best <= 1);
        opt_model_free(model);
}

static void a_decided_configuration_is_the_incumbent(void **state) {
        (void)state;
        struct study study = {0};
        struct opt_model *model;
        struct opt_incumbent best, decided;
        study_init(&study, 2, 60, 2, bowl, 0.03);
        assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), 0);
        assert_int_equal(opt_model_incumbent(model, NULL, &best), 0);
        size_t worst = 0;
        for (size_t i = 1; i < 60; i++)
                worst = bowl(study.trials[i].x) > bowl(study.trials[worst].x) ? i : worst; /* not among the rivals */
        assert_int_equal(opt_model_incumbent(model, study.trials[worst].x, &decided), 0);
        assert_int_equal(decided.index, worst);
        assert_true(decided.mean > best.high && decided.chance_of_best < 0.01 && decided.n_within_noise >= 59);
        assert_int_equal(opt_model_incumbent(model, study.trials[best.index].x, &decided), 0);
        assert_true(decided.index == best.index && decided.mean == best.mean && decided.chance_of_best == best.chance_of_best);
        const double untried[] = {0.123, 0.456};
        assert_int_equal(opt_model_incumbent(model, untried, &decided), 0);
        assert_int_equal(decided.index, best.index);
        opt_model_free(model);
}

static void repeats_are_recommended_where_noise_hides_the_best(void **state) {
        (void)state;
        struct study study = {0};
        struct opt_model *model;
        struct opt_incumbent incumbent;
        study_init(&study, 2, 30, 4, NULL, 1);
        assert_int_equal(opt_model_new(&study.space, &study.history, true, 1, &model), 0);
        assert_int_equal(opt_model_incumbent(model, NULL, &incumbent), 0);
        assert_true(incumbent.n_within_noise > 20);
        assert_true(opt_model_noise(model) > 0.3 && opt_model_noise(model) < 2);
        opt_model_free(model);
        study_init(&study, 2, 30, 4, bowl, 0);
        assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), 0);
        assert_int_equal(opt_model_incumbent(model, NULL, &incumbent), 0);
        assert_false(incumbent.recommends_repeats);
        struct opt_prediction there;
        assert_int_equal(opt_model_predict(model, 1, study.trials[incumbent.index].x, &there), 0);
        assert_true(fabs(there.mean - incumbent.mean) < 1e-3 && fabs(there.mean - study.trials[incumbent.index].y) < 0.02);
        opt_model_free(model);
}

static double cliff(const double *x) {
        return x[0] < 0.6 ? 2 + pow(x[0] - 0.3, 2) : 1000 * exp(8 * x[0]); /* diverged: 1e5 and more */
}

static void beside_diverged_trials_good_ones_are_predicted_with_sober_deviations(void **state) {
        (void)state;
        for (uint64_t seed = 0; seed < 5; seed++) {
                struct study study = {0};
                struct opt_model *model;
                study_init(&study, 2, 40, 20 + seed, cliff, 0.02);
                assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), 0);
                double points[51][2];
                struct opt_prediction there[51];
                for (size_t i = 0; i <= 50; i++) {
                        points[i][0] = 0.02 * (double)i;
                        points[i][1] = 0.5;
                }
                assert_int_equal(opt_model_predict(model, 51, points[0], there), 0);
                for (size_t i = 0; i <= 50; i++) {
                        const double *x = points[i];
                        const struct opt_prediction at = there[i];
                        assert_true(at.low <= at.mean && at.mean <= at.high && at.sd > 0);
                        if (at.mean < 2.5) /* nothing that is believed to be good is told with a deviation that holds what diverged */
                                assert_true(at.sd < 0.5);
                        if (x[0] < 0.4)
                                assert_true(at.mean < 2.5 && at.low > 1.5);
                }
                opt_model_free(model);
        }
}

static void predictions_hold_the_function_beside_much_noise(void **state) {
        (void)state;
        int n_held = 0;
        double doubt = 0; /* about the hyperparameters: mean log of how much wider it makes intervals */
        for (uint64_t seed = 0; seed < 5; seed++) {
                struct study study = {0};
                struct opt_model *model;
                double points[20][3];
                struct opt_prediction there[20];
                study_init(&study, 3, 20, 60 + seed, two_of_three, 3);
                assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), 0);
                for (uint64_t i = 0; i < 20; i++)
                        opt_random(&study.space, 9, i, points[i]);
                assert_int_equal(opt_model_predict(model, 20, points[0], there), 0);
                struct opt_incumbent incumbent; /* told by one set of hyperparameters */
                struct opt_prediction same;
                assert_int_equal(opt_model_incumbent(model, NULL, &incumbent), 0);
                assert_int_equal(opt_model_predict(model, 1, study.trials[incumbent.index].x, &same), 0);
                doubt += log((same.high - same.low) / (incumbent.high - incumbent.low)) / 5;
                for (size_t i = 0; i < 20; i++)
                        n_held += there[i].low <= two_of_three(points[i]) && two_of_three(points[i]) <= there[i].high;
                opt_model_free(model);
        }
        print_message("%d of 100 held, doubt %.2f\n", n_held, doubt);
        assert_true(n_held >= 80);
        assert_true(doubt > 0.1);
}

static void few_or_failed_trials_give_no_model(void **state) {
        (void)state;
        struct study study = {0};
        struct opt_model *model;
        study_init(&study, 2, 10, 4, bowl, 0);
        study.history.n = OPT_MODEL_TRIALS - 1;
        assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), OPT_NO_MODEL);
        study.history.n = 10;
        for (size_t i = 0; i < 10; i++)
                study.trials[i].status = i % 2 ? OPT_FAILED : OPT_PENDING;
        assert_int_equal(opt_model_new(&study.space, &study.history, false, 1, &model), OPT_NO_MODEL);
}

/* --- sample paths ---------------------------------------------------------------------------------- */

#define N_MANY 2000

static void sample_paths_follow_the_posterior(void **state) {
        (void)state;
        struct opt_dim dims[2] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1}, {.kind = OPT_CATEGORICAL, .n_choices = 3}};
        struct opt_space space = {.dims = dims, .n_dims = 2};
        bool is_categorical[2] = {false, true};
        double x[] = {0.1, 0, 0.4, 1, 0.8, 0, 0.6, 2}, y[] = {-1, 0.5, 1, 0}, theta[] = {log(0.4), log(0.8), 0, log(0.01)};
        struct gp_data data = {.n = 4, .n_dims = 2, .x = x, .y = y, .is_categorical = is_categorical};
        struct gp *gp;
        assert_int_equal(gp_new(&data, theta, &gp), 0);
        double points[] = {0.2, 0, 0.45, 1, 0.95, 2}, mean[3], sd[3], covariance[9];
        static double values[3 * N_MANY];
        assert_int_equal(gp_predict(gp, 3, points, mean, sd), 0);
        assert_int_equal(gp_covariance(gp, 3, points, covariance), 0);
        /* Several sets of waves: one alone approximates the kernel. */
        double sum[3] = {0}, products[9] = {0};
        size_t n = 0;
        for (uint64_t set = 0; set < 40; set++) {
                struct paths *paths;
                assert_int_equal(paths_new(&space, &data, gp, theta, 50, set, &paths), 0);
                assert_int_equal(paths_evaluate(paths, 3, points, values), 0);
                paths_free(paths);
                for (size_t p = 0; p < 50; p++, n++)
                        for (size_t i = 0; i < 3; i++) {
                                sum[i] += values[i * 50 + p];
                                for (size_t j = 0; j < 3; j++)
                                        products[i * 3 + j] += (values[i * 50 + p] - mean[i]) * (values[j * 50 + p] - mean[j]);
                        }
        }
        for (size_t i = 0; i < 3; i++) {
                assert_true(fabs(sum[i] / (double)n - mean[i]) < 0.08 * (sd[i] + 0.1));
                assert_true(fabs(covariance[i * 3 + i] - sd[i] * sd[i]) < 1e-9);
                for (size_t j = 0; j < 3; j++)
                        assert_true(fabs(products[i * 3 + j] / (double)n - covariance[i * 3 + j]) < 0.12 * sd[i] * sd[j]);
        }
        gp_free(gp);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(shares_are_those_of_the_function),
                cmocka_unit_test(pure_noise_has_no_important_dimension),
                cmocka_unit_test(intervals_hold_the_truth_where_noise_hides_it),
                cmocka_unit_test(values_count_as_often_as_they_occur),
                cmocka_unit_test(the_only_parameter_may_explain_everything),
                cmocka_unit_test(a_constant_metric_explains_nothing),
                cmocka_unit_test(a_choice_that_matters_is_found),
                cmocka_unit_test(shares_of_a_long_history_are_those_of_the_whole_space),
                cmocka_unit_test(a_grids_last_parameter_of_two_levels_matters_as_any_other),
                cmocka_unit_test(the_incumbent_is_no_lucky_trial),
                cmocka_unit_test(a_decided_configuration_is_the_incumbent),
                cmocka_unit_test(repeats_are_recommended_where_noise_hides_the_best),
                cmocka_unit_test(beside_diverged_trials_good_ones_are_predicted_with_sober_deviations),
                cmocka_unit_test(predictions_hold_the_function_beside_much_noise),
                cmocka_unit_test(few_or_failed_trials_give_no_model),
                cmocka_unit_test(sample_paths_follow_the_posterior),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
