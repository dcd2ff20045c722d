/* The table of parameters: names, shapes and order of Hugging Face's state dict, places in the flat arrays. */
#include "model/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE 80

/* --- parameters ------------------------------------------------------------------------------------- */
enum extent { ONE, DIM, HIDDEN, VOCAB, PLACES, LABELS };

struct parameter_kind {
        const char *name;
        enum extent rows, cols; /* cols ONE: a vector */
        bool decay;
};

static const struct parameter_kind embed_kinds[N_EMBED_TENSORS] = {
        [WORDS] = {"distilbert.embeddings.word_embeddings.weight", VOCAB, DIM, true},
        [POSITIONS] = {"distilbert.embeddings.position_embeddings.weight", PLACES, DIM, true},
        [EMBED_NORM_W] = {"distilbert.embeddings.LayerNorm.weight", DIM, ONE, false},
        [EMBED_NORM_B] = {"distilbert.embeddings.LayerNorm.bias", DIM, ONE, false},
};
static const struct parameter_kind block_kinds[N_BLOCK_TENSORS] = {
        [Q_W] = {"attention.q_lin.weight", DIM, DIM, true},
        [Q_B] = {"attention.q_lin.bias", DIM, ONE, false},
        [K_W] = {"attention.k_lin.weight", DIM, DIM, true},
        [K_B] = {"attention.k_lin.bias", DIM, ONE, false},
        [V_W] = {"attention.v_lin.weight", DIM, DIM, true},
        [V_B] = {"attention.v_lin.bias", DIM, ONE, false},
        [OUT_W] = {"attention.out_lin.weight", DIM, DIM, true},
        [OUT_B] = {"attention.out_lin.bias", DIM, ONE, false},
        [NORM1_W] = {"sa_layer_norm.weight", DIM, ONE, false},
        [NORM1_B] = {"sa_layer_norm.bias", DIM, ONE, false},
        [LIN1_W] = {"ffn.lin1.weight", HIDDEN, DIM, true},
        [LIN1_B] = {"ffn.lin1.bias", HIDDEN, ONE, false},
        [LIN2_W] = {"ffn.lin2.weight", DIM, HIDDEN, true},
        [LIN2_B] = {"ffn.lin2.bias", DIM, ONE, false},
        [NORM2_W] = {"output_layer_norm.weight", DIM, ONE, false},
        [NORM2_B] = {"output_layer_norm.bias", DIM, ONE, false},
};
static const struct parameter_kind head_kinds[N_HEAD_TENSORS] = {
        [PRE_W] = {"pre_classifier.weight", DIM, DIM, true},
        [PRE_B] = {"pre_classifier.bias", DIM, ONE, false},
        [CLASSIFIER_W] = {"classifier.weight", LABELS, DIM, true},
        [CLASSIFIER_B] = {"classifier.bias", LABELS, ONE, false},
};

static int extent_of(const struct model_shape *shape, enum extent extent) {
        const int extents[] = {[ONE] = 1,
                               [DIM] = shape->dim,
                               [HIDDEN] = shape->hidden_dim,
                               [VOCAB] = shape->vocab_size,
                               [PLACES] = shape->max_positions,
                               [LABELS] = shape->n_labels};
        return extents[extent];
}

size_t model_align_16(size_t floats) {
        return (floats + 15) & ~(size_t)15;
}

size_t model_count_parameters(const struct model_shape *shape) {
        return N_EMBED_TENSORS + N_BLOCK_TENSORS * (size_t)shape->layers + N_HEAD_TENSORS;
}

/* Describes parameter i; *cursor is the next free float. */
static struct model_parameter describe(const struct model_shape *shape, int layer, const struct parameter_kind *kind, size_t *cursor) {
        struct model_parameter p = {.rows = extent_of(shape, kind->rows), .cols = extent_of(shape, kind->cols), .decay = kind->decay};
        p.n_dims = kind->cols == ONE ? 1 : 2;
        p.layer = layer;
        p.size = (size_t)p.rows * (size_t)p.cols;
        p.offset = *cursor;
        *cursor += model_align_16(p.size);
        return p;
}

/* Puts k and v right behind q, weights and biases each. */
static void describe_block(const struct model_shape *shape, int layer, struct model_parameter *parameters, size_t *cursor) {
        const size_t dim = (size_t)shape->dim, weights = *cursor, biases = weights + model_align_16(3 * dim * dim);
        for (int i = 0; i < N_BLOCK_TENSORS; i++) {
                parameters[i] = describe(shape, layer, &block_kinds[i], cursor);
                if (i <= V_B)
                        parameters[i].offset = i % 2 == 0 ? weights + (size_t)(i / 2) * dim * dim : biases + (size_t)(i / 2) * dim;
                if (i == V_B)
                        *cursor = biases + model_align_16(3 * dim);
        }
}

size_t model_describe_parameters(const struct model_shape *shape, struct model_parameter *parameters) {
        size_t cursor = 0;
        for (int i = 0; i < N_EMBED_TENSORS; i++)
                parameters[i] = describe(shape, -1, &embed_kinds[i], &cursor);
        for (int layer = 0; layer < shape->layers; layer++)
                describe_block(shape, layer, parameters + parameter_index(shape, layer, 0), &cursor);
        for (int i = 0; i < N_HEAD_TENSORS; i++)
                parameters[parameter_index(shape, shape->layers, i)] = describe(shape, shape->layers, &head_kinds[i], &cursor);
        return cursor;
}

int model_name_parameters(struct model *model) {
        for (size_t i = 0; i < model->n_parameters; i++) {
                struct model_parameter *p = &model->parameters[i];
                char *name = malloc(NAME_SIZE);
                if (!name)
                        return -ENOMEM;
                p->name = name;
                if (p->layer < 0)
                        snprintf(name, NAME_SIZE, "%s", embed_kinds[i].name);
                else if (p->layer < model->shape.layers)
                        snprintf(name, NAME_SIZE, "distilbert.transformer.layer.%d.%s", p->layer,
                                 block_kinds[i - parameter_index(&model->shape, p->layer, 0)].name);
                else
                        snprintf(name, NAME_SIZE, "%s", head_kinds[i - parameter_index(&model->shape, p->layer, 0)].name);
        }
        return 0;
}
