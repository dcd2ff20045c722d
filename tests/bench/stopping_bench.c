/* What stopping rules save and what they cost, offline: recorded or synthetic learning curves are replayed in drawn orders
 * on four slots, one iteration a round, and every rule judges as the coordinator does.
 *
 *     stopping_bench [--minimize] [CURVES.csv]
 *
 * CURVES.csv: one trial a line, its values in order of iteration, separated by commas. Without a file: curves like those
 * of LCBench, 60 trials of 50 epochs (power laws of different pace with noise, a fifth that never learn). A line a rule:
 * share of all iterations that ran, loss of the best value found, as a share of best - median of all trials, and how often
 * nothing was lost. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/stopping.h"

#define N_SLOTS 4
#define N_ORDERS 200
#define MAX_TRIALS 2000
#define MAX_ITERATIONS 500

struct study {
        size_t n, length[MAX_TRIALS];
        double *values[MAX_TRIALS]; /* smaller is better */
        bool maximize;
};

static uint64_t random_state = 1;

static double draw(void) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        return ((double)(random_state >> 11) + 0.5) * 0x1p-53;
}

static double draw_normal(void) {
        return sqrt(-2 * log(draw())) * cos(2 * M_PI * draw());
}

static double *add_trial(struct study *study, size_t length) {
        double *values = study->n < MAX_TRIALS ? calloc(length, sizeof *values) : NULL;
        if (!values)
                exit(1);
        study->length[study->n] = length;
        return study->values[study->n++] = values;
}

static void make_synthetic(struct study *study, size_t n, size_t length) {
        for (size_t i = 0; i < n; i++) {
                double *values = add_trial(study, length), end = 0.1 + 0.3 * draw() * draw(), pace = 0.3 + 1.2 * draw();
                bool learns = draw() > 0.2;
                for (size_t t = 0; t < length; t++)
                        values[t] = (learns ? end + (0.7 - end) * pow((double)t + 1, -pace) : 0.7) + 0.005 * draw_normal();
        }
}

static int read_curves(const char *path, struct study *study) {
        FILE *file = fopen(path, "r");
        char line[65536];
        if (!file)
                return -1;
        while (fgets(line, sizeof line, file)) {
                double values[MAX_ITERATIONS];
                size_t n = 0;
                char *at = line, *end;
                while (n < MAX_ITERATIONS && (values[n] = strtod(at, &end), end != at)) {
                        n++;
                        at = *end == ',' ? end + 1 : end;
                }
                if (n > 0) {
                        double *copy = add_trial(study, n);
                        for (size_t i = 0; i < n; i++)
                                copy[i] = study->maximize ? -values[i] : values[i];
                }
        }
        fclose(file);
        return study->n > 0 ? 0 : -1;
}

static void shuffle(size_t *order, size_t n) {
        for (size_t i = 0; i < n; i++)
                order[i] = i;
        for (size_t i = n; i > 1; i--) {
                size_t k = (size_t)(draw() * (double)i), other = order[k];
                order[k] = order[i - 1];
                order[i - 1] = other;
        }
}

/* Runs one iteration of a trial; true when that was its last. */
static bool step(const struct study *study, const struct stop_rule *rule, struct curve_table *table, uint64_t number, size_t trial) {
        size_t done = curve_table_get(table, number)->n;
        if (curve_table_put(table, number, (int64_t)done, study->values[trial][done]) < 0)
                exit(1);
        if (done + 1 == study->length[trial]) {
                curve_table_set_complete(table, number, true);
                return true;
        }
        return stopping_judge(rule, table, false, number, done);
}

static double run(const struct study *study, const struct stop_rule *rule, const size_t *order, double *ret_best) {
        struct curve_table table = {0};
        uint64_t slots[N_SLOTS] = {0}; /* trial numbers, 0 = idle */
        size_t n_started = 0, n_iterations = 0;
        bool is_busy = true;
        while (is_busy) {
                is_busy = false;
                for (int s = 0; s < N_SLOTS; s++) {
                        if (slots[s] == 0 && n_started < study->n)
                                slots[s] = ++n_started;
                        if (slots[s] == 0)
                                continue;
                        is_busy = true;
                        n_iterations++;
                        if (step(study, rule, &table, slots[s], order[slots[s] - 1]))
                                slots[s] = 0;
                }
        }
        double best = INFINITY;
        for (size_t i = 0; i < table.n; i++)
                best = fmin(best, table.items[i].points[table.items[i].n - 1].best);
        curve_table_fini(&table);
        *ret_best = best;
        return (double)n_iterations;
}

static int compare(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

static void measure(const struct study *study, const char *name, const struct stop_rule *rule) {
        double bests[MAX_TRIALS], total = 0, iterations = 0, loss = 0, best;
        size_t order[MAX_TRIALS], n_free = 0;
        for (size_t i = 0; i < study->n; i++) {
                bests[i] = INFINITY;
                for (size_t t = 0; t < study->length[i]; t++)
                        bests[i] = fmin(bests[i], study->values[i][t]);
                total += (double)study->length[i];
        }
        qsort(bests, study->n, sizeof *bests, compare);
        double scale = bests[study->n / 2] - bests[0];
        random_state = 99;
        for (int k = 0; k < N_ORDERS; k++) {
                shuffle(order, study->n);
                iterations += run(study, rule, order, &best) / total;
                loss += scale > 0 ? (best - bests[0]) / scale : 0;
                n_free += best <= bests[0];
        }
        printf("%-34s %5.1f %%   %7.4f   %5.1f %%\n", name, 100 * iterations / N_ORDERS, loss / N_ORDERS, 100.0 * (double)n_free / N_ORDERS);
}

int main(int argc, char **argv) {
        static struct study study = {.maximize = true};
        const struct {
                const char *name;
                struct stop_rule rule;
        } rules[] = {
                {"none", {.type = STOP_NEVER}},
                {"hyperband min_iter 3", {.type = STOP_HYPERBAND, .min_iter = 3, .eta = 3, .strict = true}},
                {"hyperband min_iter 3, not strict", {.type = STOP_HYPERBAND, .min_iter = 3, .eta = 3}},
                {"asha min_iter 1", {.type = STOP_ASHA, .min_iter = 1, .eta = 3}},
                {"asha min_iter 3", {.type = STOP_ASHA, .min_iter = 3, .eta = 3}},
                {"median", {.type = STOP_MEDIAN, .min_iter = 1, .min_trials = 5}},
                {"curve threshold 0.05", {.type = STOP_CURVE, .min_iter = 1, .min_trials = 5, .threshold = 0.05}},
                {"curve threshold 0.01", {.type = STOP_CURVE, .min_iter = 1, .min_trials = 5, .threshold = 0.01}},
        };
        int at = 1;
        if (at < argc && strcmp(argv[at], "--minimize") == 0) {
                study.maximize = false;
                at++;
        }
        if (at < argc && read_curves(argv[at], &study) < 0) {
                fprintf(stderr, "no curves in %s\n", argv[at]);
                return 1;
        }
        if (at == argc)
                make_synthetic(&study, 60, 50);
        printf("%zu trials\n%-34s iterations   loss      lost nothing\n", study.n, "rule");
        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
                measure(&study, rules[i].name, &rules[i].rule);
        for (size_t i = 0; i < study.n; i++)
                free(study.values[i]);
        return 0;
}
