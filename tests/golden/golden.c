#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"

#define MAX_JSON_BYTES ((size_t)64 << 20)

void report_quantity(struct report *report, const char *quantity, double max_error, double tolerance) {
        bool ok = max_error <= tolerance, judged = !report->bf16;
        json_t *error = isfinite(max_error) ? json_real(max_error) : json_null();
        _cleanup_json_ json_t *line =
                json_pack("{s:s, s:s, s:o, s:o, s:o}", "case", report->name, "quantity", quantity, "max_error", error, "tolerance",
                          judged ? json_real(tolerance) : json_null(), "ok", judged ? json_boolean(ok) : json_null());
        _cleanup_free_ char *text = line ? json_text(line) : NULL;
        if (text)
                puts(text);
        report->failed = report->failed || (judged && !ok) || !text;
}

void report_tensor(struct report *report, const char *prefix, const char *name, double max_error, double tolerance) {
        char quantity[160];
        snprintf(quantity, sizeof quantity, "%s.%s", prefix, name);
        report_quantity(report, quantity, max_error, tolerance);
}

int golden_read_json(const char *folder, const char *name, json_t **ret, struct error *err) {
        _cleanup_free_ char *path = folder ? fs_join(folder, name) : NULL;
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_JSON_BYTES);
        int r = fs_read(folder ? path : name, &text, err);
        if (r == 0)
                r = json_read(text.data, text.len, ret, err);
        if (r < 0)
                error_prefix(err, "%s", name);
        return r;
}

void golden_batch_fini(struct golden_batch *batch) {
        free(batch->ids);
        free(batch->offsets);
        free(batch->labels);
        *batch = (struct golden_batch){0};
}

int golden_batch_init(struct golden_batch *ret, const json_t *ids, const json_t *labels, struct error *err) {
        size_t n = json_array_size(ids), n_tokens = 0;
        for (size_t s = 0; s < n; s++)
                n_tokens += json_array_size(json_array_get(ids, s));
        if (n == 0 || n_tokens == 0 || json_array_size(labels) != n)
                return error_set(err, -EINVAL, "a batch needs as many labels as id lists, and at least one");
        *ret = (struct golden_batch){.ids = calloc(n_tokens, sizeof *ret->ids),
                                     .offsets = calloc(n + 1, sizeof *ret->offsets),
                                     .labels = calloc(n, sizeof *ret->labels)};
        if (!ret->ids || !ret->offsets || !ret->labels) {
                golden_batch_fini(ret);
                return error_set(err, -ENOMEM, "out of memory");
        }
        int32_t at = 0;
        for (size_t s = 0; s < n; s++) {
                const json_t *row = json_array_get(ids, s);
                for (size_t i = 0; i < json_array_size(row); i++)
                        ret->ids[at++] = (int32_t)json_integer_value(json_array_get(row, i));
                ret->offsets[s + 1] = at;
                ret->labels[s] = (int32_t)json_integer_value(json_array_get(labels, s));
        }
        ret->batch = (struct batch){
                .n_sequences = (int)n, .n_tokens = (int)n_tokens, .ids = ret->ids, .offsets = ret->offsets, .labels = ret->labels};
        return 0;
}

double golden_worst(double have, double next) {
        return isnan(have) || have > next ? have : next;
}

double golden_max_difference(const float *a, const double *b, size_t n) {
        double worst = 0;
        for (size_t i = 0; i < n; i++)
                worst = golden_worst(worst, fabs(a[i] - b[i]));
        return worst;
}

static double max_difference_walk(const float **a, const json_t *b) {
        if (!json_is_array(b))
                return fabs(*(*a)++ - json_number_value(b));
        double worst = 0;
        for (size_t i = 0; i < json_array_size(b); i++)
                worst = golden_worst(worst, max_difference_walk(a, json_array_get(b, i)));
        return worst;
}

double golden_max_difference_json(const float *a, const json_t *b) {
        return max_difference_walk(&a, b);
}

double golden_l2(const float *a, size_t n) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
                sum += (double)a[i] * a[i];
        return sqrt(sum);
}

double golden_relative(double value, double truth) {
        return truth == 0 ? fabs(value) : fabs(value - truth) / fabs(truth);
}

struct golden_step golden_train_step(struct model *model, const struct batch *batch, const struct schedule *schedule,
                                     uint64_t step, float *logits) {
        struct golden_step result = {.lr = schedule->learning_rate * schedule_factor(schedule, step)};
        result.loss = model_forward_backward(model, batch, NULL, 1, logits);
        result.grad_norm = model_gradient_norm(model);
        return result;
}
