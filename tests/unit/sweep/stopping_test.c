#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "sweep/stopping.h"

static void put(struct curve_table *table, uint64_t number, size_t n, const double *values) {
        for (size_t i = 0; i < n; i++)
                assert_int_equal(curve_table_put(table, number, (int64_t)i * 10, values[i]), 0);
}

#define PUT(table, number, ...) put(table, number, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static bool judge(const struct stop_rule *rule, const struct curve_table *table, uint64_t number) {
        return stopping_judge(rule, table, false, number, 0);
}

static const struct stop_rule max_iter_5 = {.type = STOP_HYPERBAND, .max_iter = 5, .s = 2, .eta = 2, .strict = true};

static void points_come_in_any_order_and_are_replaced_by_step(void **state) {
        (void)state;
        struct curve_table table = {.maximize = true};
        curve_table_put(&table, 3, 20, 0.2);
        curve_table_put(&table, 3, 10, 0.1);
        curve_table_put(&table, 3, 30, 0.05);
        curve_table_put(&table, 3, 20, 0.4);
        const struct curve *curve = curve_table_get(&table, 3);
        assert_int_equal(curve->n, 3);
        assert_true(curve->points[1].value == -0.4 && curve->points[2].best == -0.4);
        assert_true(fabs(curve->points[2].sum + 0.55) < 1e-12);
        assert_int_equal(curve_table_get(&table, 1)->n, 0);
        assert_int_equal(curve_table_get(&table, 99)->n, 0);
        curve_table_fini(&table);
}

static void hyperband_has_the_bands_of_weights_and_biases(void **state) {
        (void)state;
        const struct stop_rule rising = {.type = STOP_HYPERBAND, .min_iter = 3, .eta = 3};
        const struct stop_rule falling = {.type = STOP_HYPERBAND, .max_iter = 18, .s = 2, .eta = 3};
        const struct stop_rule odd = {.type = STOP_HYPERBAND, .min_iter = 3, .eta = 1.5}; /* 3, 4.5, 6.75 */
        const struct {
                const struct stop_rule *rule;
                uint64_t n, band;
        } cases[] = {{&rising, 2, 0},  {&rising, 3, 3},      {&rising, 8, 3},  {&rising, 9, 9},  {&rising, 30, 27}, {&falling, 1, 0},
                     {&falling, 2, 2}, {&falling, 1000, 6},  {&odd, 4, 4},     {&odd, 5, 4},     {&odd, 6, 6},      {&max_iter_5, 1, 1},
                     {&max_iter_5, 5, 2}, {&rising, 1u << 30, 387420489}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_int_equal(stopping_band(cases[i].rule, cases[i].n), cases[i].band);
}

/* Five runs at bands 1 and 2: at band 1 all are equal; at band 2 the threshold is the third best of 10, 9, 8, 7, 6. */
static void hyperband_stops_those_behind_the_threshold_at_their_last_band(void **state) {
        (void)state;
        struct curve_table table = {0};
        PUT(&table, 1, 10, 9);
        PUT(&table, 2, 10, 10);
        PUT(&table, 3, 10, 8, 8);
        PUT(&table, 4, 10, 7, 7);
        PUT(&table, 5, 10, 6, 6);
        assert_true(judge(&max_iter_5, &table, 1));
        assert_true(judge(&max_iter_5, &table, 2));
        assert_false(judge(&max_iter_5, &table, 3)); /* equal to the threshold */
        assert_false(judge(&max_iter_5, &table, 5));
        PUT(&table, 6, 11);
        assert_true(judge(&max_iter_5, &table, 6)); /* worse than all at band 1 */
        PUT(&table, 7, 10);
        assert_false(judge(&max_iter_5, &table, 7));
        PUT(&table, 8, 10, 5, 5);
        assert_true(judge(&max_iter_5, &table, 3) == false);
        PUT(&table, 9, 10, 5, 5); /* now 5 5 6 | 7 …: the fourth best of seven is 7 */
        assert_true(judge(&max_iter_5, &table, 3));
        curve_table_fini(&table);
}

static void hyperband_not_strict_looks_at_the_best_so_far(void **state) {
        (void)state;
        struct stop_rule rule = {.type = STOP_HYPERBAND, .max_iter = 18, .s = 2, .eta = 3, .strict = false};
        struct curve_table table = {0};
        PUT(&table, 1, 10, 10, 6);
        PUT(&table, 2, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
        assert_false(judge(&rule, &table, 1));
        rule.strict = true;
        assert_true(judge(&rule, &table, 1));
        curve_table_fini(&table);
}

static void hyperband_follows_the_goal_and_a_lone_trial_goes_on(void **state) {
        (void)state;
        const struct stop_rule rule = {.type = STOP_HYPERBAND, .min_iter = 1, .eta = 3, .strict = true};
        struct curve_table table = {.maximize = true};
        PUT(&table, 1, 0.7);
        assert_false(judge(&rule, &table, 1));
        PUT(&table, 2, 0.8);
        assert_true(judge(&rule, &table, 1));
        assert_false(judge(&rule, &table, 2));
        curve_table_fini(&table);
}

static void asha_judges_once_at_a_rung_and_keeps_the_best_of_eta(void **state) {
        (void)state;
        const struct stop_rule rule = {.type = STOP_ASHA, .min_iter = 1, .eta = 3};
        struct curve_table table = {0};
        PUT(&table, 1, 5);
        PUT(&table, 2, 7);
        assert_false(judge(&rule, &table, 2)); /* fewer than eta */
        PUT(&table, 3, 6);
        assert_true(judge(&rule, &table, 3));
        assert_false(stopping_judge(&rule, &table, false, 3, 1)); /* it was at that rung before */
        PUT(&table, 4, 4);
        assert_false(judge(&rule, &table, 4));
        const struct stop_rule below_one = {.type = STOP_ASHA, .min_iter = 1, .max_iter = 1, .eta = 3};
        assert_false(judge(&below_one, &table, 3));
        curve_table_fini(&table);
}

static void median_compares_the_best_with_the_others_running_averages(void **state) {
        (void)state;
        struct stop_rule rule = {.type = STOP_MEDIAN, .min_iter = 2, .min_trials = 3};
        struct curve_table table = {0};
        PUT(&table, 1, 9, 3); /* averages 6, 4, 2 at iteration 2 */
        PUT(&table, 2, 5, 3);
        PUT(&table, 3, 2, 2);
        PUT(&table, 4, 9, 5);
        PUT(&table, 5, 9, 4);
        PUT(&table, 6, 100);
        assert_false(judge(&rule, &table, 6)); /* before min_iter */
        table.n = 4;
        assert_true(judge(&rule, &table, 4));
        rule.min_trials = 4;
        assert_false(judge(&rule, &table, 4));
        rule.min_trials = 3;
        table.n = 6;
        assert_false(judge(&rule, &table, 5)); /* 4 against the median of 2, 4, 6, 7 */
        curve_table_fini(&table);
}

static void students_distribution_agrees_with_its_table(void **state) {
        (void)state;
        assert_true(fabs(student_cdf(6.313751515, 1) - 0.95) < 1e-9);
        assert_true(fabs(student_cdf(2.919985580, 2) - 0.95) < 1e-9);
        assert_true(fabs(student_cdf(-2.353363435, 3) - 0.05) < 1e-9);
        assert_true(fabs(student_cdf(2.228138852, 10) - 0.975) < 1e-9);
        assert_true(fabs(student_cdf(1.972017478, 199) - 0.975) < 1e-4);
        assert_true(student_cdf(0, 7) == 0.5);
}

/* Completed trials gain from 0.05 to 0.2 between iterations 1 and 2, the more the further behind they are. */
static void forecast_table(struct curve_table *table) {
        PUT(table, 1, 0.30, 0.25);
        PUT(table, 2, 0.40, 0.32);
        PUT(table, 3, 0.50, 0.37);
        PUT(table, 4, 0.60, 0.45);
        PUT(table, 5, 0.70, 0.50);
        for (uint64_t i = 1; i <= 5; i++)
                curve_table_set_complete(table, i, true);
}

static void curve_stops_what_hardly_can_become_the_best(void **state) {
        (void)state;
        const struct stop_rule rule = {.type = STOP_CURVE, .min_iter = 1, .min_trials = 5, .threshold = 0.05};
        struct curve_table table = {0};
        forecast_table(&table);
        PUT(&table, 6, 0.9);
        PUT(&table, 7, 0.32);
        PUT(&table, 8, 0.2);
        double chance;
        assert_true(forecast_chance(&table, false, 6, 5, &chance));
        assert_true(chance < 0.01);
        assert_true(judge(&rule, &table, 6));
        assert_true(forecast_chance(&table, false, 7, 5, &chance));
        assert_true(chance > 0.05 && chance < 0.5);
        assert_false(judge(&rule, &table, 7));
        assert_true(forecast_chance(&table, false, 8, 5, &chance));
        assert_true(chance > 0.9);
        assert_false(forecast_chance(&table, false, 6, 6, &chance)); /* too little to compare with */
        curve_table_fini(&table);
}

/* The chance is scale-free: other units of the metric change nothing. */
static void a_forecast_does_not_depend_on_the_units(void **state) {
        (void)state;
        struct curve_table table = {0}, scaled = {.maximize = true};
        forecast_table(&table);
        PUT(&table, 6, 0.45);
        for (uint64_t number = 1; number <= 6; number++) {
                const struct curve *curve = curve_table_get(&table, number);
                for (size_t i = 0; i < curve->n; i++)
                        curve_table_put(&scaled, number, (int64_t)i, 7e6 - 1e4 * curve->points[i].value);
                curve_table_set_complete(&scaled, number, curve->is_complete);
        }
        double one, other;
        assert_true(forecast_chance(&table, false, 6, 5, &one));
        assert_true(forecast_chance(&scaled, false, 6, 5, &other));
        assert_true(one > 0 && fabs(one - other) < 1e-6);
        curve_table_fini(&table);
        curve_table_fini(&scaled);
}

/* A forecast that says p must be right about p of the time: noisy curves, judged halfway. */
static void forecast_chances_are_calibrated(void **state) {
        (void)state;
        uint64_t random = 1;
        double promised = 0;
        int kept = 0, n = 0;
        for (int round = 0; round < 400; round++) {
                struct curve_table table = {0};
                double end = 0, best = INFINITY;
                for (uint64_t number = 1; number <= 21; number++) {
                        double u[3];
                        for (int k = 0; k < 3; k++) {
                                random = random * 6364136223846793005u + 1442695040888963407u;
                                u[k] = (double)(random >> 11) * 0x1p-53;
                        }
                        double half = 0.3 + 0.4 * u[0];
                        double final = 0.1 + 0.7 * half + 0.05 * (u[1] + u[2] - 1);
                        PUT(&table, number, half, final);
                        if (number < 21) {
                                best = fmin(best, fmin(half, final));
                                curve_table_set_complete(&table, number, true);
                        } else {
                                end = fmin(half, final);
                                table.items[20].n = 1;
                        }
                }
                double chance;
                assert_true(forecast_chance(&table, false, 21, 5, &chance));
                promised += chance;
                kept += end < best;
                n++;
                curve_table_fini(&table);
        }
        assert_true(fabs(promised - kept) < 4 * sqrt(0.05 * 0.95 * n)); /* about 1 in 21 are the best */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(points_come_in_any_order_and_are_replaced_by_step),
                cmocka_unit_test(hyperband_has_the_bands_of_weights_and_biases),
                cmocka_unit_test(hyperband_stops_those_behind_the_threshold_at_their_last_band),
                cmocka_unit_test(hyperband_not_strict_looks_at_the_best_so_far),
                cmocka_unit_test(hyperband_follows_the_goal_and_a_lone_trial_goes_on),
                cmocka_unit_test(asha_judges_once_at_a_rung_and_keeps_the_best_of_eta),
                cmocka_unit_test(median_compares_the_best_with_the_others_running_averages),
                cmocka_unit_test(students_distribution_agrees_with_its_table),
                cmocka_unit_test(curve_stops_what_hardly_can_become_the_best),
                cmocka_unit_test(a_forecast_does_not_depend_on_the_units),
                cmocka_unit_test(forecast_chances_are_calibrated),
        };
        return cmocka_run_group_tests_name("stopping", tests, NULL, NULL);
}
