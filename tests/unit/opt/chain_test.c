/* Draws of hyperparameters, and of which dimensions do nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/chain.h"

#define N 40
#define D 3
#define N_DRAWS 60

static double x[N * D], y[N];
static const bool is_categorical[D];
static double thetas[N_DRAWS * (D + 2)];

static void draw(double (*f)(const double *x), double noise, uint64_t seed) {
        struct rng rng;
        rng_init(&rng, seed, 1);
        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k < D; k++)
                        x[i * D + k] = rng_uniform(&rng);
                y[i] = f(x + i * D) + noise * rng_normal(&rng);
        }
        const struct gp_data data = {.n = N, .n_dims = D, .x = x, .y = y, .is_categorical = is_categorical, .expects_noise = true};
        double mode[D + 2];
        assert_int_equal(gp_fit(&data, 1, 1, 60, mode), 0);
        assert_int_equal(chain_draw(&data, mode, 1, N_DRAWS, thetas), 0);
}

static int count_flat(size_t k) {
        int n = 0;
        for (size_t t = 0; t < N_DRAWS; t++)
                n += thetas[t * (D + 2) + k] == CHAIN_FLAT;
        return n;
}

static double wave(const double *at) {
        return 1.4 * sin(6 * at[0]);
}

static double nothing(const double *at) {
        (void)at;
        return 0;
}

static void what_does_nothing_is_drawn_so(void **state) {
        (void)state;
        draw(wave, 0.1, 1);
        print_message("flat of %d: %d, %d, %d\n", N_DRAWS, count_flat(0), count_flat(1), count_flat(2));
        assert_int_equal(count_flat(0), 0);
        for (size_t k = 1; k < D; k++)
                assert_true(count_flat(k) > N_DRAWS / 6);
}

static void what_may_do_something_is_drawn_both_ways(void **state) {
        (void)state;
        draw(nothing, 1, 2);
        for (size_t k = 0; k < D; k++)
                assert_in_range(count_flat(k), 1, N_DRAWS - 1);
        for (size_t t = 0; t < N_DRAWS; t++) { /* never all of them */
                size_t n_flat = 0;
                for (size_t k = 0; k < D; k++)
                        n_flat += thetas[t * (D + 2) + k] == CHAIN_FLAT;
                assert_true(n_flat < D);
        }
}

static void noise_is_found_with_its_doubt(void **state) {
        (void)state;
        draw(wave, 0.5, 3);
        double low = INFINITY, high = -INFINITY;
        int n_near = 0;
        for (size_t t = 0; t < N_DRAWS; t++) {
                double noise = exp(0.5 * thetas[t * (D + 2) + D + 1]);
                low = fmin(low, noise);
                high = fmax(high, noise);
                n_near += noise > 0.33 && noise < 0.75;
        }
        assert_true(n_near > N_DRAWS * 3 / 4 && low < 0.5 && high > 0.5);
}

static void the_same_seed_draws_the_same(void **state) {
        (void)state;
        double first[N_DRAWS * (D + 2)];
        draw(wave, 0.5, 4);
        memcpy(first, thetas, sizeof first);
        draw(wave, 0.5, 4);
        assert_memory_equal(first, thetas, sizeof first);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_does_nothing_is_drawn_so),
                cmocka_unit_test(what_may_do_something_is_drawn_both_ways),
                cmocka_unit_test(noise_is_found_with_its_doubt),
                cmocka_unit_test(the_same_seed_draws_the_same),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
