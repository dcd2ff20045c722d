#include "train/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "support.h"

static int32_t *numbers(const json_t *list, size_t *ret_n) {
        *ret_n = json_array_size(list);
        int32_t *values = calloc(*ret_n + 1, sizeof *values);
        assert_non_null(values);
        for (size_t i = 0; i < *ret_n; i++)
                values[i] = (int32_t)json_integer_value(json_array_get(list, i));
        return values;
}

static void accuracy_and_f1_equal_those_of_scikit_learn(void **state) {
        (void)state;
        _cleanup_json_ json_t *golden = golden_read("train/metrics.json");
        if (!golden)
                skip();
        json_t *cases = json_object_get(golden, "cases");
        assert_true(json_array_size(cases) > 10);
        for (size_t i = 0; i < json_array_size(cases); i++) {
                json_t *item = json_array_get(cases, i);
                size_t n;
                _cleanup_free_ int32_t *labels = numbers(json_object_get(item, "labels"), &n);
                _cleanup_free_ int32_t *predictions = numbers(json_object_get(item, "predictions"), &n);
                struct evaluation evaluation;
                metrics_count(labels, predictions, n, 2, &evaluation);
                assert_float_equal(evaluation.accuracy, json_number_value(json_object_get(item, "accuracy")), 1e-15);
                assert_float_equal(evaluation.f1, json_number_value(json_object_get(item, "f1")), 1e-15);
        }
}

static void precision_and_recall_are_of_class_one(void **state) {
        (void)state;
        struct evaluation evaluation;
        metrics_count((int32_t[]){1, 1, 1, 0, 0}, (int32_t[]){1, 0, 0, 1, 0}, 5, 2, &evaluation);
        assert_float_equal(evaluation.precision, 1.0 / 2, 0);
        assert_float_equal(evaluation.recall, 1.0 / 3, 0);
        assert_float_equal(evaluation.accuracy, 2.0 / 5, 0);
        metrics_count((int32_t[]){0, 0}, (int32_t[]){0, 0}, 2, 2, &evaluation);
        assert_float_equal(evaluation.precision, 0, 0);
        assert_float_equal(evaluation.recall, 0, 0);
}

/* scikit-learn 1.9.1: f1_score(average="macro"), precision_score, recall_score, matthews_corrcoef of the same lists. */
static void more_classes_are_averaged(void **state) {
        (void)state;
        struct evaluation evaluation;
        metrics_count((int32_t[]){0, 1, 2, 2, 1, 0, 2}, (int32_t[]){0, 2, 2, 2, 1, 1, 0}, 7, 3, &evaluation);
        assert_float_equal(evaluation.accuracy, 4.0 / 7, 1e-12);
        assert_float_equal(evaluation.f1, 0.5555555555555555, 1e-12);
        assert_float_equal(evaluation.precision, 0.5555555555555555, 1e-12);
        assert_float_equal(evaluation.recall, 0.5555555555555555, 1e-12);
        assert_float_equal(evaluation.mcc, 0.34375, 1e-12);
        metrics_count((int32_t[]){1, 1, 0, 0, 1}, (int32_t[]){1, 0, 0, 1, 1}, 5, 2, &evaluation);
        assert_float_equal(evaluation.mcc, 0.16666666666666666, 1e-12);
        metrics_count((int32_t[]){1, 1}, (int32_t[]){1, 1}, 2, 2, &evaluation);
        assert_float_equal(evaluation.mcc, 0, 0);
}

static void first_of_equal_logits_wins(void **state) {
        (void)state;
        assert_int_equal(metrics_argmax((float[]){0.5f, 0.5f}, 2), 0);
        assert_int_equal(metrics_argmax((float[]){-1, 0.5f, 0.5f}, 3), 1);
}

static void cross_entropy_does_not_overflow_and_shows_nan(void **state) {
        (void)state;
        assert_float_equal(metrics_cross_entropy((float[]){0, 0}, 2, 1), log(2), 1e-15);
        assert_float_equal(metrics_cross_entropy((float[]){1000, -1000}, 2, 1), 2000, 1e-9);
        assert_true(isnan(metrics_cross_entropy((float[]){NAN, 0}, 2, 1)));
}

static void names_go_both_ways(void **state) {
        (void)state;
        for (int i = 0; i < N_METRICS; i++) {
                enum metric found;
                assert_int_equal(metric_from_name(metric_name((enum metric)i), &found), 0);
                assert_int_equal(found, i);
        }
        enum metric found;
        assert_true(metric_from_name("eval/auc", &found) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(accuracy_and_f1_equal_those_of_scikit_learn),
                cmocka_unit_test(precision_and_recall_are_of_class_one),
                cmocka_unit_test(more_classes_are_averaged),
                cmocka_unit_test(first_of_equal_logits_wins),
                cmocka_unit_test(cross_entropy_does_not_overflow_and_shows_nan),
                cmocka_unit_test(names_go_both_ways),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
