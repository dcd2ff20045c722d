#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/gp.h"
#include "support/naive_gp.h"

#define N 25
#define D 4

static const bool is_categorical[D] = {false, false, true, false};
static double x[N * D], y[N];

static struct gp_data make_data(void) {
        struct rng rng;
        rng_init(&rng, 1, 2);
        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k < D; k++)
                        x[i * D + k] = is_categorical[k] ? (double)rng_below(&rng, 3) : rng_uniform(&rng);
                y[i] = sin(5 * x[i * D]) + x[i * D + 1] + 0.5 * (x[i * D + 2] == 1) + 0.05 * rng_normal(&rng);
        }
        return (struct gp_data){.n = N, .n_dims = D, .x = x, .y = y, .is_categorical = is_categorical};
}

static const double theta[D + 3] = {-0.7, 0.2, 0.5, 1.3, 0.3, -4, -1.2}; /* the last one with a trend only */

/* −log of the prior of length scales with a trend, but for a constant: those of numbers Student's t of 3 degrees around their mean, which is
 * normal; that of the choice is normal. */
static double prior_with_trend(const double *lengths) {
        double mean = 0, sum = 0, expected = -0.5 + 0.5 * log(D);
        for (size_t k = 0; k < D; k++)
                mean += is_categorical[k] ? 0 : lengths[k] / (D - 1);
        for (size_t k = 0; k < D; k++)
                sum += is_categorical[k] ? pow(lengths[k] - expected, 2) / 6 : 2 * log1p(pow(lengths[k] - mean, 2) / 0.9);
        return sum + pow(mean - expected, 2) / 3;
}

static void likelihood_is_the_textbook_one(void **state) {
        (void)state;
        struct gp_data data = make_data();
        double *scratch = malloc(gp_scratch_size(N, D) * sizeof *scratch), other[D + 3];
        memcpy(other, theta, sizeof other);
        other[0] = 0.4; /* the prior is known: only its difference is left */
        double ours = gp_objective(&data, theta, scratch, NULL) - gp_objective(&data, other, scratch, NULL);
        double mean = M_SQRT2 + 0.5 * log(D), prior = (pow(-0.7 - mean, 2) - pow(0.4 - mean, 2)) / 6;
        double naive = naive_gp_likelihood(N, D, x, y, is_categorical, false, theta, 1e-8) -
                       naive_gp_likelihood(N, D, x, y, is_categorical, false, other, 1e-8);
        assert_true(fabs(ours - naive - prior) < 1e-7);
        data.has_trend = true;
        other[2] = 0.9;
        other[D + 2] = -2;
        ours = gp_objective(&data, theta, scratch, NULL) - gp_objective(&data, other, scratch, NULL);
        prior = prior_with_trend(theta) - prior_with_trend(other) + (pow(-1.2 + 3, 2) - pow(-2 + 3, 2)) / 4;
        naive = naive_gp_likelihood(N, D, x, y, is_categorical, true, theta, 1e-8) -
                naive_gp_likelihood(N, D, x, y, is_categorical, true, other, 1e-8);
        assert_true(fabs(ours - naive - prior) < 1e-7);
        free(scratch);
}

static void check_objective_gradient(const struct gp_data *data) {
        double *scratch = malloc(gp_scratch_size(N, D) * sizeof *scratch), gradient[D + 3];
        gp_objective(data, theta, scratch, gradient);
        for (size_t k = 0; k < gp_n_theta(data); k++) {
                double up[D + 3], down[D + 3], h = 1e-5;
                memcpy(up, theta, sizeof up);
                memcpy(down, theta, sizeof down);
                up[k] += h;
                down[k] -= h;
                double slope = (gp_objective(data, up, scratch, NULL) - gp_objective(data, down, scratch, NULL)) / (2 * h);
                assert_true(fabs(slope - gradient[k]) < 1e-5 * fmax(1, fabs(slope)));
        }
        free(scratch);
}

static void objective_gradient_matches_finite_differences(void **state) {
        (void)state;
        struct gp_data data = make_data();
        check_objective_gradient(&data);
        data.has_trend = true;
        check_objective_gradient(&data);
}

static void check_posterior(bool has_trend) {
        struct gp_data data = make_data();
        data.has_trend = has_trend;
        struct gp *gp;
        double points[3 * D] = {0.3, 0.5, 1, 0.2, 0.9, 0.1, 0, 0.7, x[0], x[1], x[2], x[3]}, mean[3], sd[3], fitted[N];
        assert_int_equal(gp_new(&data, theta, &gp), 0);
        assert_int_equal(gp_predict(gp, 3, points, mean, sd), 0);
        for (size_t i = 0; i < 3; i++) {
                double naive_mean, naive_sd;
                naive_gp_predict(N, D, x, y, is_categorical, has_trend, theta, 1e-8 * exp(theta[D]), points + i * D, &naive_mean, &naive_sd);
                assert_true(fabs(mean[i] - naive_mean) < 1e-9 && fabs(sd[i] - naive_sd) < 1e-9);
        }
        gp_fitted_mean(gp, fitted);
        assert_true(fabs(fitted[0] - mean[2]) < 1e-9);
        gp_free(gp);
}

static void posterior_is_the_textbook_one(void **state) {
        (void)state;
        check_posterior(false);
        check_posterior(true);
}

static void check_posterior_gradient(const struct gp_data *data) {
        struct gp *gp;
        double point[D] = {0.3, 0.5, 1, 0.2}, mean, sd, dmean[D], dsd[D], h = 1e-6;
        assert_int_equal(gp_new(data, theta, &gp), 0);
        gp_predict_gradient(gp, point, &mean, &sd, dmean, dsd);
        for (size_t k = 0; k < D; k++) {
                double at[2 * D], means[2], sds[2];
                memcpy(at, point, sizeof point);
                memcpy(at + D, point, sizeof point);
                at[k] += is_categorical[k] ? 0 : h;
                at[D + k] -= is_categorical[k] ? 0 : h;
                gp_predict(gp, 2, at, means, sds);
                assert_true(fabs((means[0] - means[1]) / (2 * h) - dmean[k]) < 1e-5);
                assert_true(fabs((sds[0] - sds[1]) / (2 * h) - dsd[k]) < 1e-5);
        }
        gp_free(gp);
}

static void posterior_gradient_matches_finite_differences(void **state) {
        (void)state;
        struct gp_data data = make_data();
        check_posterior_gradient(&data);
        data.has_trend = true;
        check_posterior_gradient(&data);
}

static void fit_finds_what_matters(void **state) {
        (void)state;
        struct gp_data data = make_data();
        double fitted[D + 2], initial[D + 2], *scratch = malloc(gp_scratch_size(N, D) * sizeof *scratch);
        assert_int_equal(gp_fit(&data, 3, 2, 60, fitted), 0);
        gp_initial_theta(&data, initial);
        assert_true(gp_objective(&data, fitted, scratch, NULL) < gp_objective(&data, initial, scratch, NULL));
        assert_true(fitted[3] > fitted[0] + 1); /* the last dimension does nothing */
        double gradient[D + 2];
        gp_objective(&data, fitted, scratch, gradient);
        for (size_t k = 0; k < D + 2; k++)
                assert_true(fabs(gradient[k]) < 0.05);
        free(scratch);
}

static void repeated_points_without_noise_are_survived(void **state) {
        (void)state;
        struct gp_data data = make_data();
        double noiseless[D + 2];
        memcpy(noiseless, theta, sizeof noiseless);
        noiseless[D + 1] = -60;
        for (size_t i = 0; i < N; i++)
                memcpy(x + i * D, x, D * sizeof *x);
        struct gp *gp;
        double mean, sd;
        assert_int_equal(gp_new(&data, noiseless, &gp), 0);
        assert_int_equal(gp_predict(gp, 1, x, &mean, &sd), 0);
        assert_true(isfinite(mean) && isfinite(sd));
        gp_free(gp);
}

/* More points than the strips in which K is inverted are wide, and no multiple of their width. */
static void gradient_holds_for_many_points(void **state) {
        (void)state;
        enum { MANY = 83, DIMS = 2 };
        static double points[MANY * DIMS], values[MANY];
        static const bool none[DIMS] = {false, false};
        struct rng rng;
        rng_init(&rng, 5, 1);
        for (size_t i = 0; i < MANY; i++) {
                for (size_t k = 0; k < DIMS; k++)
                        points[i * DIMS + k] = rng_uniform(&rng);
                values[i] = cos(4 * points[i * DIMS]) + 0.3 * rng_normal(&rng);
        }
        struct gp_data data = {.n = MANY, .n_dims = DIMS, .x = points, .y = values, .is_categorical = none};
        const double at[DIMS + 2] = {-0.6, 0.3, 0.2, -2.5};
        double *scratch = malloc(gp_scratch_size(MANY, DIMS) * sizeof *scratch), gradient[DIMS + 2];
        gp_objective(&data, at, scratch, gradient);
        for (size_t k = 0; k < DIMS + 2; k++) {
                double up[DIMS + 2], down[DIMS + 2], h = 1e-5;
                memcpy(up, at, sizeof up);
                memcpy(down, at, sizeof down);
                up[k] += h;
                down[k] -= h;
                double slope = (gp_objective(&data, up, scratch, NULL) - gp_objective(&data, down, scratch, NULL)) / (2 * h);
                assert_true(fabs(slope - gradient[k]) < 1e-5 * fmax(1, fabs(slope)));
        }
        free(scratch);
}

/* Numbers of tests/support/gp_golden.py (scikit-learn 1.9). */
static void posterior_and_likelihood_are_those_of_scikit_learn(void **state) {
        (void)state;
        enum { FEW = 12, DIMS = 3 };
        double points[FEW * DIMS], values[FEW];
        static const bool none[DIMS] = {false, false, false};
        for (size_t i = 0; i < FEW; i++) {
                for (size_t k = 0; k < DIMS; k++)
                        points[i * DIMS + k] = fmod((double)(i * 7 + k * 5) * 0.618034 + 0.1 * (double)k, 1);
                values[i] = sin(3 * points[i * DIMS]) + pow(points[i * DIMS + 1], 2) - 0.5 * points[i * DIMS + 2];
        }
        struct gp_data data = {.n = FEW, .n_dims = DIMS, .x = points, .y = values, .is_categorical = none};
        const double at[DIMS + 2] = {log(0.4), log(0.9), log(2.5), log(1.7), log(0.01)};
        static const double asked[] = {0.1, 0.2, 0.3, 0.9, 0.5, 0.05, 0.45, 0.95, 0.7};
        static const double mean[] = {0.065134397104, 0.673536527579, 1.107968969545}, sd[] = {0.268377898146, 0.481578403476, 0.497787727920};
        double *scratch = malloc(gp_scratch_size(FEW, DIMS) * sizeof *scratch), our_mean[3], our_sd[3], prior = 0;
        for (size_t k = 0; k < DIMS; k++)
                prior += pow(at[k] - M_SQRT2 - 0.5 * log(DIMS), 2) / 6;
        prior += at[DIMS] * at[DIMS] / 2 + pow(at[DIMS + 1] + 5, 2) / 4.5;
        assert_true(fabs(gp_objective(&data, at, scratch, NULL) - prior + 11.770837077733) < 1e-5);
        struct gp *gp;
        assert_int_equal(gp_new(&data, at, &gp), 0);
        assert_int_equal(gp_predict(gp, 3, asked, our_mean, our_sd), 0);
        for (size_t i = 0; i < 3; i++) {
                assert_true(fabs(our_mean[i] - mean[i]) < 1e-5);
                assert_true(fabs(our_sd[i] - sd[i]) < 1e-5);
        }
        gp_free(gp);
        free(scratch);
}

static void refining_is_never_worse(void **state) {
        (void)state;
        struct gp_data data = make_data();
        double *scratch = malloc(gp_scratch_size(N, D) * sizeof *scratch), refined[D + 2], fitted[D + 2];
        memcpy(refined, theta, sizeof refined);
        assert_int_equal(gp_refine(&data, 60, refined), 0);
        double before = gp_objective(&data, theta, scratch, NULL), after = gp_objective(&data, refined, scratch, NULL);
        assert_true(after < before);
        assert_int_equal(gp_fit(&data, 1, 2, 100, fitted), 0);
        assert_true(gp_objective(&data, fitted, scratch, NULL) < after + 0.5);
        memcpy(refined, fitted, sizeof refined);
        assert_int_equal(gp_refine(&data, 1, refined), 0);
        assert_true(gp_objective(&data, refined, scratch, NULL) < gp_objective(&data, fitted, scratch, NULL) + 1e-9);
        free(scratch);
}

/* A process of other observations, to be asked at the points of make_data. */
static double guide_x[N * D], guide_y[N], guided[N];

static struct gp *make_guide(struct gp_data *data, bool has_trend) {
        struct gp *guide;
        struct rng rng;
        rng_init(&rng, 21, 2);
        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k < D; k++)
                        guide_x[i * D + k] = is_categorical[k] ? (double)rng_below(&rng, 3) : rng_uniform(&rng);
                guide_y[i] = cos(4 * guide_x[i * D]) + guide_x[i * D + 3];
        }
        struct gp_data of_guide = {.n = N, .n_dims = D, .x = guide_x, .y = guide_y, .is_categorical = is_categorical, .has_trend = has_trend};
        assert_int_equal(gp_new(&of_guide, theta, &guide), 0);
        for (size_t i = 0; i < N; i++)
                guided[i] = gp_predict_mean(guide, data->x + i * D);
        data->guide = guide;
        data->guided = guided;
        return guide;
}

static void a_guided_posterior_is_that_of_its_covariance(void **state) {
        (void)state;
        struct gp_data data = make_data();
        struct gp *plain, *guide, *gp;
        assert_int_equal(gp_new(&data, theta, &plain), 0);
        guide = make_guide(&data, true);
        assert_int_equal(gp_new(&data, theta, &gp), 0);
        static double kernel[N * N], copy[N * N];
        double point[2 * D] = {0.3, 0.5, 1, 0.2, 0.8, 0.1, 0, 0.9}, mean[2], sd[2], covariance[4], row[N], alpha[N], solved[N];
        for (size_t i = 0; i < N; i++) {
                gp_kernel_row(plain, x + i * D, kernel + i * N);
                for (size_t j = 0; j < N; j++)
                        kernel[i * N + j] += GP_GUIDE_VARIANCE * guided[i] * guided[j] + GP_OFFSET_VARIANCE + (i == j ? gp_noise(gp) : 0);
                alpha[i] = y[i] - GP_GUIDE_SLOPE * guided[i];
        }
        memcpy(copy, kernel, sizeof copy);
        naive_solve(N, copy, alpha);
        double g = gp_predict_mean(guide, point), expected = GP_GUIDE_SLOPE * g, variance = exp(theta[D]) + GP_GUIDE_VARIANCE * g * g + GP_OFFSET_VARIANCE;
        gp_kernel_row(plain, point, row);
        for (size_t i = 0; i < N; i++) {
                row[i] += GP_GUIDE_VARIANCE * g * guided[i] + GP_OFFSET_VARIANCE;
                expected += row[i] * alpha[i];
        }
        memcpy(solved, row, sizeof solved);
        naive_solve(N, kernel, solved);
        for (size_t i = 0; i < N; i++)
                variance -= row[i] * solved[i];
        assert_int_equal(gp_predict(gp, 2, point, mean, sd), 0);
        assert_true(fabs(mean[0] - expected) < 1e-8 && fabs(sd[0] * sd[0] - variance) < 1e-8);
        assert_true(fabs(gp_predict_mean(gp, point) - mean[0]) < 1e-12);
        assert_int_equal(gp_covariance(gp, 2, point, covariance), 0);
        assert_true(fabs(covariance[0] - sd[0] * sd[0]) < 1e-9 && fabs(covariance[3] - sd[1] * sd[1]) < 1e-9);
        double fitted[N];
        gp_fitted_mean(gp, fitted);
        assert_true(fabs(fitted[3] - gp_predict_mean(gp, x + 3 * D)) < 1e-8);
        gp_free(gp);
        gp_free(guide);
        gp_free(plain);
}

static void guided_gradients_match_finite_differences(void **state) {
        (void)state;
        for (int has_trend = 0; has_trend < 2; has_trend++) {
                struct gp_data data = make_data();
                data.has_trend = has_trend;
                struct gp *guide = make_guide(&data, has_trend);
                check_objective_gradient(&data);
                check_posterior_gradient(&data);
                gp_free(guide);
        }
}

/* Points appended one after the other, or several at once, to a factor: the process is that of all of them from the beginning. */
static void a_grown_process_is_a_fresh_one(void **state) {
        (void)state;
        for (int kind = 0; kind < 4; kind++) {
                struct gp_data data = make_data();
                data.has_trend = kind % 2;
                struct gp *guide = kind >= 2 ? make_guide(&data, true) : NULL, *grown, *fresh;
                size_t step = kind == 0 ? 1 : 7;
                data.n = 4;
                assert_int_equal(gp_new(&data, theta, &grown), 0);
                while (data.n < N) {
                        struct gp *next;
                        data.n = data.n + step < N ? data.n + step : N;
                        assert_int_equal(gp_grow(grown, &data, theta, &next), 0);
                        gp_free(grown);
                        grown = next;
                }
                assert_int_equal(gp_new(&data, theta, &fresh), 0);
                double points[2 * D] = {0.3, 0.5, 1, 0.2, 0.9, 0.1, 0, 0.7}, mean[4], sd[4], dmean[2 * D], dsd[2 * D];
                assert_int_equal(gp_predict(grown, 2, points, mean, sd), 0);
                assert_int_equal(gp_predict(fresh, 2, points, mean + 2, sd + 2), 0);
                for (size_t i = 0; i < 2; i++)
                        assert_true(fabs(mean[i] - mean[2 + i]) < 1e-10 && fabs(sd[i] - sd[2 + i]) < 1e-10);
                gp_predict_gradient(grown, points, mean, sd, dmean, dsd);
                gp_predict_gradient(fresh, points, mean, sd, dmean + D, dsd + D);
                for (size_t k = 0; k < D; k++)
                        assert_true(fabs(dmean[k] - dmean[D + k]) < 1e-9 && fabs(dsd[k] - dsd[D + k]) < 1e-9);
                gp_free(fresh);
                gp_free(grown);
                gp_free(guide);
        }
        struct gp_data data = make_data(); /* the same point again and again, without noise: what cannot be appended is made anew */
        double noiseless[D + 2], mean, sd;
        memcpy(noiseless, theta, sizeof noiseless);
        noiseless[D + 1] = -60;
        for (size_t i = 10; i < N; i++)
                memcpy(x + i * D, x, D * sizeof *x);
        struct gp *few, *all;
        data.n = 10;
        assert_int_equal(gp_new(&data, noiseless, &few), 0);
        data.n = N;
        assert_int_equal(gp_grow(few, &data, noiseless, &all), 0);
        assert_int_equal(gp_predict(all, 1, x, &mean, &sd), 0);
        assert_true(isfinite(mean) && sd > 0);
        gp_free(few);
        gp_free(all);
}

#define MANY 110 /* rows: some slices */
#define ASKED 200

static double prize_worth(const void *data, size_t point, double mean, double sd) {
        (void)data;
        return point % 7 == 3 ? -INFINITY : mean + 2 * sd - (point % 5 == 0 ? 1 : 0);
}

/* What is not among the best may be dropped half way; the best are those of all predictions, and so are their numbers. */
static void check_the_best(struct gp_data *data, const double *theta_of_it, size_t n_best) {
        static double points[ASKED * D], mean[2][ASKED], sd[2][ASKED], worth[ASKED];
        struct gp *gp;
        struct rng rng;
        rng_init(&rng, 12, n_best);
        for (size_t i = 0; i < ASKED * D; i++)
                points[i] = is_categorical[i % D] ? (double)rng_below(&rng, 3) : 1.2 * rng_uniform(&rng) - 0.1;
        memcpy(points + 190 * D, points + 120 * D, D * sizeof *points); /* equals, in two blocks */
        assert_int_equal(gp_new(data, theta_of_it, &gp), 0);
        assert_int_equal(gp_predict(gp, ASKED, points, mean[0], sd[0]), 0);
        assert_int_equal(gp_predict_best(gp, ASKED, points, n_best, prize_worth, NULL, mean[1], sd[1], worth), 0);
        size_t told = 0, above[ASKED] = {0};
        for (size_t i = 0; i < ASKED; i++)
                for (size_t j = 0; j < ASKED; j++)
                        above[i] += prize_worth(NULL, j, mean[0][j], sd[0][j]) > prize_worth(NULL, i, mean[0][i], sd[0][i]) + 1e-8;
        for (size_t i = 0; i < ASKED; i++) {
                double expected = prize_worth(NULL, i, mean[0][i], sd[0][i]);
                assert_true(fabs(mean[1][i] - mean[0][i]) < 1e-9);
                if (above[i] < n_best && expected > -INFINITY)
                        assert_true(worth[i] > -INFINITY);
                if (worth[i] == -INFINITY)
                        continue;
                told++;
                assert_true(expected > -INFINITY && fabs(sd[1][i] - sd[0][i]) < 1e-7 && fabs(worth[i] - expected) < 1e-7);
        }
        assert_true(told >= n_best && told < ASKED / 2);
        gp_free(gp);
}

static void the_best_of_many_points_are_found_with_less_work(void **state) {
        (void)state;
        static double many[MANY * D], values[MANY];
        struct rng rng;
        rng_init(&rng, 5, 6);
        for (size_t i = 0; i < MANY; i++) {
                for (size_t k = 0; k < D; k++)
                        many[i * D + k] = is_categorical[k] ? (double)rng_below(&rng, 3) : rng_uniform(&rng);
                values[i] = sin(5 * many[i * D]) + many[i * D + 1] + 0.05 * rng_normal(&rng);
        }
        struct gp_data data = {.n = MANY, .n_dims = D, .x = many, .y = values, .is_categorical = is_categorical};
        check_the_best(&data, theta, 2);
        data.has_trend = true;
        check_the_best(&data, theta, GP_BEST_MAX);
        data.n = 1;
        struct gp *gp;
        double mean, sd, worth;
        assert_int_equal(gp_new(&data, theta, &gp), 0);
        assert_int_equal(gp_predict_best(gp, 1, many + D, 2, prize_worth, NULL, &mean, &sd, &worth), 0);
        assert_true(worth == prize_worth(NULL, 0, mean, sd));
        gp_free(gp);
}

static void *threads_of_a_fit(void *ret) {
        struct gp_data data = make_data();
        struct gp *gp;
        *(int *)ret = gp_new(&data, theta, &gp) == 0 ? omp_get_max_threads() : 0;
        gp_free(gp);
        return NULL;
}

/* Whoever fits first: others are not left with as many as there are cores, whose sums differ in their last digits. */
static void every_thread_computes_with_one_thread(void **state) {
        (void)state;
        for (int i = 0; i < 3; i++) {
                pthread_t thread;
                int n = 0;
                assert_int_equal(pthread_create(&thread, NULL, threads_of_a_fit, &n), 0);
                pthread_join(thread, NULL);
                assert_int_equal(n, 1);
        }
}

/* Is the symmetric matrix a (n × n, spent) positive definite? */
static bool has_cholesky(double *a, size_t n) {
        for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++) {
                        double sum = a[i * n + j];
                        for (size_t k = 0; k < j; k++)
                                sum -= a[i * n + k] * a[j * n + k];
                        if (i == j && !(sum > 0))
                                return false;
                        a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
                }
        return true;
}

/* Any hyperparameters within the bounds of the fit and some beyond, points on top of each other, at the bounds and outside: what the kernel
 * makes is a covariance up to rounding, and so is what a posterior leaves of it. */
static void every_kernel_matrix_is_positive_definite(void **state) {
        (void)state;
        enum { MOST = 40, DIMS = 6 };
        static double points[MOST * DIMS], values[MOST], kernel[MOST * MOST], left[MOST * MOST], fitted[MOST];
        for (uint64_t round = 0; round < 150; round++) {
                struct rng rng;
                rng_init(&rng, round, 7);
                size_t n = 1 + rng_below(&rng, MOST), d = rng_below(&rng, DIMS + 1);
                bool categorical[DIMS];
                double at[DIMS + 3];
                for (size_t k = 0; k < d; k++) {
                        categorical[k] = rng_below(&rng, 3) == 0;
                        at[k] = log(0.02) + rng_uniform(&rng) * log(1e4);
                }
                at[d] = 8 * rng_uniform(&rng) - 4;
                at[d + 1] = rng_below(&rng, 2) ? -30 : 11 * rng_uniform(&rng) - 10;
                at[d + 2] = 15 * rng_uniform(&rng) - 12;
                for (size_t i = 0; i < n; i++) {
                        bool is_copy = i > 0 && rng_below(&rng, 3) == 0;
                        for (size_t k = 0; k < d; k++)
                                points[i * d + k] = is_copy          ? points[(i - 1) * d + k] + (rng_below(&rng, 4) || categorical[k] ? 0 : 1e-9)
                                                    : categorical[k] ? (double)rng_below(&rng, 4)
                                                                     : rint(16 * (3 * rng_uniform(&rng) - 1)) / 16;
                        values[i] = rng_normal(&rng);
                }
                struct gp_data data = {.n = n, .n_dims = d, .x = points, .y = values, .is_categorical = categorical, .has_trend = round % 2};
                struct gp *gp;
                assert_int_equal(gp_new(&data, at, &gp), 0);
                double largest = 0, mean[MOST], sd[MOST];
                for (size_t i = 0; i < n; i++) {
                        gp_kernel_row(gp, points + i * d, kernel + i * n);
                        largest = fmax(largest, kernel[i * n + i]);
                }
                for (size_t i = 0; i < n; i++)
                        for (size_t k = 0; k < i; k++)
                                assert_true(fabs(kernel[i * n + k] - kernel[k * n + i]) <= 1e-12 * largest);
                for (size_t i = 0; i < n; i++)
                        kernel[i * n + i] += 1e-10 * largest * (double)n;
                assert_true(has_cholesky(kernel, n));
                assert_int_equal(gp_covariance(gp, n, points, left), 0);
                for (size_t i = 0; i < n; i++)
                        left[i * n + i] += 1e-7 * largest * (double)n;
                assert_true(has_cholesky(left, n));
                gp_fitted_mean(gp, fitted);
                assert_int_equal(gp_predict(gp, n, points, mean, sd), 0);
                for (size_t i = 0; i < n; i++)
                        assert_true(isfinite(mean[i]) && isfinite(fitted[i]) && sd[i] > 0 && sd[i] <= sqrt(largest) * (1 + 1e-9));
                gp_free(gp);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_kernel_matrix_is_positive_definite),
                cmocka_unit_test(a_guided_posterior_is_that_of_its_covariance),
                cmocka_unit_test(guided_gradients_match_finite_differences),
                cmocka_unit_test(the_best_of_many_points_are_found_with_less_work),
                cmocka_unit_test(a_grown_process_is_a_fresh_one), cmocka_unit_test(every_thread_computes_with_one_thread),
                cmocka_unit_test(likelihood_is_the_textbook_one), cmocka_unit_test(objective_gradient_matches_finite_differences),
                cmocka_unit_test(posterior_is_the_textbook_one),  cmocka_unit_test(posterior_gradient_matches_finite_differences),
                cmocka_unit_test(gradient_holds_for_many_points),
                cmocka_unit_test(posterior_and_likelihood_are_those_of_scikit_learn),
                cmocka_unit_test(refining_is_never_worse),
                cmocka_unit_test(fit_finds_what_matters),         cmocka_unit_test(repeated_points_without_noise_are_survived),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
