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
        METRIC_EVAL_MCC, /* only for tasks that ask for it */
        METRIC_PERF_TOKENS_PER_S, /* from here on about the machine, not about the model: never the same twice */
        METRIC_PERF_STEP_S,
        METRIC_PERF_GEMM_GFLOPS,
        METRIC_PERF_CORES,
        METRIC_PERF_MEMORY_MIB,
        METRIC_PERF_TEMPERATURE_C, /* only where there is a sensor */
        N_METRICS,
};

const char *metric_name(enum metric metric);
int metric_from_name(const char *name, enum metric *ret); /* -EINVAL */

struct evaluation {
        double loss; /* mean cross-entropy over the examples */
        double accuracy;
        double f1, precision, recall; /* of class 1; with more than two classes the plain mean over them; 0 where undefined */
        double mcc;                   /* Matthews' correlation; 0 where undefined */
};

/* Index of the largest logit, the first of equal ones. */
int metrics_argmax(const float *logits, int n);

/* Cross-entropy of one row of logits, in double. */
double metrics_cross_entropy(const float *logits, int n, int label);

#define METRICS_MAX_LABELS 64

/* labels, predictions: [n], below n_labels. As scikit-learn's, average "binary" or "macro". The loss is left alone. */
void metrics_count(const int32_t *labels, const int32_t *predictions, size_t n, int n_labels, struct evaluation *ret);
