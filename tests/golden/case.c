/* One training case: ten steps from given weights; loss, logits, hidden states, gradients and final weights against
 * float64. */
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "golden.h"
#include "kernels/kernels.h"
#include "model/folder.h"

CLEANUP_DEFINE(struct model *, cleanup_model, model_free)
CLEANUP_DEFINE(struct safetensors *, cleanup_safetensors, safetensors_close)

/* Below this share of the global norm a tensor's gradient is rounding noise in float32. */
#define NOISE_SHARE 1e-9

struct replay {
        struct report report;
        json_t *input, *expected; /* batch.json, expected.json */
        struct safetensors *truth;
        struct model *model;
        float *initial; /* weights before the first step */
        struct golden_batch *batches;
        size_t n_steps;
        double lr_sum;
};

static void replay_fini(struct replay *replay) {
        for (size_t i = 0; replay->batches && i < replay->n_steps; i++)
                golden_batch_fini(&replay->batches[i]);
        free(replay->batches);
        free(replay->initial);
        model_free(replay->model);
        safetensors_close(replay->truth);
        json_decref(replay->expected);
        json_decref(replay->input);
}

/* float64 tensor "prefix.name"; the caller frees it. */
static int read_truth(const struct replay *replay, const char *prefix, const char *name, size_t n, double **ret, struct error *err) {
        char full[160];
        snprintf(full, sizeof full, "%s.%s", prefix, name);
        const struct tensor *tensor = safetensors_find(replay->truth, full);
        if (!tensor || tensor->n != n)
                return error_set(err, -EINVAL, "expected.safetensors: tensor %s is missing or not of %zu elements", full, n);
        _cleanup_free_ double *values = calloc(n ? n : 1, sizeof *values);
        if (!values)
                return error_set(err, -ENOMEM, "out of memory");
        int r = safetensors_read_doubles(replay->truth, tensor, values, err);
        if (r == 0)
                *ret = TAKE(values);
        return r;
}

static int read_batches(struct replay *replay, struct model_limits *limits, struct error *err) {
        const json_t *steps = json_object_get(replay->input, "steps");
        replay->n_steps = json_array_size(steps);
        replay->batches = calloc(replay->n_steps ? replay->n_steps : 1, sizeof *replay->batches);
        if (!replay->batches || replay->n_steps == 0)
                return error_set(err, -EINVAL, "batch.json: no steps");
        for (size_t i = 0; i < replay->n_steps; i++) {
                const json_t *step = json_array_get(steps, i);
                int r = golden_batch_init(&replay->batches[i], json_object_get(step, "ids"), json_object_get(step, "labels"), err);
                if (r < 0)
                        return r;
                const struct batch *batch = &replay->batches[i].batch;
                limits->max_sequences = batch->n_sequences > limits->max_sequences ? batch->n_sequences : limits->max_sequences;
                limits->max_tokens = batch->n_tokens > limits->max_tokens ? batch->n_tokens : limits->max_tokens;
                for (int s = 0; s < batch->n_sequences; s++) {
                        int length = batch->offsets[s + 1] - batch->offsets[s];
                        limits->max_length = length > limits->max_length ? length : limits->max_length;
                }
        }
        return 0;
}

static int replay_open(struct replay *replay, const char *folder, struct error *err) {
        struct model_shape shape;
        struct model_limits limits = {.training = true, .threads = replay->report.threads, .bf16 = replay->report.bf16};
        bool drew_head;
        _cleanup_free_ char *truth = fs_join(folder, "expected.safetensors");
        int r = golden_read_json(folder, "batch.json", &replay->input, err);
        if (r == 0)
                r = golden_read_json(folder, "expected.json", &replay->expected, err);
        if (r == 0)
                r = safetensors_open(truth, &replay->truth, err);
        if (r == 0)
                r = model_folder_read_shape(folder, &shape, err);
        if (r == 0)
                r = read_batches(replay, &limits, err);
        if (r == 0)
                r = model_new(&shape, &limits, &replay->model, err);
        if (r == 0)
                r = model_folder_read_weights(folder, replay->model, 0, &drew_head, err);
        if (r == 0 && drew_head)
                r = error_set(err, -EINVAL, "model.safetensors: no head");
        if (r < 0)
                return r;
        size_t bytes = model_n_floats(replay->model) * sizeof(float);
        replay->initial = malloc(bytes);
        if (!replay->initial)
                return error_set(err, -ENOMEM, "out of memory");
        memcpy(replay->initial, model_weights(replay->model), bytes);
        return 0;
}

static int read_hyperparameters(const json_t *input, struct adamw *adamw, struct schedule *schedule, struct error *err) {
        const json_t *h = json_object_get(input, "hyperparameters");
        const char *kind = json_string_value(json_object_get(h, "schedule"));
        *adamw = (struct adamw){.beta1 = json_number_value(json_object_get(h, "beta1")),
                                .beta2 = json_number_value(json_object_get(h, "beta2")),
                                .epsilon = json_number_value(json_object_get(h, "eps")),
                                .weight_decay = json_number_value(json_object_get(h, "weight_decay")),
                                .max_grad_norm = json_number_value(json_object_get(h, "max_grad_norm")),
                                .layerwise_lr_decay = 1};
        *schedule = (struct schedule){.learning_rate = json_number_value(json_object_get(h, "lr")),
                                      .warmup_steps = (uint64_t)json_integer_value(json_object_get(h, "warmup_steps")),
                                      .total_steps = (uint64_t)json_integer_value(json_object_get(h, "total_steps"))};
        if (!kind || schedule_kind_parse(kind, &schedule->kind) < 0)
                return error_set(err, -EINVAL, "batch.json: schedule '%s' is unknown", kind ? kind : "");
        return 0;
}

static bool is_k_bias(const char *name) {
        const char *suffix = strstr(name, "k_lin.bias");
        return suffix && strlen(suffix) == strlen("k_lin.bias");
}

/* The first batch's hidden states; rows of padding do not exist here, and of the last block only [CLS] rows do. */
static int compare_hidden(struct replay *replay, struct error *err) {
        const struct batch *batch = &replay->batches[0].batch;
        const struct model_shape *shape = model_shape(replay->model);
        int longest = 0;
        for (int s = 0; s < batch->n_sequences; s++)
                longest = batch->offsets[s + 1] - batch->offsets[s] > longest ? batch->offsets[s + 1] - batch->offsets[s] : longest;
        for (int i = 0; i <= shape->layers; i++) {
                _cleanup_free_ double *truth = NULL;
                char index[16];
                const size_t dim = (size_t)shape->dim;
                const float *hidden = model_hidden(replay->model, i);
                double worst = 0;
                snprintf(index, sizeof index, "%d", i);
                int r = read_truth(replay, "hidden", index, (size_t)batch->n_sequences * (size_t)longest * dim, &truth, err);
                if (r < 0)
                        return r;
                for (int s = 0; s < batch->n_sequences; s++) {
                        bool last = i == shape->layers;
                        size_t rows = last ? 1 : (size_t)(batch->offsets[s + 1] - batch->offsets[s]);
                        size_t at = last ? (size_t)s : (size_t)batch->offsets[s];
                        worst = golden_worst(worst, golden_max_difference(hidden + at * dim, truth + (size_t)s * (size_t)longest * dim, rows * dim));
                }
                report_tensor(&replay->report, "hidden", index, worst, 3e-5);
        }
        return 0;
}

/* Relative L2 distance per tensor. k_lin.bias has a gradient of 0: softmax ignores what is added to all scores of a query. */
static int compare_gradients(struct replay *replay, double global_norm, struct error *err) {
        for (size_t i = 0; i < model_n_parameters(replay->model); i++) {
                const struct model_parameter *p = model_parameter(replay->model, i);
                const float *gradient = model_gradients(replay->model) + p->offset;
                _cleanup_free_ double *truth = NULL;
                int r = read_truth(replay, "grad", p->name, p->size, &truth, err);
                if (r < 0)
                        return r;
                if (is_k_bias(p->name)) {
                        const struct model_parameter *weight = model_parameter(replay->model, i - 1);
                        report_tensor(&replay->report, "grad", p->name, golden_l2(gradient, p->size),
                                      1e-6 * golden_l2(model_gradients(replay->model) + weight->offset, weight->size));
                        continue;
                }
                double difference = 0, norm = 0;
                for (size_t j = 0; j < p->size; j++) {
                        difference += (gradient[j] - truth[j]) * (gradient[j] - truth[j]);
                        norm += truth[j] * truth[j];
                }
                report_tensor(&replay->report, "grad", p->name, sqrt(difference) / fmax(sqrt(norm), NOISE_SHARE * global_norm), 1e-5);
        }
        return 0;
}

static int compare_final(struct replay *replay, struct error *err) {
        for (size_t i = 0; i < model_n_parameters(replay->model); i++) {
                const struct model_parameter *p = model_parameter(replay->model, i);
                const float *weights = model_weights(replay->model) + p->offset;
                _cleanup_free_ double *truth = NULL;
                int r = read_truth(replay, "final", p->name, p->size, &truth, err);
                if (r < 0)
                        return r;
                double tolerance = strstr(p->name, "word_embeddings") ? 5e-5 : 1e-5;
                if (is_k_bias(p->name)) { /* Adam turns the noise of its gradient into steps of up to the rate */
                        for (size_t j = 0; j < p->size; j++)
                                truth[j] = replay->initial[p->offset + j];
                        tolerance = 1.1 * replay->lr_sum;
                }
                report_tensor(&replay->report, "final", p->name, golden_max_difference(weights, truth, p->size), tolerance);
        }
        return 0;
}

static int train(struct replay *replay, struct error *err) {
        struct adamw adamw;
        struct schedule schedule;
        const json_t *steps = json_object_get(replay->expected, "steps");
        double lr = 0, loss = 0, logits_error = 0, norm = 0;
        int labels = model_shape(replay->model)->n_labels;
        int r = read_hyperparameters(replay->input, &adamw, &schedule, err);
        if (r == 0 && json_array_size(steps) != replay->n_steps)
                r = error_set(err, -EINVAL, "expected.json: not as many steps as batch.json");
        for (size_t k = 0; r == 0 && k < replay->n_steps; k++) {
                const struct batch *batch = &replay->batches[k].batch;
                const json_t *expected = json_array_get(steps, k);
                _cleanup_free_ float *logits = calloc((size_t)batch->n_sequences * (size_t)labels, sizeof *logits);
                if (!logits)
                        return error_set(err, -ENOMEM, "out of memory");
                struct golden_step step = golden_train_step(replay->model, batch, &schedule, k, logits);
                double true_loss = json_number_value(json_object_get(expected, "loss"));
                lr = golden_worst(lr, golden_relative(step.lr, json_number_value(json_object_get(expected, "lr"))));
                loss = golden_worst(loss, fabs(step.loss - true_loss) / fmax(1, fabs(true_loss)));
                norm = golden_worst(norm, golden_relative(step.grad_norm, json_number_value(json_object_get(expected, "grad_norm"))));
                logits_error = golden_worst(logits_error, golden_max_difference_json(logits, json_object_get(expected, "logits")));
                if (k == 0)
                        r = compare_hidden(replay, err);
                if (k == 0 && r == 0)
                        r = compare_gradients(replay, step.grad_norm, err);
                model_adamw_step(replay->model, &adamw, step.lr, k + 1, model_clip_coefficient(&adamw, step.grad_norm));
                replay->lr_sum += step.lr;
        }
        report_quantity(&replay->report, "lr", lr, 1e-12);
        report_quantity(&replay->report, "loss", loss, 1e-5);
        report_quantity(&replay->report, "logits", logits_error, 3e-5);
        report_quantity(&replay->report, "grad_norm", norm, 2e-5);
        return r;
}

static int compare_after_training(struct replay *replay, struct error *err) {
        const struct batch *batch = &replay->batches[0].batch;
        const json_t *expected = json_object_get(replay->expected, "after_training_first_batch");
        const int labels = model_shape(replay->model)->n_labels;
        _cleanup_free_ float *logits = calloc((size_t)batch->n_sequences * (size_t)labels, sizeof *logits);
        if (!logits)
                return error_set(err, -ENOMEM, "out of memory");
        model_forward(replay->model, batch, logits);
        double loss = cross_entropy(NULL, logits, batch->labels, batch->n_sequences, labels, NULL, 1);
        double true_loss = json_number_value(json_object_get(expected, "loss"));
        report_quantity(&replay->report, "after_training.loss", fabs(loss - true_loss) / fmax(1, fabs(true_loss)), 1e-5);
        report_quantity(&replay->report, "after_training.logits", golden_max_difference_json(logits, json_object_get(expected, "logits")), 5e-5);
        return 0;
}

int golden_replay_case(const char *folder, const struct golden_mode *mode, bool *ret_ok, struct error *err) {
        _cleanup_free_ char *copy = strdup(folder);
        _cleanup_(replay_fini) struct replay replay = {.report = {.name = copy ? basename(copy) : folder, .bf16 = mode->bf16, .threads = mode->threads}};
        int r = replay_open(&replay, folder, err);
        if (r == 0)
                r = train(&replay, err);
        if (r == 0)
                r = compare_final(&replay, err);
        if (r == 0)
                r = compare_after_training(&replay, err);
        if (r < 0) {
                error_prefix(err, "%s", folder);
                return r;
        }
        *ret_ok = !replay.report.failed;
        return 0;
}
