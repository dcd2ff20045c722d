/* Conditions and constraints of a space: drawn and modelled points keep them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "opt/opt.h"

enum { OPTIMIZER, MOMENTUM, NESTEROV, RATE, N_DIMS };

/* momentum is there for optimizer 0 only, nesterov only where momentum is above its resting place … by value 1 */
static const struct opt_dim dims[N_DIMS] = {
        [OPTIMIZER] = {.kind = OPT_CATEGORICAL, .n_choices = 3},
        [MOMENTUM] = {.kind = OPT_UNIFORM, .low = 0, .high = 1},
        [NESTEROV] = {.kind = OPT_INTEGER, .low = 1, .high = 3},
        [RATE] = {.kind = OPT_LOG_UNIFORM, .low = 1e-4, .high = 1},
};
static const double first[] = {0}, first_two[] = {0, 1};
static const struct opt_condition conditions[] = {
        {.dim = MOMENTUM, .parent = OPTIMIZER, .values = first, .n_values = 1},
        {.dim = NESTEROV, .parent = OPTIMIZER, .values = first_two, .n_values = 2},
};
/* 0.5 ≤ momentum + rate ≤ 0.8: without momentum the rate alone must reach it */
static const double factors[N_DIMS] = {0, 1, 0, 1};
static const struct opt_constraint constraints[] = {{factors, 0.5, 0.8}};
static const struct opt_space space = {dims, N_DIMS, conditions, 2, constraints, 1};

static void assert_keeps(const double *x) {
        if (x[OPTIMIZER] != 0)
                assert_true(x[MOMENTUM] == opt_dim_resting(&dims[MOMENTUM]));
        if (x[OPTIMIZER] == 2)
                assert_true(x[NESTEROV] == opt_dim_resting(&dims[NESTEROV]));
        double sum = x[RATE] + (x[OPTIMIZER] == 0 ? x[MOMENTUM] : 0);
        assert_true(sum >= 0.5 - 1e-8 && sum <= 0.8 + 1e-8);
        assert_true(opt_space_allows(&space, x));
}

static void drawn_points_keep_conditions_and_constraints(void **state) {
        (void)state;
        double x[N_DIMS];
        bool seen[3] = {0};
        for (uint64_t i = 0; i < 500; i++) {
                opt_random(&space, 1, i, x);
                assert_keeps(x);
                seen[(int)x[OPTIMIZER]] = true;
                opt_sobol(&space, 2, i, x);
                assert_keeps(x);
        }
        assert_true(seen[0] && seen[1] && seen[2]);
}

static void a_draw_depends_on_seed_and_index_only(void **state) {
        (void)state;
        double a[N_DIMS], b[N_DIMS];
        opt_random(&space, 3, 7, a);
        opt_random(&space, 3, 8, b);
        opt_random(&space, 3, 7, b);
        assert_memory_equal(a, b, sizeof a);
}

static void a_narrow_constraint_is_met_by_moving_a_draw(void **state) {
        (void)state;
        static const struct opt_dim mix[3] = {
                {.kind = OPT_UNIFORM, .low = 0, .high = 1}, {.kind = OPT_UNIFORM, .low = 0, .high = 1, .step = 0.05}, {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        static const double ones[3] = {1, 1, 1};
        static const struct opt_constraint sum_is_one[] = {{ones, 1, 1}};
        const struct opt_space shares = {.dims = mix, .n_dims = 3, .constraints = sum_is_one, .n_constraints = 1};
        for (uint64_t i = 0; i < 200; i++) {
                double x[3];
                opt_random(&shares, 5, i, x);
                assert_true(fabs(x[0] + x[1] + x[2] - 1) < 1e-8);
                assert_true(fabs(x[1] / 0.05 - rint(x[1] / 0.05)) < 1e-9);
        }
}

static void what_cannot_be_met_is_told(void **state) {
        (void)state;
        static const struct opt_dim one[1] = {{.kind = OPT_INTEGER, .low = 0, .high = 9}};
        static const double two[1] = {2};
        static const struct opt_constraint odd[] = {{two, 7, 7}}; /* 2x = 7 */
        const struct opt_space space_of_none = {.dims = one, .n_dims = 1, .constraints = odd, .n_constraints = 1};
        double x[1];
        opt_random(&space_of_none, 5, 0, x);
        assert_false(opt_space_allows(&space_of_none, x));
}

/* Best near momentum 0.45, rate 0.2 with optimizer 0; others are worse by 1. */
static double loss(const double *x) {
        double far = x[OPTIMIZER] == 0 ? pow(x[MOMENTUM] - 0.45, 2) + 0.02 * fabs(x[NESTEROV] - 2) : 1;
        return far + pow(log10(x[RATE]) - log10(0.2), 2);
}

static void the_model_keeps_them_and_finds_the_best_corner(void **state) {
        (void)state;
        enum { N = 40 };
        double points[N][N_DIMS], best = INFINITY;
        struct opt_trial trials[N];
        for (size_t n = 0; n < N; n++) {
                struct opt_history history = {trials, n};
                struct opt_bayes_options options = {.seed = 11, .number = n + 1};
                struct opt_proposal proposal = {.x = points[n]};
                assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
                assert_keeps(points[n]);
                for (size_t i = 0; i < n; i++)
                        assert_memory_not_equal(points[i], points[n], sizeof points[n]);
                trials[n] = (struct opt_trial){.x = points[n], .y = loss(points[n]), .status = OPT_OBSERVED};
                best = fmin(best, trials[n].y);
        }
        assert_true(best < 0.03);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(drawn_points_keep_conditions_and_constraints),
                cmocka_unit_test(a_draw_depends_on_seed_and_index_only),
                cmocka_unit_test(a_narrow_constraint_is_met_by_moving_a_draw),
                cmocka_unit_test(what_cannot_be_met_is_told),
                cmocka_unit_test(the_model_keeps_them_and_finds_the_best_corner),
        };
        return cmocka_run_group_tests_name("opt/relations", tests, NULL, NULL);
}
