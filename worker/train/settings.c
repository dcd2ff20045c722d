/* One table row a setting: where it is stored, its type, its range as numbers and as people read it. A new setting is a
 * member of struct settings, a default and a row. */
#include "train/settings.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "common/json.h"
#include "common/nearest.h"

enum type { REAL, WHOLE, FLAG, CHOICE, WEIGHTS, TASK, COLUMN, LABELS };

struct setting {
        const char *name;
        enum type type;
        size_t offset;
        double low, high;
        bool low_open, high_open; /* the bound itself is outside */
        const char *range;        /* for people; choices separated by ", " */
        bool nullable;            /* null means the default */
};

#define OWN_TASK "tsv"
#define AT(member) offsetof(struct settings, member)
#define BIG 9007199254740992.0 /* 2^53: every whole number below is exact as a double */

static const struct setting table[] = {
        {"task", TASK, AT(task_name), .range = "mrpc, qqp, rte, sst2, cola, qnli, tsv"},
        {"text_a", COLUMN, AT(own_task.text_a), .range = "the name of a column"},
        {"text_b", COLUMN, AT(own_task.text_b), .range = "the name of a column", .nullable = true},
        {"label", COLUMN, AT(own_task.label), .range = "the name of a column"},
        {"labels", LABELS, AT(own_task), .range = "a list of 2 to 64 different texts"},
        {"learning_rate", REAL, AT(learning_rate), 0, 1, .low_open = true, .range = "> 0 and <= 1"},
        {"weight_decay", REAL, AT(weight_decay), 0, 1, .range = "0 to 1"},
        {"max_grad_norm", REAL, AT(max_grad_norm), 0, HUGE_VAL, .range = ">= 0"},
        {"warmup_steps", WHOLE, AT(warmup_steps), 0, BIG, .range = ">= 0"},
        {"warmup_ratio", REAL, AT(warmup_ratio), 0, 1, .range = "0 to 1"},
        {"lr_scheduler_type", CHOICE, AT(lr_scheduler_type),
         .range = "linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup"},
        {"adam_beta1", REAL, AT(adam_beta1), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"adam_beta2", REAL, AT(adam_beta2), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"adam_epsilon", REAL, AT(adam_epsilon), 0, HUGE_VAL, .low_open = true, .range = "> 0"},
        {"dropout", REAL, AT(dropout), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"attention_dropout", REAL, AT(attention_dropout), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"seq_classif_dropout", REAL, AT(seq_classif_dropout), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"max_seq_length", WHOLE, AT(max_seq_length), 8, BIG, .range = "8 to the model's positions"},
        {"truncation", CHOICE, AT(truncation), .range = "hf_fast, hf_slow"},
        {"epochs", REAL, AT(epochs), 0, 1e6, .low_open = true, .range = "> 0 and <= 1000000"},
        {"train_batch_size", WHOLE, AT(train_batch_size), 1, 1e6, .range = "1 to 1000000"},
        {"eval_batch_size", WHOLE, AT(eval_batch_size), 1, 1e6, .range = "1 to 1000000"},
        {"gradient_accumulation_steps", WHOLE, AT(gradient_accumulation_steps), 1, 1e6, .range = "1 to 1000000"},
        {"layerwise_lr_decay", REAL, AT(layerwise_lr_decay), 0, 1, .low_open = true, .range = "> 0 and <= 1"},
        {"freeze_layers", WHOLE, AT(freeze_layers), 0, BIG, .range = "0 to the model's layers"},
        {"freeze_embeddings", FLAG, AT(freeze_embeddings), .range = "true or false"},
        {"label_smoothing", REAL, AT(label_smoothing), 0, 1, .high_open = true, .range = ">= 0 and < 1"},
        {"class_weights", WEIGHTS, AT(class_weights), .range = "\"none\", \"balanced\" or a list of one positive number a label"},
        {"early_stopping_patience", WHOLE, AT(early_stopping_patience), 1, BIG, .range = ">= 1", .nullable = true},
        {"early_stopping_threshold", REAL, AT(early_stopping_threshold), 0, HUGE_VAL, .range = ">= 0"},
        {"logging_steps", WHOLE, AT(logging_steps), 1, BIG, .range = ">= 1"},
        {"eval_steps", WHOLE, AT(eval_steps), 1, BIG, .range = ">= 1", .nullable = true},
        {"checkpoint_s", REAL, AT(checkpoint_s), 1, HUGE_VAL, .range = ">= 1"},
        {"limit_train", WHOLE, AT(limit_train), 1, BIG, .range = ">= 1", .nullable = true},
        {"limit_eval", WHOLE, AT(limit_eval), 1, BIG, .range = ">= 1", .nullable = true},
        {"precision", CHOICE, AT(precision), .range = "f32, bf16"},
        {"seed", WHOLE, AT(seed), 0, HUGE_VAL, .range = ">= 0"},
        {"report", CHOICE, AT(report), .range = "last, best"},
};

#define N_SETTINGS (sizeof table / sizeof *table)

void settings_defaults(struct settings *ret) {
        *ret = (struct settings){
                .task_name = "mrpc",
                .own_task = {.name = OWN_TASK, .has_header = true, .labels = {"0", "1"}, .n_labels = 2, .reports_mcc = true},
                .learning_rate = 5e-5,
                .max_grad_norm = 1.0,
                .warmup_steps = -1,
                .lr_scheduler_type = SCHEDULE_LINEAR,
                .adam_beta1 = 0.9,
                .adam_beta2 = 0.999,
                .adam_epsilon = 1e-8,
                .dropout = NAN,
                .attention_dropout = NAN,
                .seq_classif_dropout = NAN,
                .truncation = TRUNCATION_HF_FAST,
                .epochs = 3,
                .train_batch_size = 16,
                .eval_batch_size = 32,
                .gradient_accumulation_steps = 1,
                .layerwise_lr_decay = 1.0,
                .logging_steps = 10,
                .checkpoint_s = 60,
                .seed = -1,
                .report = REPORT_LAST,
        };
}

const struct task *settings_task(const struct settings *settings) {
        const struct task *known = task_find(settings->task_name);
        return known ? known : &settings->own_task;
}

static const struct setting *find(const char *name) {
        for (size_t i = 0; i < N_SETTINGS; i++) {
                if (strcmp(table[i].name, name) == 0)
                        return &table[i];
        }
        return NULL;
}

static int refuse(const struct setting *setting, const json_t *value, const char *where, struct error *err) {
        char *text = json_text(value);
        int r = error_set(err, -EINVAL, "%s%s%s must be %s%s, got %.80s", where, *where ? "." : "", setting->name,
                          setting->type == CHOICE || setting->type == TASK ? "one of "
                          : setting->type == WHOLE ? "a whole number "
                          : setting->type == REAL  ? "a number "
                                                   : "",
                          setting->range, text ? text : "something else");
        free(text);
        return r;
}

static bool in_range(const struct setting *setting, double value) {
        return (setting->low_open ? value > setting->low : value >= setting->low) &&
               (setting->high_open ? value < setting->high : value <= setting->high);
}

/* Numbers written as 16 or 16.0; integers beyond 2^53 (seeds) keep all their bits. */
static bool read_whole(const json_t *value, int64_t *ret) {
        if (json_is_integer(value))
                return *ret = json_integer_value(value), true;
        double real = json_number_value(value);
        if (!json_is_real(value) || real != floor(real) || fabs(real) > BIG)
                return false;
        return *ret = (int64_t)real, true;
}

/* Position of text in "a, b, c"; -1. */
static int find_choice(const char *choices, const char *text) {
        size_t len = strlen(text);
        int index = 0;
        for (const char *choice = choices; *choice && len > 0; index++) {
                size_t n = strcspn(choice, ",");
                if (n == len && memcmp(choice, text, n) == 0)
                        return index;
                choice += n + strspn(choice + n, ", ");
        }
        return -1;
}

static bool read_weights(const json_t *value, struct class_weights *ret) {
        struct class_weights weights = {.n = (int)json_array_size(value)};
        const char *word = json_string_value(value);
        if (word) {
                weights.balanced = strcmp(word, "balanced") == 0;
                *ret = weights;
                return weights.balanced || strcmp(word, "none") == 0;
        }
        if (weights.n < 1 || weights.n > SETTINGS_MAX_LABELS)
                return false;
        for (int i = 0; i < weights.n; i++) {
                weights.values[i] = json_number_value(json_array_get(value, (size_t)i));
                if (!(weights.values[i] > 0 && weights.values[i] <= 1e6))
                        return false;
        }
        *ret = weights;
        return true;
}

static bool read_task(const json_t *value, const char **ret) {
        const char *name = json_string_value(value);
        bool is_own = name && strcmp(name, OWN_TASK) == 0;
        const struct task *found = name && !is_own ? task_find(name) : NULL;
        if (is_own || found)
                *ret = is_own ? OWN_TASK : found->name;
        return is_own || found;
}

static bool read_labels(const json_t *value, struct task *task) {
        size_t n = json_array_size(value);
        if (n < 2 || n > TASK_MAX_LABELS)
                return false;
        for (size_t i = 0; i < n; i++) {
                const char *text = json_string_value(json_array_get(value, i));
                if (!text || strpbrk(text, "\t\r\n"))
                        return false;
                for (size_t k = 0; k < i; k++)
                        if (strcmp(task->labels[k], text) == 0)
                                return false;
                task->labels[i] = text;
        }
        task->n_labels = (int)n;
        return true;
}

static int set(struct settings *settings, const struct setting *setting, const json_t *value, const char *where, struct error *err) {
        void *at = (char *)settings + setting->offset;
        int64_t whole;
        int index;
        if (setting->nullable && json_is_null(value))
                return 0;
        switch (setting->type) {
        case REAL:
                if (!json_is_number(value) || !in_range(setting, json_number_value(value)))
                        return refuse(setting, value, where, err);
                *(double *)at = json_number_value(value);
                return 0;
        case WHOLE:
                if (!read_whole(value, &whole) || !in_range(setting, (double)whole))
                        return refuse(setting, value, where, err);
                *(int64_t *)at = whole;
                return 0;
        case FLAG:
                if (!json_is_boolean(value))
                        return refuse(setting, value, where, err);
                *(bool *)at = json_is_true(value);
                return 0;
        case CHOICE:
                index = json_is_string(value) ? find_choice(setting->range, json_string_value(value)) : -1;
                if (index < 0)
                        return refuse(setting, value, where, err);
                *(int *)at = index;
                return 0;
        case WEIGHTS:
                return read_weights(value, at) ? 0 : refuse(setting, value, where, err);
        case TASK:
                return read_task(value, at) ? 0 : refuse(setting, value, where, err);
        case COLUMN:
                if (json_string_length(value) == 0)
                        return refuse(setting, value, where, err);
                *(const char **)at = json_string_value(value);
                return 0;
        case LABELS:
                return read_labels(value, at) ? 0 : refuse(setting, value, where, err);
        }
        return -EINVAL;
}

static int refuse_name(const char *where, const char *key, struct error *err) {
        struct nearest nearest = {.word = key};
        for (size_t i = 0; i < N_SETTINGS; i++)
                nearest_offer(&nearest, table[i].name);
        return error_set(err, -EINVAL, "%s%s%.100s is not a setting of this trainer%s%s%s", where, *where ? "." : "", key,
                         nearest.name ? ": did you mean '" : "", nearest.name ? nearest.name : "", nearest.name ? "'?" : "");
}

int settings_read(struct settings *settings, const json_t *object, const char *where, json_t *given, struct error *err) {
        if (!object || json_is_null(object))
                return 0;
        if (!json_is_object(object))
                return error_set(err, -EINVAL, "%s must be an object", where);
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value) {
                const struct setting *setting = find(key);
                if (!setting)
                        return refuse_name(where, key, err);
                if (json_object_get(given, key))
                        return error_set(err, -EINVAL, "%s is given twice, in %s and elsewhere", key, where);
                int r = set(settings, setting, value, where, err);
                if (r < 0)
                        return r;
                if (json_object_set(given, key, value) < 0)
                        return error_set(err, -ENOMEM, "out of memory");
        }
        return 0;
}

int settings_check(const struct settings *settings, const json_t *given, struct error *err) {
        if (json_object_get(given, "warmup_steps") && json_object_get(given, "warmup_ratio"))
                return error_set(err, -EINVAL, "warmup_steps and warmup_ratio are both given; one of them decides");
        static const char *const own[] = {"text_a", "label", "text_b", "labels"};
        bool is_own = settings_task(settings) == &settings->own_task;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
                bool is_given = json_object_get(given, own[i]);
                if (is_given && !is_own)
                        return error_set(err, -EINVAL, "%s goes with task tsv; the columns of %s are known", own[i], settings->task_name);
                if (!is_given && is_own && i < 2)
                        return error_set(err, -EINVAL, "%s is missing: task tsv needs the names of the columns text_a and label", own[i]);
        }
        if (settings->lr_scheduler_type == SCHEDULE_POLYNOMIAL && settings->learning_rate <= SCHEDULE_POLYNOMIAL_END)
                return error_set(err, -EINVAL, "learning_rate must be > 1e-7 with lr_scheduler_type polynomial, which ends there");
        return 0;
}

int settings_fit_model(struct settings *settings, const struct model_shape *shape, struct error *err) {
        if (settings->max_seq_length > shape->max_positions)
                return error_set(err, -EINVAL, "max_seq_length must be 8 to the model's positions, which are %d; got %lld",
                                 shape->max_positions, (long long)settings->max_seq_length);
        if (settings->freeze_layers > shape->layers)
                return error_set(err, -EINVAL, "freeze_layers must be 0 to the model's layers, which are %d; got %lld", shape->layers,
                                 (long long)settings->freeze_layers);
        if (settings->class_weights.n > 0 && settings->class_weights.n != shape->n_labels)
                return error_set(err, -EINVAL, "class_weights must be one number for each of the %d labels; got %d", shape->n_labels,
                                 settings->class_weights.n);
        if (settings->max_seq_length == 0)
                settings->max_seq_length = shape->max_positions < 128 ? shape->max_positions : 128;
        if (isnan(settings->dropout))
                settings->dropout = shape->dropout;
        if (isnan(settings->attention_dropout))
                settings->attention_dropout = shape->attention_dropout;
        if (isnan(settings->seq_classif_dropout))
                settings->seq_classif_dropout = shape->seq_classif_dropout;
        return 0;
}

static json_t *get_weights(const struct class_weights *weights) {
        if (weights->n == 0)
                return json_string(weights->balanced ? "balanced" : "none");
        json_t *list = json_array();
        for (int i = 0; list && i < weights->n; i++)
                json_array_append_new(list, json_real(weights->values[i]));
        return list;
}

static json_t *get_labels(const struct task *task) {
        json_t *list = json_array();
        for (int i = 0; list && i < task->n_labels; i++)
                json_array_append_new(list, json_string(task->labels[i]));
        return list;
}

static json_t *get(const struct settings *settings, const struct setting *setting) {
        const void *at = (const char *)settings + setting->offset;
        switch (setting->type) {
        case REAL:
                return isnan(*(const double *)at) ? json_null() : json_real(*(const double *)at);
        case WHOLE:
                return json_integer(*(const int64_t *)at);
        case FLAG:
                return json_boolean(*(const bool *)at);
        case CHOICE:
                return json_integer(*(const int *)at);
        case WEIGHTS:
                return get_weights(at);
        case TASK:
                return json_string(*(const char *const *)at);
        case COLUMN:
                return *(const char *const *)at ? json_string(*(const char *const *)at) : json_null();
        case LABELS:
                return get_labels(at);
        }
        return NULL;
}

json_t *settings_to_json(const struct settings *settings) {
        json_t *object = json_object();
        for (size_t i = 0; object && i < N_SETTINGS; i++) {
                if (json_object_set_new(object, table[i].name, get(settings, &table[i])) < 0) {
                        json_decref(object);
                        return NULL;
                }
        }
        return object;
}
