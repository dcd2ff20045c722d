/* Which set of kernels runs here, threads, and the few kernels that gain nothing from vectors. */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

extern const struct kernel_set kernel_set_avx512, kernel_set_avx2, kernel_set_generic;

const struct kernel_set *const *kernels_all(void) {
        static const struct kernel_set *sets[4];
        int n = 0;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
                sets[n++] = &kernel_set_avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
                sets[n++] = &kernel_set_avx2;
        sets[n] = &kernel_set_generic;
        return sets;
}

const struct kernel_set *kernels_best(void) {
        const struct kernel_set *const *sets = kernels_all();
        const char *wish = getenv("SWEEPD_KERNELS");
        for (int i = 0; wish && sets[i]; i++)
                if (strcmp(sets[i]->name, wish) == 0)
                        return sets[i];
        return sets[0];
}

void kernels_set_threads(int threads) {
        if (omp_get_max_threads() != threads)
                omp_set_num_threads(threads);
        if (openblas_get_num_threads() != threads)
                openblas_set_num_threads(threads);
}

static size_t round_up_16(int x) {
        return ((size_t)x + 15) & ~(size_t)15;
}

size_t kernels_scratch_floats(int widest, int head_dim, int max_length) {
        size_t rows = (size_t)max_length, width = round_up_16(head_dim), score_width = round_up_16(max_length);
        size_t attention = 4 * rows * width + width * score_width + 2 * rows * score_width, row = round_up_16(widest) * 3;
        return (attention > row ? attention : row) + 16;
}

size_t kernels_score_floats(int heads, int query_rows, int length) {
        return (size_t)heads * (size_t)query_rows * round_up_16(length);
}

/* How much -log p[c] of a row of class `label` counts, before the mean. */
static double share(const struct loss *loss, int n_labels, int label, int c) {
        double weight = loss->class_weights ? (double)loss->class_weights[c] : 1;
        return weight * ((c == label ? 1 - loss->label_smoothing : 0) + loss->label_smoothing / n_labels);
}

double cross_entropy(float *d_logits, const float *logits, const int32_t *labels, int n, int n_labels, const struct loss *loss, double scale) {
        static const struct loss plain = {0};
        double total = 0, rows = 0;
        loss = loss ? loss : &plain;
        for (int r = 0; r < n; r++)
                rows += loss->class_weights ? (double)loss->class_weights[labels[r]] : 1;
        for (int r = 0; r < n; r++) {
                const float *row = logits + (size_t)r * n_labels;
                double highest = row[0], sum = 0, shares = 0;
                for (int c = 1; c < n_labels; c++)
                        highest = fmax(highest, row[c]);
                for (int c = 0; c < n_labels; c++)
                        sum += exp(row[c] - highest);
                for (int c = 0; c < n_labels; c++) {
                        double counts = share(loss, n_labels, labels[r], c);
                        shares += counts;
                        if (counts > 0)
                                total += counts * (highest + log(sum) - row[c]);
                }
                for (int c = 0; d_logits && c < n_labels; c++)
                        d_logits[(size_t)r * n_labels + c] =
                                (float)((exp(row[c] - highest) / sum * shares - share(loss, n_labels, labels[r], c)) * scale / rows);
        }
        return total / rows;
}
