#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep/blame.h"
#include "sweep/ending.h"
#include "sweep/lease.h"
#include "sweep/order.h"

static void the_outcomes_own_value_wins_over_the_series(void **state) {
        (void)state;
        struct ending ending = ending_by_value(TRIAL_COMPLETED, true, 1, true, 2);
        assert_int_equal(ending.state, TRIAL_COMPLETED);
        assert_true(ending.value == 1);
        ending = ending_by_value(TRIAL_STOPPED, false, 0, true, 2);
        assert_int_equal(ending.state, TRIAL_STOPPED);
        assert_true(ending.value == 2);
}

static void without_any_value_a_trial_fails_for_no_metric(void **state) {
        (void)state;
        struct ending ending = ending_by_value(TRIAL_COMPLETED, false, 0, false, 0);
        assert_int_equal(ending.state, TRIAL_FAILED);
        assert_int_equal(ending.reason, REASON_NO_METRIC);
        assert_false(ending.has_value);
        assert_false(ending.counts);
}

static void a_retryable_end_queues_until_max_attempts_of_them(void **state) {
        (void)state;
        assert_int_equal(ending_by_failure(REASON_CRASHED, 0, 3).state, TRIAL_QUEUED);
        assert_int_equal(ending_by_failure(REASON_LEASE_LOST, 1, 3).state, TRIAL_QUEUED);
        assert_int_equal(ending_by_failure(REASON_IO, 2, 3).state, TRIAL_FAILED);
        assert_int_equal(ending_by_failure(REASON_TIMEOUT, 0, 1).state, TRIAL_FAILED);
        assert_true(ending_by_failure(REASON_CRASHED, 0, 3).counts);
}

static void final_reasons_fail_at_once_and_a_release_never_counts(void **state) {
        (void)state;
        assert_int_equal(ending_by_failure(REASON_DIVERGED, 0, 3).state, TRIAL_FAILED);
        assert_int_equal(ending_by_failure(REASON_BAD_CONFIG, 0, 3).state, TRIAL_FAILED);
        assert_int_equal(ending_by_release().state, TRIAL_QUEUED);
        assert_false(ending_by_release().counts);
}

static void a_target_is_reached_by_goal(void **state) {
        (void)state;
        assert_true(ending_target_reached(true, 0.9, 0.9));
        assert_false(ending_target_reached(true, 0.9, 0.89));
        assert_true(ending_target_reached(false, 0.1, 0.05));
        assert_false(ending_target_reached(false, 0.1, 0.2));
}

static void a_sweep_is_over_when_exhausted_and_empty(void **state) {
        (void)state;
        assert_true(ending_sweep_is_over(true, 0, 0));
        assert_false(ending_sweep_is_over(false, 0, 0));
        assert_false(ending_sweep_is_over(true, 1, 0));
        assert_false(ending_sweep_is_over(true, 0, 1));
}

static void leases_are_found_replaced_and_removed_by_trial(void **state) {
        (void)state;
        struct lease_table table = {0};
        for (int64_t i = 200; i > 0; i--)
                assert_int_equal(lease_table_put(&table, &(struct lease){.trial = i * 7 % 211,
                                                                         .expires_ms = 10,
                                                                         .timeout_ms = LEASE_NEVER,
                                                                         .stall_ms = LEASE_NEVER}),
                                 0);
        assert_int_equal(table.n, 200);
        assert_int_equal(
                lease_table_put(&table, &(struct lease){.trial = 7, .expires_ms = 3, .timeout_ms = LEASE_NEVER, .stall_ms = LEASE_NEVER}),
                0);
        assert_int_equal(table.n, 200);
        assert_int_equal(lease_table_find(&table, 7)->expires_ms, 3);
        assert_int_equal(lease_table_deadline(&table), 3);
        lease_table_remove(&table, 7);
        assert_null(lease_table_find(&table, 7));
        assert_int_equal(lease_table_deadline(&table), 10);
        for (size_t i = 1; i < table.n; i++)
                assert_true(table.items[i - 1].trial < table.items[i].trial);
        lease_table_fini(&table);
        assert_true(lease_table_deadline(&table) == LEASE_NEVER);
}

static void each_limit_of_a_lease_ends_it_in_its_own_way(void **state) {
        (void)state;
        struct lease lease = {.expires_ms = 30, .timeout_ms = 20, .stall_ms = 10};
        assert_int_equal(lease_judge(&lease, 9), LEASE_GOOD);
        assert_int_equal(lease_judge(&lease, 10), LEASE_STALLED);
        assert_int_equal(lease_judge(&lease, 20), LEASE_TIMED_OUT);
        lease = (struct lease){.expires_ms = 30, .timeout_ms = LEASE_NEVER, .stall_ms = LEASE_NEVER};
        assert_int_equal(lease_judge(&lease, 29), LEASE_GOOD);
        assert_int_equal(lease_judge(&lease, 30), LEASE_EXPIRED);
}

static void priority_comes_before_fairness_before_age(void **state) {
        (void)state;
        struct candidate c[] = {{1, 0, 0, 5}, {2, 0, 1, 0}, {3, 9, 100, 100}, {4, 0, 0, 4}, {5, 0, 0, 4}};
        order_candidates(c, 5);
        const int64_t expected[] = {3, 4, 5, 1, 2};
        for (int i = 0; i < 5; i++)
                assert_int_equal(c[i].sweep, expected[i]);
        assert_true(order_has_room(0, 1000));
        assert_true(order_has_room(2, 1));
        assert_false(order_has_room(2, 2));
}

static void only_what_a_machine_may_cause_speaks_against_it(void **state) {
        (void)state;
        struct blame blame;
        struct blame_case cases[8];
        for (int i = 0; i < 8; i++)
                cases[i] = (struct blame_case){.reason = i % 2 ? REASON_IO : REASON_DIVERGED, .sweep_succeeds = true};
        assert_false(blame_judge(cases, 8, &blame));
        assert_int_equal(blame.n_trials, 4);
        cases[0].reason = REASON_IO;
        assert_true(blame_judge(cases, 8, &blame));
        assert_int_equal(blame.reason, REASON_IO);
        assert_false(blame_fits(REASON_LEASE_LOST));
        assert_false(blame_fits(REASON_NO_METRIC));
}

static void trials_that_fail_elsewhere_too_speak_for_the_worker(void **state) {
        (void)state;
        struct blame blame;
        struct blame_case cases[5];
        for (int i = 0; i < 5; i++)
                cases[i] = (struct blame_case){.reason = REASON_CRASHED, .succeeded_elsewhere = i == 0};
        assert_true(blame_judge(cases, 5, &blame));
        assert_int_equal(blame.n_succeeded, 1);
        cases[3].failed_elsewhere = true;
        assert_false(blame_judge(cases, 5, &blame));
}

static void nobody_is_blamed_while_nobody_else_succeeds(void **state) {
        (void)state;
        struct blame blame;
        struct blame_case cases[16] = {{0}};
        for (int i = 0; i < 16; i++)
                cases[i].reason = REASON_OUT_OF_MEMORY;
        assert_false(blame_judge(cases, 16, &blame));
        cases[7].sweep_succeeds = true;
        assert_true(blame_judge(cases, 16, &blame));
        assert_int_equal(blame.n_trials, 16);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_outcomes_own_value_wins_over_the_series),
                cmocka_unit_test(without_any_value_a_trial_fails_for_no_metric),
                cmocka_unit_test(a_retryable_end_queues_until_max_attempts_of_them),
                cmocka_unit_test(final_reasons_fail_at_once_and_a_release_never_counts),
                cmocka_unit_test(a_target_is_reached_by_goal),
                cmocka_unit_test(a_sweep_is_over_when_exhausted_and_empty),
                cmocka_unit_test(leases_are_found_replaced_and_removed_by_trial),
                cmocka_unit_test(each_limit_of_a_lease_ends_it_in_its_own_way),
                cmocka_unit_test(priority_comes_before_fairness_before_age),
                cmocka_unit_test(only_what_a_machine_may_cause_speaks_against_it),
                cmocka_unit_test(trials_that_fail_elsewhere_too_speak_for_the_worker),
                cmocka_unit_test(nobody_is_blamed_while_nobody_else_succeeds),
        };
        return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
