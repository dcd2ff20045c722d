/* A key that only describes is ignored; a key that would make the network compute something else must have the one value
 * that DistilBERT has built in. */
#include "model/hfconfig.h"

#include <math.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"

#define MAX_CONFIG_BYTES (1 << 20)
#define MAX_LABELS 1000

struct reader {
        const char *path;
        const json_t *config;
        struct error *err;
};

/* `name` or its other spelling, whichever the file has. null counts as absent. */
static const json_t *find(const struct reader *reader, const char *name, const char *other, const char **ret_found) {
        const json_t *value = json_object_get(reader->config, name);
        *ret_found = name;
        if (other && (!value || json_is_null(value))) {
                const json_t *second = json_object_get(reader->config, other);
                if (second && !json_is_null(second)) {
                        *ret_found = other;
                        return second;
                }
        }
        return json_is_null(value) ? NULL : value;
}

static int read_size(const struct reader *reader, const char *name, const char *other, int high, int *ret) {
        const char *found;
        const json_t *value = find(reader, name, other, &found);
        if (!value)
                return error_set(reader->err, -EINVAL, "%s: '%s'%s%s%s is missing", reader->path, name, other ? " (or '" : "",
                                 other ? other : "", other ? "')" : "");
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > high)
                return error_set(reader->err, -EINVAL, "%s: '%s' must be a whole number from 1 to %d", reader->path, found, high);
        *ret = (int)json_integer_value(value);
        return 0;
}

/* Optional; below `limit`. */
static int read_fraction(const struct reader *reader, const char *name, const char *other, double limit, float fallback, float *ret) {
        const char *found;
        const json_t *value = find(reader, name, other, &found);
        double number = value ? json_number_value(value) : (double)fallback;
        if (value && (!json_is_number(value) || !(number >= 0 && number < limit)))
                return error_set(reader->err, -EINVAL, "%s: '%s' must be a number of at least 0 and below %g", reader->path, found, limit);
        *ret = (float)number;
        return 0;
}

static int require_text(const struct reader *reader, const char *name, const char *expected, const char *alternative) {
        const json_t *value = json_object_get(reader->config, name);
        if (!value || json_is_null(value))
                return 0;
        const char *text = json_string_value(value);
        if (text && (strcmp(text, expected) == 0 || (alternative && strcmp(text, alternative) == 0)))
                return 0;
        return error_set(reader->err, -EINVAL, "%s: '%s' is %s%.60s%s, expected \"%s\"%s%s%s", reader->path, name, text ? "\"" : "",
                         text ? text : "not a string", text ? "\"" : "", expected, alternative ? " or \"" : "",
                         alternative ? alternative : "", alternative ? "\"" : "");
}

static int require_number(const struct reader *reader, const char *name, double expected) {
        const json_t *value = json_object_get(reader->config, name);
        if (!value || json_is_null(value) || (json_is_number(value) && json_number_value(value) == expected))
                return 0;
        return error_set(reader->err, -EINVAL, "%s: '%s' must be %g", reader->path, name, expected);
}

static int require_false(const struct reader *reader, const char *name) {
        const json_t *value = json_object_get(reader->config, name);
        if (!value || json_is_null(value) || json_is_false(value))
                return 0;
        return error_set(reader->err, -EINVAL, "%s: '%s' must be false", reader->path, name);
}

static int check_mathematics(const struct reader *reader) {
        int r = require_text(reader, "model_type", "distilbert", "bert");
        if (r == 0)
                r = require_text(reader, "activation", "gelu", NULL);
        if (r == 0)
                r = require_text(reader, "hidden_act", "gelu", NULL);
        if (r == 0)
                r = require_text(reader, "position_embedding_type", "absolute", NULL);
        if (r == 0)
                r = require_number(reader, "layer_norm_eps", 1e-12);
        if (r == 0)
                r = require_number(reader, "pad_token_id", 0);
        if (r == 0)
                r = require_false(reader, "sinusoidal_pos_embds");
        if (r == 0)
                r = require_false(reader, "is_decoder");
        return r;
}

/* 2 where nothing is said. */
static int read_labels(const struct reader *reader, int *ret) {
        const json_t *names = json_object_get(reader->config, "id2label"), *number = json_object_get(reader->config, "num_labels");
        json_int_t n = json_is_object(names) ? (json_int_t)json_object_size(names) : 2;
        if (number && !json_is_null(number)) {
                if (json_is_object(names) && json_integer_value(number) != n)
                        return error_set(reader->err, -EINVAL, "%s: 'num_labels' is not the number of labels in 'id2label', %lld", reader->path, (long long)n);
                n = json_integer_value(number);
        }
        if (n < 2 || n > MAX_LABELS)
                return error_set(reader->err, -EINVAL, "%s: '%s' must be 2 to %d labels", reader->path, number ? "num_labels" : "id2label", MAX_LABELS);
        *ret = (int)n;
        return 0;
}

static int read_sizes(const struct reader *reader, struct model_shape *shape) {
        int r = read_size(reader, "dim", "hidden_size", 16384, &shape->dim);
        if (r == 0)
                r = read_size(reader, "n_heads", "num_attention_heads", 1024, &shape->heads);
        if (r == 0)
                r = read_size(reader, "hidden_dim", "intermediate_size", 65536, &shape->hidden_dim);
        if (r == 0)
                r = read_size(reader, "n_layers", "num_hidden_layers", 128, &shape->layers);
        if (r == 0)
                r = read_size(reader, "vocab_size", NULL, 10000000, &shape->vocab_size);
        if (r == 0)
                r = read_size(reader, "max_position_embeddings", NULL, 1000000, &shape->max_positions);
        if (r == 0 && shape->dim % shape->heads != 0)
                r = error_set(reader->err, -EINVAL, "%s: '%s' %d is not a multiple of the %d attention heads", reader->path,
                              json_object_get(reader->config, "dim") ? "dim" : "hidden_size", shape->dim, shape->heads);
        return r;
}

static int read_fractions(const struct reader *reader, struct model_shape *shape) {
        int r = read_fraction(reader, "dropout", "hidden_dropout_prob", 1, 0.1f, &shape->dropout);
        if (r == 0)
                r = read_fraction(reader, "attention_dropout", "attention_probs_dropout_prob", 1, 0.1f, &shape->attention_dropout);
        if (r == 0)
                r = read_fraction(reader, "seq_classif_dropout", "classifier_dropout", 1, 0.2f, &shape->seq_classif_dropout);
        if (r == 0)
                r = read_fraction(reader, "initializer_range", NULL, 10, 0.02f, &shape->initializer_range);
        return r;
}

int hfconfig_read(const char *path, struct model_shape *ret, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_CONFIG_BYTES);
        _cleanup_json_ json_t *config = NULL;
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        r = json_read(text.data, text.len, &config, err);
        if (r < 0) {
                error_prefix(err, "%s", path);
                return r;
        }
        if (!json_is_object(config))
                return error_set(err, -EINVAL, "%s: not a JSON object", path);
        struct reader reader = {.path = path, .config = config, .err = err};
        struct model_shape shape = {0};
        r = check_mathematics(&reader);
        if (r == 0)
                r = read_labels(&reader, &shape.n_labels);
        if (r == 0)
                r = read_sizes(&reader, &shape);
        if (r == 0)
                r = read_fractions(&reader, &shape);
        if (r == 0)
                *ret = shape;
        return r;
}

/* The double whose decimal is the float's shortest: 0.1, not 0.10000000149011612. */
static json_t *make_fraction(float value) {
        char text[32];
        for (int precision = 6; precision <= 9; precision++) {
                snprintf(text, sizeof text, "%.*g", precision, (double)value);
                if (strtof(text, NULL) == value)
                        break;
        }
        return json_real(strtod(text, NULL));
}

/* transformers takes the number of labels from their names, two where there are none. */
static int add_labels(json_t *config, int n_labels) {
        json_t *names = json_object(), *numbers = json_object();
        char label[32], id[16];
        for (int i = 0; names && numbers && i < n_labels; i++) {
                snprintf(label, sizeof label, "LABEL_%d", i);
                snprintf(id, sizeof id, "%d", i);
                json_object_set_new(names, id, json_string(label));
                json_object_set_new(numbers, label, json_integer(i));
        }
        int r = json_object_set_new(config, "id2label", names);
        return json_object_set_new(config, "label2id", numbers) < 0 || r < 0 ? -ENOMEM : 0;
}

json_t *hfconfig_make(const struct model_shape *shape) {
        json_t *config = json_pack("{s:s, s:[s], s:o, s:i, s:o, s:i, s:o, s:i, s:s, s:i, s:i, s:i, s:f, s:o, s:b, s:b, s:i}", "activation", "gelu",
                         "architectures", "DistilBertForSequenceClassification", "attention_dropout",
                         make_fraction(shape->attention_dropout), "dim", shape->dim, "dropout", make_fraction(shape->dropout), "hidden_dim",
                         shape->hidden_dim, "initializer_range", make_fraction(shape->initializer_range), "max_position_embeddings",
                         shape->max_positions, "model_type", "distilbert", "n_heads", shape->heads, "n_layers", shape->layers,
                         "pad_token_id", 0, "qa_dropout", 0.1, "seq_classif_dropout", make_fraction(shape->seq_classif_dropout),
                         "sinusoidal_pos_embds", false, "tie_weights_", true, "vocab_size", shape->vocab_size);
        if (config && shape->n_labels != 2 && add_labels(config, shape->n_labels) < 0) {
                json_decref(config);
                return NULL;
        }
        return config;
}
