/* The state machines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "proto/state.h"

static void names_and_states_are_inverse(void **state) {
        (void)state;
        for (int i = 0; i < N_TRIAL_STATES; i++)
                assert_int_equal(trial_state_from_name(trial_state_name((enum trial_state)i)), i);
        for (int i = 0; i < N_SWEEP_STATES; i++)
                assert_int_equal(sweep_state_from_name(sweep_state_name((enum sweep_state)i)), i);
        for (int i = 0; i < N_WORKER_STATES; i++)
                assert_int_equal(worker_state_from_name(worker_state_name((enum worker_state)i)), i);
        for (int i = 0; i < N_FAILURE_REASONS; i++)
                assert_int_equal(failure_reason_from_name(failure_reason_name((enum failure_reason)i)), i);
        assert_int_equal(trial_state_from_name("running "), -1);
}

static void trials_move_as_the_contract_draws_it(void **state) {
        (void)state;
        assert_true(trial_may_move(TRIAL_QUEUED, TRIAL_RUNNING));
        assert_true(trial_may_move(TRIAL_RUNNING, TRIAL_QUEUED));
        assert_true(trial_may_move(TRIAL_FAILED, TRIAL_QUEUED));
        assert_false(trial_may_move(TRIAL_QUEUED, TRIAL_COMPLETED));
        assert_false(trial_may_move(TRIAL_COMPLETED, TRIAL_FAILED));
        assert_false(trial_may_move(TRIAL_CANCELLED, TRIAL_RUNNING));
}

static void a_cancelled_sweep_stays_cancelled(void **state) {
        (void)state;
        for (int i = 0; i < N_SWEEP_STATES; i++)
                assert_false(sweep_may_move(SWEEP_CANCELLED, (enum sweep_state)i));
        assert_true(sweep_may_move(SWEEP_FINISHED, SWEEP_RUNNING));
        assert_false(sweep_may_move(SWEEP_FINISHED, SWEEP_PAUSED));
}

static void workers_report_only_their_own_reasons(void **state) {
        (void)state;
        assert_false(failure_reason_reportable(REASON_LEASE_LOST));
        assert_true(failure_reason_reportable(REASON_DIVERGED));
        assert_true(failure_reason_retryable(REASON_CRASHED));
        assert_false(failure_reason_retryable(REASON_BAD_CONFIG));
}

static void sql_lists_hold_every_state(void **state) {
        (void)state;
        assert_string_equal(trial_states_sql(), "'queued','running','completed','stopped','failed','cancelled'");
        assert_string_equal(sweep_states_sql(), "'running','paused','finished','cancelled'");
        assert_non_null(strstr(failure_reasons_sql(), "'no_metric'"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_and_states_are_inverse),
                cmocka_unit_test(trials_move_as_the_contract_draws_it),
                cmocka_unit_test(a_cancelled_sweep_stays_cancelled),
                cmocka_unit_test(workers_report_only_their_own_reasons),
                cmocka_unit_test(sql_lists_hold_every_state),
        };
        return cmocka_run_group_tests_name("proto/state", tests, NULL, NULL);
}
