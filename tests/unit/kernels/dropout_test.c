/* Dropout masks: the generator's published answer, the statistics, and what a mask depends on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "naive_kernels.h"

enum { ROWS = 512, COLS = 768, N = ROWS * COLS };
static float first[N], second[N];

static void draw(float *factors, const struct mask *mask) {
        for (int r = 0; r < ROWS; r++)
                kernels_best()->mask_row(factors + r * COLS, mask, (uint64_t)r, COLS);
}

/* Known answers of the authors' Random123 library. */
static void plain_generator_gives_the_published_numbers(void **state) {
        (void)state;
        uint32_t zero[4] = {0}, ones[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
        naive_philox(zero, 0, 0);
        naive_philox(ones, UINT32_MAX, UINT32_MAX);
        assert_int_equal(zero[0], 0x6627e8d5);
        assert_int_equal(zero[1], 0xe169c58d);
        assert_int_equal(zero[2], 0xbc57ac4c);
        assert_int_equal(zero[3], 0x9b00dbd8);
        assert_int_equal(ones[0], 0x408f276d);
}

static void every_instruction_set_makes_the_same_mask(void **state) {
        (void)state;
        const struct mask mask = {.p = 0.25f, .site = 3, .seed = 0xDEADBEEF12345678, .step = 0x1FFFFFFFF};
        for (const struct kernel_set *const *set = kernels_all(); *set; set++) {
                float row[192];
                (*set)->mask_row(row, &mask, 99, 192);
                for (int c = 0; c < 192; c++)
                        assert_true((double)row[c] == naive_mask(&mask, 99, c));
        }
}

static void fraction_mean_and_variance_are_those_of_dropout(void **state) {
        (void)state;
        const float probabilities[] = {0.1f, 0.2f, 0.5f};
        for (int i = 0; i < 3; i++) {
                const double p = (double)probabilities[i];
                const struct mask mask = {.p = probabilities[i], .site = 1, .seed = 42, .step = 1};
                double n_dropped = 0, sum = 0, squares = 0;
                draw(first, &mask);
                for (int j = 0; j < N; j++) {
                        assert_true(first[j] == 0 || first[j] == 1.0f / (1.0f - probabilities[i]));
                        n_dropped += first[j] == 0;
                        sum += (double)first[j];
                        squares += (double)first[j] * (double)first[j];
                }
                double mean = sum / N, variance = squares / N - mean * mean;
                assert_true(fabs(n_dropped / N - p) < 4 * sqrt(p * (1 - p) / N));
                assert_true(fabs(mean - 1) < 4 * sqrt(p / ((1 - p) * N)));
                assert_true(fabs(variance - p / (1 - p)) < 0.01);
        }
}

static double correlation(const float *a, const float *b, double p) {
        double sum = 0;
        for (int i = 0; i < N; i++)
                sum += ((a[i] == 0) - p) * ((b[i] == 0) - p);
        return sum / (N * p * (1 - p));
}

static void masks_of_other_seeds_steps_and_sites_are_unrelated(void **state) {
        (void)state;
        const struct mask base = {.p = 0.1f, .site = 1, .seed = 42, .step = 1};
        const struct mask others[] = {
                {.p = 0.1f, .site = 2, .seed = 42, .step = 1},
                {.p = 0.1f, .site = 1, .seed = 43, .step = 1},
                {.p = 0.1f, .site = 1, .seed = 42, .step = 2},
                {.p = 0.1f, .site = 1, .seed = 42, .step = 1 + (1ull << 32)},
        };
        draw(first, &base);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                draw(second, &others[i]);
                assert_true(fabs(correlation(first, second, 0.1)) < 4 / sqrt(N));
        }
        draw(second, &base);
        assert_memory_equal(first, second, sizeof first);
}

static void rows_and_neighbouring_columns_are_unrelated(void **state) {
        (void)state;
        const struct mask mask = {.p = 0.1f, .site = 1, .seed = 7, .step = 3};
        draw(first, &mask);
        memcpy(second, first + COLS, (N - COLS) * sizeof *first);
        memcpy(second + N - COLS, first, COLS * sizeof *first);
        assert_true(fabs(correlation(first, second, 0.1)) < 4 / sqrt(N));
        memmove(second, first + 1, (N - 1) * sizeof *first);
        second[N - 1] = first[0];
        assert_true(fabs(correlation(first, second, 0.1)) < 4 / sqrt(N));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(plain_generator_gives_the_published_numbers),
                cmocka_unit_test(every_instruction_set_makes_the_same_mask),
                cmocka_unit_test(fraction_mean_and_variance_are_those_of_dropout),
                cmocka_unit_test(masks_of_other_seeds_steps_and_sites_are_unrelated),
                cmocka_unit_test(rows_and_neighbouring_columns_are_unrelated),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
