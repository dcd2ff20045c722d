#include "train/events.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
        int pipe[2];
        volatile sig_atomic_t stop;
        struct events *events;
        char text[1 << 18];
};

static struct fixture fixture;

static int set_up(void **state) {
        signal(SIGPIPE, SIG_IGN);
        fixture.stop = 0;
        *state = &fixture;
        return pipe2(fixture.pipe, O_CLOEXEC) || events_new(fixture.pipe[1], &fixture.stop, &fixture.events);
}

static int tear_down(void **state) {
        (void)state;
        events_free(fixture.events);
        close(fixture.pipe[0]);
        close(fixture.pipe[1]);
        return 0;
}

static const char *received(void) {
        ssize_t n = read(fixture.pipe[0], fixture.text, sizeof fixture.text - 1);
        fixture.text[n > 0 ? n : 0] = 0;
        return fixture.text;
}

static void each_line_arrives_at_once(void **state) {
        (void)state;
        assert_int_equal(events_send_metric(fixture.events, METRIC_TRAIN_LOSS, 50, 0.25, 0.61), 0);
        assert_string_equal(received(), "{\"event\":\"metric\",\"name\":\"train/loss\",\"step\":50,\"epoch\":0.25,\"value\":0.61}\n");
        assert_int_equal(events_send_progress(fixture.events, 0.3), 0);
        assert_string_equal(received(), "{\"event\":\"progress\",\"value\":0.3}\n");
}

static void outcomes_read_as_the_contract_says(void **state) {
        (void)state;
        struct outcome outcome = {.state = OUTCOME_COMPLETED, .value = 0.8407};
        events_send_outcome(fixture.events, &outcome);
        assert_string_equal(received(), "{\"event\":\"outcome\",\"state\":\"completed\",\"value\":0.8407}\n");
        outcome = (struct outcome){.state = OUTCOME_FAILED, .reason = "diverged", .detail = "loss is NaN at step 41"};
        events_send_outcome(fixture.events, &outcome);
        assert_string_equal(received(),
                            "{\"event\":\"outcome\",\"state\":\"failed\",\"reason\":\"diverged\",\"detail\":\"loss is NaN at step 41\"}\n");
        outcome = (struct outcome){.state = OUTCOME_RELEASED};
        events_send_outcome(fixture.events, &outcome);
        assert_string_equal(received(), "{\"event\":\"outcome\",\"state\":\"released\"}\n");
}

static void bytes_that_are_no_text_become_question_marks(void **state) {
        (void)state;
        struct outcome outcome = {.state = OUTCOME_FAILED, .reason = "io", .detail = "a\xff\xc3\xa9\xc3"};
        events_send_outcome(fixture.events, &outcome);
        assert_string_equal(received(), "{\"event\":\"outcome\",\"state\":\"failed\",\"reason\":\"io\",\"detail\":\"a?\xc3\xa9?\"}\n");
}

static void slow_reader_does_not_block_and_loses_nothing(void **state) {
        (void)state;
        fcntl(fixture.pipe[1], F_SETPIPE_SZ, 4096);
        for (int i = 0; i < 2000; i++)
                assert_int_equal(events_send_metric(fixture.events, METRIC_EVAL_LOSS, (uint64_t)i, 0, 0), 0);
        size_t points = 0;
        while (points < 2000) {
                for (const char *c = received(); *c; c++)
                        points += *c == '/'; /* only in the name of a metric */
                if (points < 2000)
                        assert_int_equal(events_send_progress(fixture.events, 0), 0); /* pushes on what waits */
        }
}

static void reader_that_is_gone_shows(void **state) {
        (void)state;
        assert_true(events_has_reader(fixture.events));
        close(fixture.pipe[0]);
        assert_false(events_has_reader(fixture.events));
        assert_int_equal(events_send_progress(fixture.events, 0.5), -EPIPE);
        assert_int_equal(events_send_progress(fixture.events, 0.6), -EPIPE);
        fixture.pipe[0] = -1;
}

static void stuck_reader_does_not_keep_a_stopping_training(void **state) {
        (void)state;
        fcntl(fixture.pipe[1], F_SETPIPE_SZ, 4096);
        for (int i = 0; i < 100; i++)
                events_send_metric(fixture.events, METRIC_EVAL_LOSS, (uint64_t)i, 0, 0);
        fixture.stop = 1;
        struct outcome outcome = {.state = OUTCOME_RELEASED};
        time_t started = time(NULL);
        assert_true(events_send_outcome(fixture.events, &outcome) < 0);
        assert_true(time(NULL) - started < 8);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(each_line_arrives_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(outcomes_read_as_the_contract_says, set_up, tear_down),
                cmocka_unit_test_setup_teardown(bytes_that_are_no_text_become_question_marks, set_up, tear_down),
                cmocka_unit_test_setup_teardown(slow_reader_does_not_block_and_loses_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(reader_that_is_gone_shows, set_up, tear_down),
                cmocka_unit_test_setup_teardown(stuck_reader_does_not_keep_a_stopping_training, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
