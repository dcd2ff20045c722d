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
        [METRIC_PERF_TOKENS_PER_S] = "perf/tokens_per_s",
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

void metrics_count(const int32_t *labels, const int32_t *predictions, size_t n, struct evaluation *ret) {
        size_t right = 0, true_positive = 0, false_positive = 0, false_negative = 0;
        for (size_t i = 0; i < n; i++) {
                right += labels[i] == predictions[i];
                true_positive += labels[i] == 1 && predictions[i] == 1;
                false_positive += labels[i] != 1 && predictions[i] == 1;
                false_negative += labels[i] == 1 && predictions[i] != 1;
        }
        ret->accuracy = ratio(right, n);
        ret->f1 = ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative);
        ret->precision = ratio(true_positive, true_positive + false_positive);
        ret->recall = ratio(true_positive, true_positive + false_negative);
}
