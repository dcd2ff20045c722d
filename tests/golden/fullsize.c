/* DistilBERT-base dimensions with generated weights: one batch forward and backward. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "golden.h"
#include "model/folder.h"

CLEANUP_DEFINE(struct model *, cleanup_model, model_free)

/* Lists of ids and labels, as golden_batch_init takes them. */
static int read_pairs(const json_t *expected, struct golden_batch *ret, struct error *err) {
        _cleanup_json_ json_t *ids = json_array(), *labels = json_array();
        size_t i;
        json_t *pair;
        json_array_foreach(json_object_get(expected, "pairs"), i, pair) {
                json_array_append(ids, json_object_get(pair, "input_ids"));
                json_array_append(labels, json_object_get(pair, "label"));
        }
        return golden_batch_init(ret, ids, labels, err);
}

/* The loaded weights are those that the truth was computed from. */
static void compare_weights(struct report *report, struct model *model, const struct model_parameter *p, const json_t *tensor) {
        const float *weights = model_weights(model) + p->offset;
        double worst = golden_max_difference_json(weights, json_object_get(tensor, "first4"));
        if (p->size < 4)
                worst = 0;
        worst = golden_worst(worst, fabs(weights[p->size - 1] - json_number_value(json_object_get(tensor, "last"))));
        report_tensor(report, "weights", p->name, worst, 0);
}

/* Samples: first, middle and last element; of the word embeddings, elements of three rows that occur. */
static void compare_samples(struct report *report, struct model *model, const struct model_parameter *p, const json_t *tensor,
                            const struct batch *batch) {
        const float *gradient = model_gradients(model) + p->offset;
        const json_t *samples = json_object_get(tensor, "grad_samples");
        size_t at[3] = {0, p->size / 2, p->size - 1};
        if (strstr(p->name, "word_embeddings") && batch->n_sequences > 3) {
                at[0] = (size_t)batch->ids[batch->offsets[0] + 1] * (size_t)p->cols;
                at[1] = (size_t)batch->ids[batch->offsets[1] + 2] * (size_t)p->cols + 5;
                at[2] = (size_t)batch->ids[batch->offsets[3] + 9] * (size_t)p->cols + (size_t)p->cols - 1;
        }
        double worst = 0, largest = json_number_value(json_object_get(tensor, "grad_max_abs"));
        for (size_t i = 0; i < 3 && i < json_array_size(samples); i++)
                worst = golden_worst(worst, fabs(gradient[at[i]] - json_number_value(json_array_get(samples, i))));
        report_tensor(report, "grad_samples", p->name, largest > 0 ? worst / largest : worst, 1e-5);
}

static int compare_tensors(struct report *report, struct model *model, const json_t *tensors, const struct batch *batch, struct error *err) {
        double previous_norm = 0; /* of k_lin.weight when it is k_lin.bias's turn */
        if (json_array_size(tensors) != model_n_parameters(model))
                return error_set(err, -EINVAL, "the model does not have the %zu tensors expected", json_array_size(tensors));
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                const json_t *tensor = json_array_get(tensors, i);
                const char *name = json_string_value(json_object_get(tensor, "name"));
                if (!name || strcmp(name, p->name) != 0)
                        return error_set(err, -EINVAL, "tensor %zu is '%s' where %s was expected", i, name ? name : "", p->name);
                double norm = golden_l2(model_gradients(model) + p->offset, p->size);
                compare_weights(report, model, p, tensor);
                if (strstr(p->name, "k_lin.bias")) {
                        report_tensor(report, "grad", p->name, norm, 1e-6 * previous_norm);
                } else {
                        double truth = json_number_value(json_object_get(tensor, "grad_norm"));
                        report_tensor(report, "grad", p->name, golden_relative(norm, truth), 1e-5);
                        compare_samples(report, model, p, tensor, batch);
                }
                previous_norm = norm;
        }
        return 0;
}

/* cls_hidden_first4[sequence][layer] = first four values of the [CLS] row */
static void compare_hidden(struct report *report, const struct model *model, const json_t *expected, const struct batch *batch) {
        const struct model_shape *shape = model_shape(model);
        double worst = 0;
        for (int s = 0; s < batch->n_sequences; s++)
                for (int i = 0; i <= shape->layers; i++) {
                        size_t row = (size_t)(i == shape->layers ? s : batch->offsets[s]);
                        const json_t *truth = json_array_get(json_array_get(json_object_get(expected, "cls_hidden_first4"), (size_t)s), (size_t)i);
                        worst = golden_worst(worst, golden_max_difference_json(model_hidden(model, i) + row * (size_t)shape->dim, truth));
                }
        report_quantity(report, "cls_hidden", worst, 3e-5);
}

static int replay(struct report *report, const char *folder, const json_t *expected, const struct golden_batch *golden, struct error *err) {
        const struct batch *batch = &golden->batch;
        _cleanup_(cleanup_model) struct model *model = NULL;
        struct model_limits limits = {.max_sequences = batch->n_sequences, .max_tokens = batch->n_tokens, .training = true, .threads = report->threads, .bf16 = report->bf16};
        struct model_shape shape;
        bool drew_head;
        for (int s = 0; s < batch->n_sequences; s++) {
                int length = batch->offsets[s + 1] - batch->offsets[s];
                limits.max_length = length > limits.max_length ? length : limits.max_length;
        }
        int r = model_folder_read_shape(folder, &shape, err);
        if (r == 0)
                r = model_new(&shape, &limits, &model, err);
        if (r == 0)
                r = model_folder_read_weights(folder, model, 0, &drew_head, err);
        if (r < 0)
                return r;
        _cleanup_free_ float *logits = calloc((size_t)batch->n_sequences * (size_t)shape.n_labels, sizeof *logits);
        if (!logits)
                return error_set(err, -ENOMEM, "out of memory");
        double loss = model_forward_backward(model, batch, NULL, 1, logits), true_loss = json_number_value(json_object_get(expected, "loss"));
        report_quantity(report, "loss", fabs(loss - true_loss) / fmax(1, fabs(true_loss)), 1e-5);
        report_quantity(report, "logits", golden_max_difference_json(logits, json_object_get(expected, "logits")), 3e-5);
        report_quantity(report, "grad_norm",
                        golden_relative(model_gradient_norm(model), json_number_value(json_object_get(expected, "grad_norm"))), 2e-5);
        compare_hidden(report, model, expected, batch);
        return compare_tensors(report, model, json_object_get(expected, "tensors"), batch, err);
}

int golden_replay_fullsize(const char *folder, const char *expected_path, const struct golden_mode *mode, bool *ret_ok, struct error *err) {
        struct report report = {.name = "fullsize", .bf16 = mode->bf16, .threads = mode->threads};
        _cleanup_(golden_batch_fini) struct golden_batch batch = {0};
        _cleanup_json_ json_t *expected = NULL;
        int r = golden_read_json(NULL, expected_path, &expected, err);
        if (r == 0)
                r = read_pairs(expected, &batch, err);
        if (r == 0)
                r = replay(&report, folder, expected, &batch, err);
        *ret_ok = !report.failed;
        return r;
}
