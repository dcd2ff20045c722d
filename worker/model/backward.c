/* Backward on a packed batch. model->d holds the gradient on its way: of a block's output before, of its input after.
 * Each residual connection is a matrix product that adds to it. */
#include "model/internal.h"

#include <string.h>

/* dW += dyᵀ·x, unless the layer is frozen. */
static void weight_backward(struct model *model, int layer, int which, struct operand dy, struct operand x, int rows, int out, int in) {
        if (model_trains(model, layer))
                gemm_backward_weight(&model->gemm, gradient(model, layer, which), dy, x, rows, out, in);
}

/* The lowest block that the backward pass enters, and whether anything below a layer's input is trained. */
static int lowest_block(const struct model *model) {
        return model->frozen_embeddings ? model->frozen_layers : 0;
}

static bool input_matters(const struct model *model, int layer) {
        return !model->frozen_embeddings || layer > model->frozen_layers;
}

/* Kernels add to the gradients of vectors on their way, also in a frozen layer. */
static void drop_vectors(struct model *model, int layer) {
        for (int which = 0; which < N_BLOCK_TENSORS; which++) {
                const struct model_parameter *p = &model->parameters[parameter_index(&model->shape, layer, which)];
                if (p->n_dims == 1)
                        memset(model->gradients + p->offset, 0, p->size * sizeof *model->gradients);
        }
}

static void head_backward(struct model *model, const struct batch *batch, const struct dropout *dropout) {
        const int layers = model->shape.layers, dim = model->shape.dim, n = batch->n_sequences, labels = model->shape.n_labels;
        const struct mask mask = model_mask_head(dropout, layers);
        float *d_h = model->d_branch;
        struct gemm *gemm = &model->gemm;
        model->kernels->add_column_sums(gradient(model, layers, CLASSIFIER_B), model->d_logits, n, labels);
        make_factor(model, &model->logits_factor, model->d_logits, n, labels);
        weight_backward(model, layers, CLASSIFIER_W, model->logits_factor, model->head_h_factor, n, labels, dim);
        gemm_backward_input(gemm, d_h, model->logits_factor, weight_factor(model, layers, CLASSIFIER_W), 0, n, labels, dim);
        model->kernels->relu_backward(d_h, gradient(model, layers, PRE_B), model->head_pre, &mask, n, dim);
        make_factor(model, &model->head_d_factor, d_h, n, dim);
        weight_backward(model, layers, PRE_W, model->head_d_factor, model->head_factor, n, dim, dim);
        if (input_matters(model, layers))
                gemm_backward_input(gemm, model->d, model->head_d_factor, weight_factor(model, layers, PRE_W), 0, n, dim, dim);
}

/* Gradient of the block's output → gradient of the first LayerNorm's output. */
static void ffn_backward(struct model *model, const struct dropout *dropout, int layer, int rows) {
        const struct kernel_set *kernels = model->kernels;
        const struct block *b = &model->blocks[layer];
        const int dim = model->shape.dim, hidden = model->shape.hidden_dim;
        const struct mask none = {0}, mask = model_mask_ffn(dropout, layer);
        struct gemm *gemm = &model->gemm;
        float *d_ffn = mask.p > 0 ? model->d_branch : model->d, *d_wide = model->d_wide;
        kernels->norm_backward(model->d, mask.p > 0 ? d_ffn : NULL, gradient(model, layer, NORM2_W), gradient(model, layer, NORM2_B),
                               gradient(model, layer, LIN2_B), b->normal2, b->rstd2, weight(model, layer, NORM2_W), &none, &mask, rows, dim,
                               model->scratch);
        make_factor(model, &model->d_factor, d_ffn, rows, dim);
        gemm_backward_input(gemm, d_wide, model->d_factor, weight_factor(model, layer, LIN2_W), 0, rows, dim, hidden);
        kernels->gelu_backward(d_wide, model->h, gradient(model, layer, LIN1_B), b->pre, rows, hidden, model->scratch);
        make_factor(model, &model->h_factor, model->h, rows, hidden);
        make_factor(model, &model->wide_factor, d_wide, rows, hidden);
        weight_backward(model, layer, LIN2_W, model->d_factor, model->h_factor, rows, dim, hidden);
        weight_backward(model, layer, LIN1_W, model->wide_factor, b->y1_factor, rows, hidden, dim);
        gemm_backward_input(gemm, model->d, model->wide_factor, weight_factor(model, layer, LIN1_W), 1, rows, hidden, dim);
}

/* One product each for the three projections together. */
static void project_backward(struct model *model, const struct batch *batch, int layer) {
        const int dim = model->shape.dim, tokens = batch->n_tokens;
        model->kernels->add_column_sums(gradient(model, layer, Q_B), model->d_wide, tokens, 3 * dim);
        make_factor(model, &model->wide_factor, model->d_wide, tokens, 3 * dim);
        weight_backward(model, layer, Q_W, model->wide_factor, model->blocks[layer].x_factor, tokens, 3 * dim, dim);
        if (input_matters(model, layer))
                gemm_backward_input(&model->gemm, model->d, model->wide_factor, weight_factor(model, layer, Q_W), 1, tokens, 3 * dim, dim);
}

/* Gradient of the attention's output → of the block's input, through the branch. */
static void attend_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, int layer) {
        const struct block *b = &model->blocks[layer];
        const int dim = model->shape.dim;
        if (b->cls) {
                model_last_backward(model, batch, dropout, input_matters(model, layer));
                return;
        }
        const struct attention attention = model_attention(model, b, batch, dropout, layer);
        model->kernels->attention_backward(model->d_wide, model->d_wide + dim, model->d_wide + 2 * dim, model->d_branch, b->probabilities, &attention,
                                           model->scratch);
        project_backward(model, batch, layer);
}

static void block_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, int layer) {
        const struct kernel_set *kernels = model->kernels;
        const struct block *b = &model->blocks[layer];
        const int dim = model->shape.dim, rows = b->cls ? batch->n_sequences : batch->n_tokens;
        const struct mask none = {0};
        ffn_backward(model, dropout, layer, rows);
        kernels->norm_backward(model->d, NULL, gradient(model, layer, NORM1_W), gradient(model, layer, NORM1_B), gradient(model, layer, OUT_B),
                               b->normal1, b->rstd1, weight(model, layer, NORM1_W), &none, &none, rows, dim, model->scratch);
        make_factor(model, &model->d_factor, model->d, rows, dim);
        weight_backward(model, layer, OUT_W, model->d_factor, b->context_factor, rows, dim, dim);
        gemm_backward_input(&model->gemm, model->d_branch, model->d_factor, weight_factor(model, layer, OUT_W), 0, rows, dim, dim);
        attend_backward(model, batch, dropout, layer);
        if (!model_trains(model, layer))
                drop_vectors(model, layer);
}

static void embeddings_backward(struct model *model, const struct batch *batch, const struct dropout *dropout) {
        const struct mask none = {0}, mask = model_mask_embeddings(dropout);
        model->kernels->norm_backward(model->d, NULL, gradient(model, -1, EMBED_NORM_W), gradient(model, -1, EMBED_NORM_B), NULL,
                                      model->embed_normal, model->embed_rstd, weight(model, -1, EMBED_NORM_W), &mask, &none, batch->n_tokens,
                                      model->shape.dim, model->scratch);
        model->kernels->embeddings_backward(gradient(model, -1, WORDS), gradient(model, -1, POSITIONS), model->d, batch->ids, batch->offsets,
                                            batch->n_sequences, model->shape.dim);
        for (int t = 0; t < batch->n_tokens; t++)
                if (batch->ids[t] != 0)
                        model->word_states[batch->ids[t]] |= WORD_HAS_GRADIENT;
}

double model_forward_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, double loss_scale, float *logits) {
        const int n = batch->n_sequences, labels = model->shape.n_labels;
        model_run_forward(model, batch, dropout, true);
        if (logits)
                memcpy(logits, model->logits, (size_t)n * (size_t)labels * sizeof *logits);
        double loss = cross_entropy(model->d_logits, model->logits, batch->labels, n, labels, &model->loss, loss_scale);
        head_backward(model, batch, dropout);
        for (int layer = model->shape.layers - 1; layer >= lowest_block(model) && !is_stopped(model); layer--)
                block_backward(model, batch, dropout, layer);
        if (!model->frozen_embeddings)
                embeddings_backward(model, batch, dropout);
        return loss;
}
