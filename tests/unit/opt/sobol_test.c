#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "opt/opt.h"
#include "opt/sobol.h"

/* In natural order; e.g. Bratley & Fox (1988), Joe & Kuo (2008). */
static void first_points_are_the_published_ones(void **state) {
        (void)state;
        static const double expected[8][3] = {{0, 0, 0},          {.5, .5, .5},       {.25, .75, .75},    {.75, .25, .25},
                                              {.125, .625, .375}, {.625, .125, .875}, {.375, .375, .625}, {.875, .875, .125}};
        for (uint32_t i = 0; i < 8; i++)
                for (size_t k = 0; k < 3; k++)
                        assert_true((double)sobol_point(k, i) * 0x1p-32 == expected[i][k]);
}

/* Every dimension of a digital net has one point in each of 2^m intervals, also after the scramble. */
static void every_dimension_is_stratified(void **state) {
        (void)state;
        for (size_t dim = 0; dim < 128; dim++) {
                int plain[256] = {0}, scrambled[256] = {0};
                for (uint32_t i = 0; i < 256; i++) {
                        plain[sobol_point(dim, i) >> 24]++;
                        scrambled[(int)(sobol_scrambled(42, dim, i) * 256)]++;
                }
                for (int k = 0; k < 256; k++) {
                        assert_int_equal(plain[k], 1);
                        assert_int_equal(scrambled[k], 1);
                }
        }
}

/* The first two dimensions form a (0, m, 2)-net: one point in every elementary box. */
static void scrambled_pairs_keep_the_net(void **state) {
        (void)state;
        for (int split = 0; split <= 6; split++) {
                int boxes[64] = {0};
                for (uint32_t i = 0; i < 64; i++) {
                        int a = (int)(sobol_scrambled(5, 0, i) * (1 << split)), b = (int)(sobol_scrambled(5, 1, i) * (1 << (6 - split)));
                        boxes[a * (1 << (6 - split)) + b]++;
                }
                for (int k = 0; k < 64; k++)
                        assert_int_equal(boxes[k], 1);
        }
}

/* Warnock's formula for the squared L2 star discrepancy. */
static double discrepancy(size_t n, size_t d, const double *x) {
        double first = 0, second = 0;
        for (size_t i = 0; i < n; i++) {
                double product = 1;
                for (size_t k = 0; k < d; k++)
                        product *= (1 - x[i * d + k] * x[i * d + k]) / 2;
                first += product;
                for (size_t j = 0; j < n; j++) {
                        product = 1;
                        for (size_t k = 0; k < d; k++)
                                product *= 1 - fmax(x[i * d + k], x[j * d + k]);
                        second += product;
                }
        }
        return pow(3, -(double)d) - 2 * first / (double)n + second / (double)(n * n);
}

static void it_covers_better_than_random(void **state) {
        (void)state;
        struct opt_dim dims[6];
        for (size_t k = 0; k < 6; k++)
                dims[k] = (struct opt_dim){.kind = OPT_UNIFORM, .low = 0, .high = 1};
        const struct opt_space space = {.dims = dims, .n_dims = 6};
        double sobol = 0, random = 0, x[128 * 6];
        for (uint64_t seed = 0; seed < 5; seed++) {
                for (uint64_t i = 0; i < 128; i++)
                        opt_sobol(&space, seed, i, x + i * 6);
                sobol += discrepancy(128, 6, x);
                for (uint64_t i = 0; i < 128; i++)
                        opt_random(&space, seed, i, x + i * 6);
                random += discrepancy(128, 6, x);
        }
        print_message("squared discrepancy: %.3g, random %.3g\n", sobol, random);
        assert_true(sobol < 0.6 * random);
}

static void seeds_give_different_points(void **state) {
        (void)state;
        double sum = 0;
        for (uint64_t seed = 0; seed < 1000; seed++)
                sum += sobol_scrambled(seed, 3, 0);
        assert_true(fabs(sum / 1000 - 0.5) < 0.04);                            /* the first point is uniform over the seeds */
        assert_true(sobol_scrambled(1, 200, 5) != sobol_scrambled(1, 201, 5)); /* beyond the table: independent draws */
        assert_true(sobol_scrambled(1, 200, 5) != sobol_scrambled(1, 200, 6));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(first_points_are_the_published_ones), cmocka_unit_test(every_dimension_is_stratified),
                cmocka_unit_test(scrambled_pairs_keep_the_net),        cmocka_unit_test(it_covers_better_than_random),
                cmocka_unit_test(seeds_give_different_points),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
