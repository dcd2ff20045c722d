/* Every tensor of the file is named, checked against the shape and read straight into the model's weights. Which
 * parameters were filled is kept in one byte each, so that a missing or doubled tensor is found by name. */
#include "model/folder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/rng.h"
#include "model/hfconfig.h"
#include "model/hfnames.h"
#include "model/safetensors.h"

#define CONFIG "config.json"
#define WEIGHTS "model.safetensors"
#define VOCABULARY "vocab.txt"
#define TOKENIZER "tokenizer_config.json"

#define MAX_SIDE_FILE_BYTES (256u << 20) /* of vocab.txt and tokenizer_config.json */
#define SPARE_ROWS_MAX 127               /* of the embeddings: some models pad them to a multiple of 128 */
#define HEAD_STREAM 0x68656164           /* "head": the random stream of a new head, apart from all others of its seed */

CLEANUP_DEFINE(struct safetensors *, cleanup_safetensors, safetensors_close)

/* --- reading ---------------------------------------------------------------------------------------- */

/* A token that the embeddings have no row for would be read from beyond them; many rows without a token mean that the
 * vocabulary is another model's, or cut short. */
static int check_vocabulary(const char *folder, const struct model_shape *shape, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, VOCABULARY);
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_SIDE_FILE_BYTES);
        if (!path)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(path, F_OK) < 0 && errno == ENOENT)
                return 0;
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        size_t n_tokens = text.len > 0 && text.data[text.len - 1] != '\n';
        for (size_t i = 0; i < text.len; i++)
                n_tokens += text.data[i] == '\n';
        if (n_tokens > (size_t)shape->vocab_size || n_tokens + SPARE_ROWS_MAX < (size_t)shape->vocab_size)
                return error_set(err, -EINVAL, "%s: %zu tokens, but %s says 'vocab_size' %d", path, n_tokens, CONFIG, shape->vocab_size);
        return 0;
}

int model_folder_read_shape(const char *folder, struct model_shape *ret, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, CONFIG);
        struct model_shape shape;
        if (!path)
                return error_set(err, -ENOMEM, "out of memory");
        int r = hfconfig_read(path, &shape, err);
        if (r == 0)
                r = check_vocabulary(folder, &shape, err);
        if (r == 0)
                *ret = shape;
        return r;
}

struct loading {
        const char *path;
        const struct safetensors *file;
        struct model *model;
        bool *filled;               /* [model_n_parameters] */
        const struct tensor *types; /* token type embeddings, NULL when the file has none */
        bool bert;                  /* a block had BERT's name: token types must be there */
        struct error *err;
};

static int check_shape(const struct loading *loading, const struct tensor *tensor, const struct model_parameter *parameter) {
        size_t rows = (size_t)parameter->rows, cols = (size_t)parameter->cols;
        if (tensor->n_dims == parameter->n_dims && tensor->dims[0] == rows && (parameter->n_dims == 1 || tensor->dims[1] == cols))
                return 0;
        char found[128] = "";
        for (int i = 0, n = 0; i < tensor->n_dims && n < (int)sizeof found; i++)
                n += snprintf(found + n, sizeof found - (size_t)n, "%s%zu", i ? ", " : "", tensor->dims[i]);
        if (parameter->n_dims == 1)
                return error_set(loading->err, -EINVAL, "%s: tensor '%s' has shape [%s], expected [%zu]", loading->path, tensor->name,
                                 found, rows);
        return error_set(loading->err, -EINVAL, "%s: tensor '%s' has shape [%s], expected [%zu, %zu]", loading->path, tensor->name, found,
                         rows, cols);
}

static int find_parameter(const struct model *model, const char *name, size_t *ret) {
        for (size_t i = 0; i < model_n_parameters(model); i++)
                if (strcmp(model_parameter(model, i)->name, name) == 0) {
                        *ret = i;
                        return 0;
                }
        return -ENOENT;
}

static int read_tensor(struct loading *loading, const struct tensor *tensor) {
        char name[HFNAMES_SIZE];
        enum hfname kind = hfname_classify(tensor->name, name);
        if (kind == HFNAME_IGNORED)
                return 0;
        if (kind == HFNAME_TOKEN_TYPES) {
                loading->types = tensor;
                return 0;
        }
        size_t i;
        if (find_parameter(loading->model, name, &i) < 0)
                return error_set(loading->err, -EINVAL, "%s: unknown tensor '%.200s'", loading->path, tensor->name);
        if (loading->filled[i])
                return error_set(loading->err, -EINVAL, "%s: tensor '%.200s' is there a second time under another name", loading->path,
                                 tensor->name);
        const struct model_parameter *parameter = model_parameter(loading->model, i);
        int r = check_shape(loading, tensor, parameter);
        if (r < 0)
                return r;
        loading->filled[i] = true;
        loading->bert = loading->bert || strstr(tensor->name, "encoder.layer.");
        return safetensors_read_floats(loading->file, tensor, model_weights(loading->model) + parameter->offset, loading->err);
}

/* DistilBERT has no token types; a BERT whose text is all of type 0 adds the same row to each position. */
static int fold_token_types(const struct loading *loading) {
        const struct model_shape *shape = model_shape(loading->model);
        const struct tensor *types = loading->types;
        size_t i, dim = (size_t)shape->dim;
        if (!types && loading->bert)
                return error_set(loading->err, -EINVAL, "%s: tensor 'embeddings.token_type_embeddings.weight' is missing", loading->path);
        if (!types || find_parameter(loading->model, "distilbert.embeddings.position_embeddings.weight", &i) < 0)
                return 0;
        if (types->n_dims != 2 || types->dims[0] < 1 || types->dims[1] != dim)
                return error_set(loading->err, -EINVAL, "%s: tensor '%s' must have shape [types, %zu]", loading->path, types->name, dim);
        _cleanup_free_ float *rows = malloc(types->n * sizeof *rows);
        if (!rows)
                return error_set(loading->err, -ENOMEM, "out of memory");
        int r = safetensors_read_floats(loading->file, types, rows, loading->err);
        float *positions = model_weights(loading->model) + model_parameter(loading->model, i)->offset;
        for (size_t k = 0; r == 0 && k < (size_t)shape->max_positions * dim; k++)
                positions[k] += rows[k % dim];
        return r;
}

/* As transformers draws a new head: normal(0, initializer_range) in matrices, zero in biases. */
static void draw_head(struct model *model, uint64_t seed) {
        const struct model_shape *shape = model_shape(model);
        struct rng rng;
        rng_init(&rng, seed, HEAD_STREAM);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *parameter = model_parameter(model, i);
                float *weights = model_weights(model) + parameter->offset;
                for (size_t k = 0; parameter->layer == shape->layers && k < parameter->size; k++)
                        weights[k] = parameter->n_dims == 1 ? 0 : (float)(rng_normal(&rng) * (double)shape->initializer_range);
        }
}

/* A whole head or none; all the rest must be there. */
static int check_complete(const struct loading *loading, bool *ret_has_head) {
        const struct model *model = loading->model;
        int head = model_shape(model)->layers;
        bool has_head = false;
        for (size_t i = 0; i < model_n_parameters(model); i++)
                has_head = has_head || (loading->filled[i] && model_parameter(model, i)->layer == head);
        for (size_t i = 0; i < model_n_parameters(model); i++)
                if (!loading->filled[i] && (has_head || model_parameter(model, i)->layer != head))
                        return error_set(loading->err, -EINVAL, "%s: tensor '%s' is missing", loading->path,
                                         model_parameter(model, i)->name);
        *ret_has_head = has_head;
        return 0;
}

int model_folder_read_weights(const char *folder, struct model *model, uint64_t head_seed, bool *ret_drew_head, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, WEIGHTS);
        _cleanup_free_ bool *filled = calloc(model_n_parameters(model), sizeof *filled);
        _cleanup_(cleanup_safetensors) struct safetensors *file = NULL;
        if (!path || !filled)
                return error_set(err, -ENOMEM, "out of memory");
        int r = safetensors_open(path, &file, err);
        struct loading loading = {.path = path, .file = file, .model = model, .filled = filled, .err = err};
        for (size_t i = 0; r == 0 && i < safetensors_n(file); i++)
                r = read_tensor(&loading, safetensors_at(file, i));
        bool has_head = false;
        if (r == 0)
                r = check_complete(&loading, &has_head);
        if (r == 0)
                r = fold_token_types(&loading);
        if (r < 0)
                return r;
        if (!has_head)
                draw_head(model, head_seed);
        *ret_drew_head = !has_head;
        return 0;
}

int model_folder_sha256(const char *folder, char ret[static DIGEST_HEX_SIZE], struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, WEIGHTS);
        return path ? digest_file(path, ret, err) : error_set(err, -ENOMEM, "out of memory");
}

/* --- writing ---------------------------------------------------------------------------------------- */

static int write_config(const char *folder, const struct model_shape *shape, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, CONFIG);
        _cleanup_json_ json_t *config = hfconfig_make(shape);
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        if (!path || !config || json_write(config, &text) < 0 || buf_puts(&text, "\n") < 0)
                return error_set(err, -ENOMEM, "out of memory");
        return fs_write_atomic(path, text.data, text.len, 0644, err);
}

static int write_weights(const char *folder, const struct model *model, struct error *err) {
        size_t n = model_n_parameters(model);
        _cleanup_free_ char *path = fs_join(folder, WEIGHTS);
        _cleanup_free_ struct tensor_source *tensors = calloc(n, sizeof *tensors);
        if (!path || !tensors)
                return error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                const struct model_parameter *parameter = model_parameter(model, i);
                tensors[i] = (struct tensor_source){.name = parameter->name,
                                                    .n_dims = parameter->n_dims,
                                                    .dims = {(size_t)parameter->rows, (size_t)parameter->cols},
                                                    .data = model_weights_read(model) + parameter->offset};
        }
        /* transformers refuses a file that does not say which framework it is for. */
        struct safetensors_note format = {"format", "pt"};
        return safetensors_write(path, tensors, n, &format, 1, err);
}

static int copy_if_there(const char *source_folder, const char *folder, const char *name, struct error *err) {
        _cleanup_free_ char *from = fs_join(source_folder, name);
        _cleanup_free_ char *to = fs_join(folder, name);
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_SIDE_FILE_BYTES);
        if (!from || !to)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(from, F_OK) < 0 && errno == ENOENT)
                return 0;
        int r = fs_read(from, &text, err);
        return r < 0 ? r : fs_write_atomic(to, text.data, text.len, 0644, err);
}

int model_folder_write(const char *folder, const struct model *model, const char *source_folder, struct error *err) {
        int r = fs_make_dirs(folder, 0755, err);
        if (r == 0)
                r = write_config(folder, model_shape(model), err);
        if (r == 0)
                r = copy_if_there(source_folder, folder, VOCABULARY, err);
        if (r == 0)
                r = copy_if_there(source_folder, folder, TOKENIZER, err);
        if (r == 0)
                r = write_weights(folder, model, err);
        return r;
}
