#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "opt/opt.h"
#include "opt/quantile.h"
#include "opt/space.h"

#define near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

static void quantiles_invert_their_distributions(void **state) {
        (void)state;
        for (double p = 1e-12; p < 1; p = p < 0.01 ? p * 7 : p + 0.013) {
                near(normal_cdf(normal_quantile(p)) / p, 1, 1e-12);
                near(beta_cdf(beta_quantile(p, 2, 5), 2, 5) / p, 1, 1e-9);
                near(beta_cdf(beta_quantile(p, 0.5, 0.5), 0.5, 0.5) / p, 1, 1e-7);
        }
        near(normal_quantile(0.975), 1.959963984540054, 1e-14);
        near(beta_quantile(0.3, 1, 1), 0.3, 1e-14);
        near(beta_cdf(0.25, 0.5, 0.5), 2 / M_PI * asin(0.5), 1e-14);
        near(beta_cdf(0.4, 2, 3), 0.5248, 1e-14);
}

static void continuous_dimensions_go_there_and_back(void **state) {
        (void)state;
        const struct opt_dim dims[] = {
                {.kind = OPT_UNIFORM, .low = -3, .high = 7},
                {.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 5e-5},
                {.kind = OPT_INV_LOG_UNIFORM, .low = 1e-3, .high = 10},
                {.kind = OPT_NORMAL, .mu = 2, .sigma = 3},
                {.kind = OPT_LOG_NORMAL, .mu = -1, .sigma = 0.5},
                {.kind = OPT_BETA, .a = 2, .b = 3},
        };
        for (size_t i = 0; i < 6; i++)
                for (double u = 0.001; u < 1; u += 0.0173)
                        near(opt_dim_to_unit(&dims[i], opt_dim_from_unit(&dims[i], u)), u, 1e-12);
        near(opt_dim_from_unit(&dims[0], 0.25), -0.5, 1e-15);
        near(opt_dim_from_unit(&dims[1], 0.5), sqrt(5e-10), 1e-18);
        assert_true(opt_dim_from_unit(&dims[2], 0) == 10); /* mirrored: log(1/x) is what grows */
        assert_true(isfinite(opt_dim_from_unit(&dims[3], 0)));
}

static void discrete_values_survive_the_round_trip(void **state) {
        (void)state;
        const double p[] = {0.2, 0, 0.5, 0.3};
        const struct opt_dim dims[] = {
                {.kind = OPT_INTEGER, .low = -2, .high = 500},
                {.kind = OPT_CATEGORICAL, .n_choices = 7},
                {.kind = OPT_CATEGORICAL, .n_choices = 4, .probabilities = p},
                {.kind = OPT_UNIFORM, .low = 0, .high = 1, .step = 0.1},
                {.kind = OPT_LOG_UNIFORM, .low = 1, .high = 1024, .step = 8},
                {.kind = OPT_BETA, .a = 0.5, .b = 2, .step = 0.05},
        };
        const uint64_t counts[] = {503, 7, 3, 11, 128, 21};
        for (size_t i = 0; i < 6; i++) {
                assert_int_equal(opt_dim_cardinality(&dims[i]), counts[i]);
                for (uint64_t k = 0; k < counts[i]; k++) {
                        double value = dim_level(&dims[i], k);
                        assert_true(opt_dim_from_unit(&dims[i], opt_dim_to_unit(&dims[i], value)) == value);
                        assert_true(dim_snap(&dims[i], value) == value);
                        assert_true(k == 0 || value > dim_level(&dims[i], k - 1));
                }
        }
}

static void quantised_values_round_half_to_even_and_stay_inside(void **state) {
        (void)state;
        const struct opt_dim dim = {.kind = OPT_UNIFORM, .low = 0, .high = 4, .step = 1};
        assert_true(opt_dim_from_unit(&dim, 0.125) == 0); /* 0.5 → 0 */
        assert_true(opt_dim_from_unit(&dim, 0.375) == 2); /* 1.5 → 2 */
        assert_true(opt_dim_from_unit(&dim, 0.625) == 2); /* 2.5 → 2 */
        const struct opt_dim narrow = {.kind = OPT_UNIFORM, .low = 3, .high = 19, .step = 5};
        assert_true(opt_dim_from_unit(&narrow, 0) == 5);
        assert_true(opt_dim_from_unit(&narrow, 0.9999) == 15);
        const struct opt_dim tenths = {.kind = OPT_UNIFORM, .low = 0.1, .high = 0.3, .step = 0.1};
        assert_true(opt_dim_from_unit(&tenths, 0.9999) == 0.3);
        assert_true(opt_dim_from_unit(&tenths, 0) == 0.1);
}

static void integers_and_choices_are_equally_likely(void **state) {
        (void)state;
        const struct opt_dim integer = {.kind = OPT_INTEGER, .low = 1, .high = 5};
        const double p[] = {0.5, 0, 0.5};
        const struct opt_dim choice = {.kind = OPT_CATEGORICAL, .n_choices = 3, .probabilities = p};
        int counts[6] = {0}, chosen[3] = {0};
        for (int i = 0; i < 1000; i++) {
                counts[(int)opt_dim_from_unit(&integer, (i + 0.5) / 1000)]++;
                chosen[(int)opt_dim_from_unit(&choice, (double)i / 1000)]++;
        }
        for (int k = 1; k <= 5; k++)
                assert_int_equal(counts[k], 200);
        assert_true(chosen[1] == 0 && chosen[0] >= 499 && chosen[0] <= 501);
}

static void evidence_outside_the_bounds_is_clamped(void **state) {
        (void)state;
        const struct opt_dim lr = {.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 5e-5};
        assert_true(opt_dim_to_unit(&lr, 2e-4) == 1 && opt_dim_to_unit(&lr, -1) == 0);
        assert_true(dim_snap(&lr, 2e-4) == 5e-5);
        near(dim_feature(&lr, 2e-4), log(20) / log(5), 1e-12); /* the model sees it where it is */
}

static void cardinality_of_spaces(void **state) {
        (void)state;
        struct opt_dim dims[] = {{.kind = OPT_INTEGER, .low = 1, .high = 4},
                                 {.kind = OPT_CATEGORICAL, .n_choices = 3},
                                 {.kind = OPT_UNIFORM, .low = 2, .high = 2}};
        struct opt_space space = {.dims = dims, .n_dims = 3};
        assert_int_equal(opt_space_cardinality(&space), 12);
        double x[3];
        int seen[12] = {0};
        for (uint64_t i = 0; i < 12; i++) {
                space_point(&space, i, x);
                seen[((int)x[0] - 1) * 3 + (int)x[1]]++;
                assert_true(x[2] == 2);
        }
        for (int i = 0; i < 12; i++)
                assert_int_equal(seen[i], 1);
        dims[2].high = 3;
        assert_int_equal(opt_space_cardinality(&space), 0);
}

static void random_is_a_function_of_seed_and_index(void **state) {
        (void)state;
        const struct opt_dim dims[] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1}, {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        const struct opt_space space = {.dims = dims, .n_dims = 2};
        double a[2], b[2];
        opt_random(&space, 7, 100, a);
        opt_random(&space, 7, 99, b);
        assert_true(a[0] != b[0] && a[0] != a[1]);
        opt_random(&space, 7, 100, b);
        assert_true(a[0] == b[0] && a[1] == b[1]);
        opt_random(&space, 8, 100, b);
        assert_true(a[0] != b[0]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(quantiles_invert_their_distributions),
                cmocka_unit_test(continuous_dimensions_go_there_and_back),
                cmocka_unit_test(discrete_values_survive_the_round_trip),
                cmocka_unit_test(quantised_values_round_half_to_even_and_stay_inside),
                cmocka_unit_test(integers_and_choices_are_equally_likely),
                cmocka_unit_test(evidence_outside_the_bounds_is_clamped),
                cmocka_unit_test(cardinality_of_spaces),
                cmocka_unit_test(random_is_a_function_of_seed_and_index),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
