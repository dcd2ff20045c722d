#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/verdict.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "proto/limits.h"

static json_t *parse(const char *text) {
        json_t *value;
        assert_int_equal(json_read(text, strlen(text), &value, NULL), 0);
        return value;
}

/* Runs the verdict with outcome text said (NULL = none) and compares state, and reason or value. */
static json_t *judge(struct trainer_end end, const char *said, int verdict, const char *state) {
        _cleanup_json_ json_t *outcome = said ? parse(said) : NULL;
        json_t *got = NULL;
        end.outcome = outcome;
        end.stderr_tail = end.stderr_tail ? end.stderr_tail : "";
        end.worker_name = "w";
        assert_int_equal(verdict_find(&end, &got), verdict);
        if (state)
                assert_string_equal(json_string_value(json_object_get(got, "state")), state);
        else
                assert_null(got);
        return got;
}

static void expect(struct trainer_end end, const char *said, const char *state, const char *reason) {
        _cleanup_json_ json_t *got = judge(end, said, VERDICT_REPORT, state);
        const char *found = json_string_value(json_object_get(got, "reason"));
        if (reason)
                assert_string_equal(found, reason);
        else
                assert_null(found);
}

static const char completed[] = "{\"state\":\"completed\",\"value\":0.5}", released[] = "{\"state\":\"released\"}",
                  bad_checkpoint[] = "{\"state\":\"failed\",\"reason\":\"bad_checkpoint\"}", diverged[] = "{\"state\":\"failed\",\"reason\":\"diverged\"}";

static void outcome_is_passed_on(void **state) {
        (void)state;
        for (enum slot_state s = SLOT_RUNNING; s < SLOT_DISCARDING; s++) {
                expect((struct trainer_end){.state = s}, completed, "completed", NULL);
                expect((struct trainer_end){.state = s, .exit_status = 1}, diverged, "failed", "diverged");
        }
}

static void discarded_trial_says_nothing(void **state) {
        (void)state;
        judge((struct trainer_end){.state = SLOT_DISCARDING}, completed, VERDICT_DISCARD, NULL);
        judge((struct trainer_end){.state = SLOT_DISCARDING, .signal = SIGKILL}, NULL, VERDICT_DISCARD, NULL);
}

static void silent_end_is_a_crash(void **state) {
        (void)state;
        expect((struct trainer_end){.state = SLOT_RUNNING}, NULL, "failed", "crashed");
        expect((struct trainer_end){.state = SLOT_RUNNING, .exit_status = 3}, NULL, "failed", "crashed");
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGSEGV}, NULL, "failed", "crashed");
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGTERM}, NULL, "failed", "crashed");
}

static void kernel_kill_for_memory_is_out_of_memory(void **state) {
        (void)state;
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGKILL, .memory_was_short = true}, NULL, "failed", "out_of_memory");
        expect((struct trainer_end){.state = SLOT_RUNNING, .exit_status = 137, .memory_was_short = true}, NULL, "failed", "out_of_memory");
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGKILL}, NULL, "failed", "crashed");
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGSEGV, .memory_was_short = true}, NULL, "failed", "crashed");
        expect((struct trainer_end){.state = SLOT_RUNNING, .signal = SIGKILL, .memory_was_short = true, .complaint = "too many malformed lines"}, NULL,
               "failed", "crashed");
}

static void command_may_end_without_an_outcome(void **state) {
        (void)state;
        _cleanup_json_ json_t *got = judge((struct trainer_end){.state = SLOT_RUNNING, .is_command = true}, NULL, VERDICT_REPORT, "completed");
        assert_null(json_object_get(got, "value"));
        expect((struct trainer_end){.state = SLOT_RUNNING, .is_command = true, .exit_status = 1}, NULL, "failed", "crashed");
}

static void stopped_trial_has_the_last_value(void **state) {
        (void)state;
        struct trainer_end end = {.state = SLOT_STOPPING, .signal = SIGTERM, .has_value = true, .value = 0.25};
        _cleanup_json_ json_t *silent = judge(end, NULL, VERDICT_REPORT, "stopped"), *said = judge(end, released, VERDICT_REPORT, "stopped");
        assert_float_equal(json_number_value(json_object_get(silent, "value")), 0.25, 0);
        assert_float_equal(json_number_value(json_object_get(said, "value")), 0.25, 0);
        end.has_value = false;
        _cleanup_json_ json_t *without = judge(end, NULL, VERDICT_REPORT, "stopped");
        assert_null(json_object_get(without, "value"));
}

static void value_of_a_stopped_command_is_the_coordinators_to_find(void **state) {
        (void)state;
        struct trainer_end end = {.state = SLOT_STOPPING, .is_command = true, .signal = SIGTERM, .has_value = true, .value = 0.25};
        _cleanup_json_ json_t *got = judge(end, NULL, VERDICT_REPORT, "stopped");
        assert_null(json_object_get(got, "value"));
}

static void full_disk_while_ending_does_not_fail_the_trial(void **state) {
        (void)state;
        static const char io[] = "{\"state\":\"failed\",\"reason\":\"io\"}";
        struct trainer_end end = {.state = SLOT_STOPPING, .exit_status = 1, .has_checkpoint = true};
        expect(end, io, "stopped", NULL);
        end.state = SLOT_RELEASING;
        _cleanup_json_ json_t *going = judge(end, io, VERDICT_REPORT, "released");
        assert_true(json_is_object(json_object_get(going, "resume")));
        end.state = SLOT_RUNNING;
        expect(end, io, "failed", "io");
}

static void released_trial_resumes_only_from_a_checkpoint(void **state) {
        (void)state;
        struct trainer_end end = {.state = SLOT_RELEASING, .has_checkpoint = true};
        _cleanup_json_ json_t *with = judge(end, released, VERDICT_REPORT, "released"), *killed = judge(end, NULL, VERDICT_REPORT, "released");
        assert_true(json_is_object(json_object_get(with, "resume")) && json_is_object(json_object_get(killed, "resume")));
        end.has_checkpoint = false;
        _cleanup_json_ json_t *without = judge(end, NULL, VERDICT_REPORT, "released");
        assert_null(json_object_get(without, "resume"));
}

static void bad_checkpoint_starts_again_unless_there_was_none(void **state) {
        (void)state;
        judge((struct trainer_end){.state = SLOT_RUNNING, .had_checkpoint = true}, bad_checkpoint, VERDICT_RESTART, NULL);
        expect((struct trainer_end){.state = SLOT_RUNNING}, bad_checkpoint, "failed", "bad_checkpoint");
        expect((struct trainer_end){.state = SLOT_STOPPING, .had_checkpoint = true}, bad_checkpoint, "stopped", NULL);
        _cleanup_json_ json_t *going = judge((struct trainer_end){.state = SLOT_RELEASING, .had_checkpoint = true, .has_checkpoint = true},
                                             bad_checkpoint, VERDICT_REPORT, "released");
        assert_null(json_object_get(going, "resume"));
}

static void detail_has_the_end_of_stderr_within_its_limit(void **state) {
        (void)state;
        static char tail[PATH_MAX * 5];
        memset(tail, 'x', sizeof tail - 1);
        memcpy(tail + sizeof tail - 9, "the end", 8);
        _cleanup_json_ json_t *got = judge((struct trainer_end){.state = SLOT_RUNNING, .exit_status = 7, .stderr_tail = tail}, NULL, VERDICT_REPORT, "failed");
        const char *detail = json_string_value(json_object_get(got, "detail"));
        assert_true(strlen(detail) <= LIMIT_DETAIL_BYTES);
        assert_non_null(strstr(detail, "status 7"));
        assert_string_equal(detail + strlen(detail) - 7, "the end");
}

static void slot_moves_are_those_of_the_table(void **state) {
        (void)state;
        assert_true(slot_may_move(SLOT_IDLE, SLOT_WAITING) && slot_may_move(SLOT_WAITING, SLOT_RUNNING) && slot_may_move(SLOT_RUNNING, SLOT_WAITING));
        assert_false(slot_may_move(SLOT_IDLE, SLOT_RUNNING) || slot_may_move(SLOT_STOPPING, SLOT_RELEASING) || slot_may_move(SLOT_DISCARDING, SLOT_RUNNING));
        for (enum slot_state s = SLOT_WAITING; s < N_SLOT_STATES; s++)
                assert_true(slot_may_move(s, SLOT_IDLE));
        assert_string_equal(slot_state_name(SLOT_RELEASING), "releasing");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(outcome_is_passed_on),
                cmocka_unit_test(discarded_trial_says_nothing),
                cmocka_unit_test(silent_end_is_a_crash),
                cmocka_unit_test(kernel_kill_for_memory_is_out_of_memory),
                cmocka_unit_test(command_may_end_without_an_outcome),
                cmocka_unit_test(stopped_trial_has_the_last_value),
                cmocka_unit_test(value_of_a_stopped_command_is_the_coordinators_to_find),
                cmocka_unit_test(full_disk_while_ending_does_not_fail_the_trial),
                cmocka_unit_test(released_trial_resumes_only_from_a_checkpoint),
                cmocka_unit_test(bad_checkpoint_starts_again_unless_there_was_none),
                cmocka_unit_test(detail_has_the_end_of_stderr_within_its_limit),
                cmocka_unit_test(slot_moves_are_those_of_the_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
