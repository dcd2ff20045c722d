#include "train/schedule.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "support.h"

static double number(const json_t *object, const char *key) {
        json_t *value = json_object_get(object, key);
        assert_true(json_is_number(value));
        return json_number_value(value);
}

static json_t *schedules(void) {
        json_t *golden = golden_read("train/schedules.json");
        if (!golden)
                skip();
        return golden;
}

static void rates_equal_those_of_transformers_at_every_step(void **state) {
        (void)state;
        _cleanup_json_ json_t *golden = schedules();
        json_t *list = json_object_get(golden, "schedules");
        assert_true(json_array_size(list) > 40);
        for (size_t i = 0; i < json_array_size(list); i++) {
                json_t *item = json_array_get(list, i), *rates = json_object_get(item, "lr_used_at_step");
                struct schedule schedule = {.warmup_steps = (uint64_t)number(item, "warmup_steps"),
                                            .total_steps = (uint64_t)number(item, "total_steps"),
                                            .learning_rate = number(item, "base_lr")};
                assert_int_equal(schedule_kind_parse(json_string_value(json_object_get(item, "schedule")), &schedule.kind), 0);
                for (size_t k = 0; k < json_array_size(rates); k++) {
                        double want = json_number_value(json_array_get(rates, k));
                        double got = schedule.learning_rate * schedule_factor(&schedule, k);
                        if (fabs(got - want) > 1e-12 * fabs(want) + 1e-21)
                                fail_msg("%s, warmup %d of %d, step %zu: %.17g, not %.17g",
                                         json_string_value(json_object_get(item, "schedule")), (int)schedule.warmup_steps,
                                         (int)schedule.total_steps, k, got, want);
                }
        }
}

static void warmup_ratio_becomes_the_same_number_of_steps(void **state) {
        (void)state;
        _cleanup_json_ json_t *golden = schedules();
        json_t *list = json_object_get(golden, "warmup_from_ratio");
        for (size_t i = 0; i < json_array_size(list); i++) {
                json_t *item = json_array_get(list, i);
                assert_int_equal(schedule_warmup_from_ratio((uint64_t)number(item, "total_steps"), number(item, "warmup_ratio")),
                                 (uint64_t)number(item, "warmup_steps"));
        }
}

static void step_counts_follow_batches_and_epochs(void **state) {
        (void)state;
        _cleanup_json_ json_t *golden = schedules();
        json_t *list = json_object_get(golden, "steps");
        for (size_t i = 0; i < json_array_size(list); i++) {
                json_t *item = json_array_get(list, i);
                uint64_t examples = (uint64_t)number(item, "examples"), batch = (uint64_t)number(item, "batch");
                uint64_t per_epoch = schedule_steps_per_epoch((examples + batch - 1) / batch, 1);
                assert_int_equal(per_epoch, (uint64_t)number(item, "steps_per_epoch"));
                assert_int_equal(schedule_total_steps(per_epoch, number(item, "epochs")), (uint64_t)number(item, "total_steps"));
        }
}

static void accumulation_drops_the_incomplete_step_but_keeps_one(void **state) {
        (void)state;
        assert_int_equal(schedule_steps_per_epoch(10, 3), 3);
        assert_int_equal(schedule_steps_per_epoch(2, 4), 1);
}

static void polynomial_with_nothing_left_after_warmup_stays_at_its_end(void **state) {
        (void)state;
        struct schedule schedule = {SCHEDULE_POLYNOMIAL, 10, 10, 1e-4};
        assert_float_equal(schedule_factor(&schedule, 10), SCHEDULE_POLYNOMIAL_END / 1e-4, 1e-15);
}

static void unknown_kind_is_refused(void **state) {
        (void)state;
        enum schedule_kind kind = SCHEDULE_COSINE;
        assert_int_equal(schedule_kind_parse("Linear", &kind), -EINVAL);
        assert_int_equal(kind, SCHEDULE_COSINE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rates_equal_those_of_transformers_at_every_step),
                cmocka_unit_test(warmup_ratio_becomes_the_same_number_of_steps),
                cmocka_unit_test(step_counts_follow_batches_and_epochs),
                cmocka_unit_test(accumulation_drops_the_incomplete_step_but_keeps_one),
                cmocka_unit_test(polynomial_with_nothing_left_after_warmup_stays_at_its_end),
                cmocka_unit_test(unknown_kind_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
