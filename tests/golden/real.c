/* A trajectory on real weights and real sentence pairs: tokenizer, data, model, optimizer and schedule together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "data/data.h"
#include "golden.h"
#include "model/folder.h"
#include "token/token.h"

#define DEV_BATCH 32

CLEANUP_DEFINE(struct model *, cleanup_model, model_free)
CLEANUP_DEFINE(struct safetensors *, cleanup_safetensors, safetensors_close)
CLEANUP_DEFINE(struct dataset *, cleanup_dataset, dataset_free)
CLEANUP_DEFINE(struct tokenizer *, cleanup_tokenizer, tokenizer_free)

struct real {
        struct report report;
        const json_t *expected;
        struct dataset *dataset;
        struct tokenizer *tokenizer;
        struct model *model;
        int batch_size, max_length;
        bool reversed; /* last row first */
        int32_t *ids, *offsets, *labels; /* of one batch */
};

/* Packs pairs first … first+n-1 (of the order asked for) into the batch's memory. */
static int pack(struct real *real, const struct pairs *pairs, size_t first, int n, bool reversed, struct batch *ret, struct error *err) {
        int32_t at = 0;
        for (int s = 0; s < n; s++) {
                size_t index = (first + (size_t)s) % pairs->n, length = 0;
                const struct pair *pair = &pairs->items[reversed ? pairs->n - 1 - index : index];
                int r = tokenizer_encode_pair(real->tokenizer, TRUNCATION_HF_FAST, pair->a, pair->a_len, pair->b, pair->b_len,
                                              (size_t)real->max_length, real->ids + at, &length, err);
                if (r < 0)
                        return r;
                at += (int32_t)length;
                real->offsets[s + 1] = at;
                real->labels[s] = pair->label;
        }
        *ret = (struct batch){.n_sequences = n, .n_tokens = at, .ids = real->ids, .offsets = real->offsets, .labels = real->labels};
        return 0;
}

/* The truth's head: no file of pretrained weights has one. */
static int read_head(struct real *real, const char *folder, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, "head.safetensors");
        _cleanup_(cleanup_safetensors) struct safetensors *file = NULL;
        int r = safetensors_open(path, &file, err);
        for (size_t i = 0; r == 0 && i < model_n_parameters(real->model); i++) {
                const struct model_parameter *p = model_parameter(real->model, i);
                const struct tensor *tensor = safetensors_find(file, p->name);
                if (p->layer != model_shape(real->model)->layers)
                        continue;
                if (!tensor || tensor->n != p->size)
                        return error_set(err, -EINVAL, "%s: tensor %s is missing or of another size", path, p->name);
                r = safetensors_read_floats(file, tensor, model_weights(real->model) + p->offset, err);
        }
        return r;
}

static int open_all(struct real *real, const char *folder, const char *model, const char *data, struct error *err) {
        const json_t *h = json_object_get(real->expected, "hyperparameters");
        const char *rows = json_string_value(json_object_get(real->expected, "train_rows"));
        struct model_shape shape;
        bool drew_head;
        real->batch_size = (int)json_integer_value(json_object_get(h, "bs"));
        real->max_length = (int)json_integer_value(json_object_get(h, "max_length"));
        if (!rows || (strcmp(rows, "file order") != 0 && strcmp(rows, "file order reversed") != 0))
                return error_set(err, -EINVAL, "expected.json: train_rows is neither 'file order' nor 'file order reversed'");
        if (real->batch_size < 1 || real->max_length < 3)
                return error_set(err, -EINVAL, "expected.json: bs and max_length must be given");
        real->reversed = strcmp(rows, "file order") != 0;
        int largest = real->batch_size > DEV_BATCH ? real->batch_size : DEV_BATCH;
        struct model_limits limits = {
                .max_sequences = largest, .max_tokens = largest * real->max_length, .max_length = real->max_length, .training = true, .threads = real->report.threads, .bf16 = real->report.bf16};
        real->ids = calloc((size_t)limits.max_tokens, sizeof *real->ids);
        real->offsets = calloc((size_t)largest + 1, sizeof *real->offsets);
        real->labels = calloc((size_t)largest, sizeof *real->labels);
        _cleanup_free_ char *vocab = fs_join(model, "vocab.txt");
        if (!real->ids || !real->offsets || !real->labels || !vocab)
                return error_set(err, -ENOMEM, "out of memory");
        int r = dataset_open(data, NULL, &real->dataset, err);
        if (r == 0)
                r = tokenizer_open(vocab, &real->tokenizer, err);
        if (r == 0)
                r = model_folder_read_shape(model, &shape, err);
        if (r == 0)
                r = model_new(&shape, &limits, &real->model, err);
        if (r == 0)
                r = model_folder_read_weights(model, real->model, 0, &drew_head, err);
        return r < 0 ? r : read_head(real, folder, err);
}

static int train(struct real *real, struct error *err) {
        const json_t *h = json_object_get(real->expected, "hyperparameters"), *steps = json_object_get(real->expected, "steps");
        const char *kind = json_string_value(json_object_get(h, "sched"));
        const struct adamw adamw = {.beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .epsilon = json_number_value(json_object_get(h, "eps")),
                                    .weight_decay = json_number_value(json_object_get(h, "weight_decay")),
                                    .max_grad_norm = json_number_value(json_object_get(h, "clip")),
                                    .layerwise_lr_decay = 1};
        struct schedule schedule = {.warmup_steps = (uint64_t)json_integer_value(json_object_get(h, "warmup")),
                                    .total_steps = (uint64_t)json_integer_value(json_object_get(h, "steps")),
                                    .learning_rate = json_number_value(json_object_get(h, "lr"))};
        double lr = 0, loss = 0, norm = 0;
        if (!kind || schedule_kind_parse(kind, &schedule.kind) < 0)
                return error_set(err, -EINVAL, "expected.json: sched '%s' is unknown", kind ? kind : "");
        for (size_t k = 0; k < json_array_size(steps); k++) {
                const json_t *expected = json_array_get(steps, k);
                struct batch batch;
                int r = pack(real, &real->dataset->train, k * (size_t)real->batch_size, real->batch_size, real->reversed, &batch, err);
                if (r < 0)
                        return r;
                struct golden_step step = golden_train_step(real->model, &batch, &schedule, k, NULL);
                model_adamw_step(real->model, &adamw, step.lr, k + 1, model_clip_coefficient(&adamw, step.grad_norm));
                lr = golden_worst(lr, golden_relative(step.lr, json_number_value(json_object_get(expected, "lr"))));
                loss = golden_worst(loss, fabs(step.loss - json_number_value(json_object_get(expected, "loss"))));
                norm = golden_worst(norm, golden_relative(step.grad_norm, json_number_value(json_object_get(expected, "grad_norm"))));
        }
        report_quantity(&real->report, "lr", lr, 1e-12);
        report_quantity(&real->report, "loss", loss, 2e-5);
        report_quantity(&real->report, "grad_norm", norm, 1e-4);
        return 0;
}

static int evaluate(struct real *real, struct error *err) {
        const json_t *truth = json_object_get(real->expected, "dev_logits");
        const struct pairs *dev = &real->dataset->dev;
        const size_t labels = (size_t)model_shape(real->model)->n_labels;
        _cleanup_free_ float *logits = calloc(DEV_BATCH * labels, sizeof *logits);
        double worst = 0;
        size_t n_right = 0;
        if (!logits)
                return error_set(err, -ENOMEM, "out of memory");
        if (json_array_size(truth) != dev->n || dev->n == 0)
                return error_set(err, -EINVAL, "dev_logits has %zu rows, the data %zu", json_array_size(truth), dev->n);
        for (size_t first = 0; first < dev->n; first += DEV_BATCH) {
                int n = dev->n - first < DEV_BATCH ? (int)(dev->n - first) : DEV_BATCH;
                struct batch batch;
                int r = pack(real, dev, first, n, false, &batch, err);
                if (r < 0)
                        return r;
                model_forward(real->model, &batch, logits);
                for (int s = 0; s < n; s++) {
                        const float *row = logits + (size_t)s * labels;
                        worst = golden_worst(worst, golden_max_difference_json(row, json_array_get(truth, first + (size_t)s)));
                        n_right += (row[1] > row[0]) == (batch.labels[s] == 1);
                }
        }
        report_quantity(&real->report, "dev_logits", worst, 5e-4);
        double accuracy = (double)n_right / (double)dev->n;
        report_quantity(&real->report, "dev_accuracy", fabs(accuracy - json_number_value(json_object_get(real->expected, "dev_accuracy"))),
                        1.01 / (double)dev->n); /* one pair may sit on the fence */
        return 0;
}

static void real_fini(struct real *real) {
        model_free(real->model);
        tokenizer_free(real->tokenizer);
        dataset_free(real->dataset);
        free(real->ids);
        free(real->offsets);
        free(real->labels);
}

int golden_replay_real(const char *folder, const char *model, const char *data, const struct golden_mode *mode, bool *ret_ok, struct error *err) {
        _cleanup_json_ json_t *expected = NULL;
        _cleanup_(real_fini) struct real real = {.report = {.name = "real", .bf16 = mode->bf16, .threads = mode->threads}};
        int r = golden_read_json(folder, "expected.json", &expected, err);
        real.expected = expected;
        if (r == 0)
                r = open_all(&real, folder, model, data, err);
        if (r == 0)
                r = train(&real, err);
        if (r == 0)
                r = evaluate(&real, err);
        *ret_ok = !real.report.failed;
        return r;
}
