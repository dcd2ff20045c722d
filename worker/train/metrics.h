/* The names that a training reports, and the figures of an evaluation as scikit-learn defines them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum metric {
        METRIC_TRAIN_LOSS,
        METRIC_TRAIN_LEARNING_RATE,
        METRIC_TRAIN_GRAD_NORM,
        METRIC_EVAL_LOSS,
        METRIC_EVAL_ACCURACY,
        METRIC_EVAL_F1,
        METRIC_EVAL_PRECISION,
        METRIC_EVAL_RECALL,
        METRIC_PERF_TOKENS_PER_S,
        N_METRICS,
};

const char *metric_name(enum metric metric);
int metric_from_name(const char *name, enum metric *ret); /* -EINVAL */

struct evaluation {
        double loss; /* mean cross-entropy over the examples */
        double accuracy, f1, precision, recall; /* of class 1; 0 where undefined */
};

/* Index of the largest logit, the first of equal ones. */
int metrics_argmax(const float *logits, int n);

/* Cross-entropy of one row of logits, in double. */
double metrics_cross_entropy(const float *logits, int n, int label);

/* labels, predictions: [n]. The loss is left alone. */
void metrics_count(const int32_t *labels, const int32_t *predictions, size_t n, struct evaluation *ret);
