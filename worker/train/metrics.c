#include "train/metrics.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const char *const names[N_METRICS] = {
        [METRIC_TRAIN_LOSS] = "train/loss",
        [METRIC_TRAIN_LEARNING_RATE] = "train/learning_rate",
        [METRIC_TRAIN_GRAD_NORM] = "train/grad_norm",
        [METRIC_EVAL_LOSS] = "eval/loss",
        [METRIC_EVAL_ACCURACY] = "eval/accuracy",
        [METRIC_EVAL_F1] = "eval/f1",
        [METRIC_EVAL_PRECISION] = "eval/precision",
        [METRIC_EVAL_RECALL] = "eval/recall",
        [METRIC_EVAL_MCC] = "eval/mcc",
        [METRIC_PERF_TOKENS_PER_S] = "perf/tokens_per_s",
        [METRIC_PERF_STEP_S] = "perf/step_s",
        [METRIC_PERF_GEMM_GFLOPS] = "perf/gemm_gflops",
        [METRIC_PERF_CORES] = "perf/cores",
        [METRIC_PERF_MEMORY_MIB] = "perf/memory_mib",
        [METRIC_PERF_TEMPERATURE_C] = "perf/temperature_c",
};

const char *metric_name(enum metric metric) {
        return names[metric];
}

int metric_from_name(const char *name, enum metric *ret) {
        for (int i = 0; i < N_METRICS; i++) {
                if (strcmp(names[i], name) == 0) {
                        *ret = (enum metric)i;
                        return 0;
                }
        }
        return -EINVAL;
}

int metrics_argmax(const float *logits, int n) {
        int best = 0;
        for (int i = 1; i < n; i++) {
                if (logits[i] > logits[best])
                        best = i;
        }
        return best;
}

/* log Σ exp(x) - x[label], with the largest logit taken out so that nothing overflows. */
double metrics_cross_entropy(const float *logits, int n, int label) {
        double top = logits[metrics_argmax(logits, n)], sum = 0;
        for (int i = 0; i < n; i++)
                sum += exp(logits[i] - top);
        return top + log(sum) - logits[label];
}

static double ratio(size_t part, size_t whole) {
        return whole > 0 ? (double)part / (double)whole : 0.0;
}

/* Rows and columns of the confusion matrix. */
struct counts {
        size_t right[METRICS_MAX_LABELS], labelled[METRICS_MAX_LABELS], predicted[METRICS_MAX_LABELS];
};

/* Gorodkin 2004: the correlation of two assignments to classes; with two classes Matthews' own. */
static double correlation(const struct counts *counts, size_t n, size_t right, int n_labels) {
        double both = (double)right * (double)n, labels = (double)n * (double)n, predictions = labels;
        for (int c = 0; c < n_labels; c++) {
                both -= (double)counts->labelled[c] * (double)counts->predicted[c];
                labels -= (double)counts->labelled[c] * (double)counts->labelled[c];
                predictions -= (double)counts->predicted[c] * (double)counts->predicted[c];
        }
        return labels > 0 && predictions > 0 ? both / sqrt(labels * predictions) : 0;
}

void metrics_count(const int32_t *labels, const int32_t *predictions, size_t n, int n_labels, struct evaluation *ret) {
        struct counts counts = {0};
        size_t right = 0;
        for (size_t i = 0; i < n; i++) {
                counts.labelled[labels[i]]++;
                counts.predicted[predictions[i]]++;
                counts.right[labels[i]] += labels[i] == predictions[i];
                right += labels[i] == predictions[i];
        }
        int first = n_labels == 2, n_classes = n_labels - first;
        ret->f1 = ret->precision = ret->recall = 0;
        for (int c = first; c < n_labels; c++) {
                ret->f1 += ratio(2 * counts.right[c], counts.labelled[c] + counts.predicted[c]) / n_classes;
                ret->precision += ratio(counts.right[c], counts.predicted[c]) / n_classes;
                ret->recall += ratio(counts.right[c], counts.labelled[c]) / n_classes;
        }
        ret->accuracy = ratio(right, n);
        ret->mcc = correlation(&counts, n, right, n_labels);
}
