/* What forward, backward and the optimizer share: the parameters' table and the arena's parts. */
#pragma once
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "model/model.h"

/* Tensors of one layer, in the order of Hugging Face's state dict. The q, k and v weights lie without gaps behind one
 * another, and so do their biases: one GEMM makes all three. */
enum { WORDS, POSITIONS, EMBED_NORM_W, EMBED_NORM_B, N_EMBED_TENSORS };
enum { Q_W, Q_B, K_W, K_B, V_W, V_B, OUT_W, OUT_B, NORM1_W, NORM1_B, LIN1_W, LIN1_B, LIN2_W, LIN2_B, NORM2_W, NORM2_B, N_BLOCK_TENSORS };
enum { PRE_W, PRE_B, CLASSIFIER_W, CLASSIFIER_B, N_HEAD_TENSORS };

/* Activations of one block that backward needs. R = tokens, or sequences in the last block, d = dim, f = hidden_dim. */
struct block {
        float *q;                 /* [tokens, 3d] queries, keys and values without bias; last block: its scaled queries [sequences, d] */
        float *cls;               /* last block: the [CLS] rows of its input [sequences, d]; else NULL */
        float *u, *mixed, *sums;  /* last block: a row a head [sequences, heads, d], and a number (last.c) */
        float *probabilities;     /* after softmax, before dropout */
        float *context;           /* [R, d] */
        float *normal1, *rstd1;   /* [R, d], [R] */
        float *y1;                /* [R, d] output of the first LayerNorm */
        struct operand x_factor, cls_factor, context_factor, y1_factor; /* as products take them */
        float *pre;               /* [R, f] input of GELU */
        float *normal2, *rstd2;
};

/* A stretch of one parameter that one thread updates at a time. */
struct chunk {
        uint32_t parameter;
        int first_row; /* of the word embeddings, whose rows are looked at one by one; else -1 */
        size_t offset, size;
};

struct model {
        struct model_shape shape;
        struct model_limits limits;
        const struct kernel_set *kernels;
        int frozen_layers;
        bool frozen_embeddings;
        struct loss loss;
        float *class_weights; /* [n_labels], or NULL */
        struct gemm gemm;
        const volatile sig_atomic_t *stop; /* NULL, or a wish to end: looked at between blocks */

        struct model_parameter *parameters;
        size_t n_parameters, n_floats;
        struct chunk *chunks;
        size_t n_chunks;
        double *chunk_sums; /* [n_chunks] */

        /* One state a word: its gradient row has been written since the last step; its moments may differ from zero.
         * Most of the vocabulary is neither, and the optimizer skips those 3/4 of its largest tensor. */
        uint8_t *word_states;
        uint64_t last_t; /* optimizer step that the live flags belong to */

        float *arena;
        size_t arena_floats;
        float *weights, *gradients, *moment1, *moment2;
        struct operand weight_factors; /* the blocks' and the head's weights as products take them */
        size_t first_factor;           /* the element of weights that its first one is made of */
        bool weights_changed;          /* since weight_factors was made */
        float **x; /* [layers + 1] outputs of embeddings and blocks: [tokens, d], the last one [sequences, d] */
        struct block *blocks;
        float *embed_normal, *embed_rstd;
        float *h;                              /* [tokens, f] output of GELU, of the block in work */
        float *head_pre, *head_h, *logits;     /* [sequences, d], [sequences, d], [sequences, n_labels] */
        float *d, *d_branch, *d_wide;          /* [tokens, d], [tokens, d], [tokens, max(3d, f)] gradients on their way back */
        float *d_query, *d_logits;             /* [sequences, d], [sequences, n_labels] */
        float *d_u, *d_mixed, *d_sums;         /* of the last block's u, mixed, sums */
        struct operand h_factor, d_factor, wide_factor, query_factor;              /* of h, d or d_branch, d_wide, d_query */
        struct operand head_factor, head_h_factor, head_d_factor, logits_factor;   /* of x[layers], head_h, its gradient, d_logits */
        size_t *score_offsets, *cls_score_offsets; /* [sequences] of the batch in work */
        struct scratch scratch;
};

#define WORD_HAS_GRADIENT 1
#define WORD_HAS_MOMENTS 2

static inline bool is_stopped(const struct model *model) {
        return model->stop && *model->stop;
}

/* Tensor `which` of a layer (-1 embeddings, 0 … layers-1, `layers` the head) in a flat array. */
static inline size_t parameter_index(const struct model_shape *shape, int layer, int which) {
        if (layer < 0)
                return (size_t)which;
        return (size_t)(N_EMBED_TENSORS + N_BLOCK_TENSORS * (layer < shape->layers ? layer : shape->layers) + which);
}
static inline float *weight(const struct model *model, int layer, int which) {
        return model->weights + model->parameters[parameter_index(&model->shape, layer, which)].offset;
}
static inline float *gradient(const struct model *model, int layer, int which) {
        return model->gradients + model->parameters[parameter_index(&model->shape, layer, which)].offset;
}

/* A weight matrix of a block or of the head as products take it. */
static inline struct operand weight_factor(const struct model *model, int layer, int which) {
        size_t offset = model->parameters[parameter_index(&model->shape, layer, which)].offset;
        return gemm_operand_at(&model->gemm, model->weight_factors, offset - model->first_factor);
}
/* x [rows, cols] as a factor; *factor is its room before and what it lies in after. */
static inline struct operand make_factor(const struct model *model, struct operand *factor, const float *x, int rows, int cols) {
        return *factor = gemm_operand(&model->gemm, *factor, x, (size_t)rows * (size_t)cols);
}

/* parameters.c: their number, the table without names (returns the length of a flat array), the names. */
size_t model_count_parameters(const struct model_shape *shape);
size_t model_describe_parameters(const struct model_shape *shape, struct model_parameter *parameters);
int model_name_parameters(struct model *model);
size_t model_align_16(size_t floats); /* to whole cache lines */

/* Whether the tensors of a layer (-1 embeddings, `layers` the head) are trained. */
bool model_trains(const struct model *model, int layer);

/* Dropout sites, numbered so that no two of a model share a mask. dropout NULL: all off. */
struct mask model_mask_embeddings(const struct dropout *dropout);
struct mask model_mask_attention(const struct dropout *dropout, int layer);
struct mask model_mask_ffn(const struct dropout *dropout, int layer);
struct mask model_mask_head(const struct dropout *dropout, int layers);

/* The attention of block `layer` on this batch. */
struct attention model_attention(const struct model *model, const struct block *b, const struct batch *batch, const struct dropout *dropout,
                                 int layer);

/* last.c: the last block's attention, input x → context, and back: d_branch holds the gradient of context, d becomes that of
 * x, unless input_matters is false. */
void model_last_forward(struct model *model, const struct batch *batch, const struct dropout *dropout, const float *x, bool keeps);
void model_last_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, bool input_matters);

/* Everything up to model->logits. keeps: what backward needs is kept; else nothing is, and dropout is NULL. */
void model_run_forward(struct model *model, const struct batch *batch, const struct dropout *dropout, bool keeps);
