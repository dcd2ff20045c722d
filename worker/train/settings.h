/* Every setting of a training, read from a trial's parameters and a sweep's fixed values through one table. Faults name
 * the key and the range. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "data/task.h"
#include "model/model.h"
#include "token/token.h"
#include "train/schedule.h"

enum precision { PRECISION_F32, PRECISION_BF16 };
enum report { REPORT_LAST, REPORT_BEST };

#define SETTINGS_MAX_LABELS TASK_MAX_LABELS

/* none: all weigh 1 · balanced: n / (labels · count of the class), as scikit-learn · or one weight a label. */
struct class_weights {
        bool balanced;
        int n; /* of values; 0: none given */
        double values[SETTINGS_MAX_LABELS];
};

struct settings {
        const char *task_name;
        struct task own_task;    /* of task tsv; its texts belong to the JSON that was read */
        double learning_rate, weight_decay, max_grad_norm;
        double adam_beta1, adam_beta2, adam_epsilon;
        int64_t warmup_steps; /* -1: not given, warmup_ratio counts */
        double warmup_ratio;
        int lr_scheduler_type;                                    /* enum schedule_kind */
        double dropout, attention_dropout, seq_classif_dropout;   /* NAN: the model's own, until settings_fit_model */
        int64_t max_seq_length;                                   /* 0: 128 or what the model has, until settings_fit_model */
        int truncation;                                           /* enum truncation */
        double epochs;
        int64_t train_batch_size, eval_batch_size, gradient_accumulation_steps;
        double layerwise_lr_decay;
        int64_t freeze_layers;
        bool freeze_embeddings;
        double label_smoothing;
        struct class_weights class_weights;
        int64_t early_stopping_patience; /* evaluations without improvement; 0: off */
        double early_stopping_threshold; /* least improvement that counts */
        int64_t logging_steps, eval_steps; /* eval_steps 0: at each epoch's end */
        double checkpoint_s;
        int64_t limit_train, limit_eval; /* 0: all rows */
        int precision;                   /* enum precision */
        int64_t seed;                    /* -1: the trial's */
        int report;                      /* enum report */
};

void settings_defaults(struct settings *ret);

/* The task of task_name: a known one, or the settings' own. */
const struct task *settings_task(const struct settings *settings);

/* Sets from one JSON object (params, fixed or {"limit_train": …}); `where` ("params", …) appears in errors. given, an
 * object, collects the keys seen so far: a key that is in it already is refused. -EINVAL names the key and the range. */
int settings_read(struct settings *settings, const json_t *object, const char *where, json_t *given, struct error *err);

/* What only shows when all is read: both warmup forms, polynomial's least rate. */
int settings_check(const struct settings *settings, const json_t *given, struct error *err);

/* Resolves what the model decides (dropouts, longest sequence) and checks against it (freeze_layers). */
int settings_fit_model(struct settings *settings, const struct model_shape *shape, struct error *err);

/* All settings by name, for fingerprints and logs. New reference, NULL when out of memory. */
json_t *settings_to_json(const struct settings *settings);
