/* Attention of the last block. Nothing but each sequence's [CLS] row is ever read of its output, so there is one query a
 * sequence and head, and that lets the projections of keys and values be folded away:
 *
 *     q·(W_k·x + b_k) = (q·W_k)·x + q·b_k          the second part is the same for all tokens and nothing to softmax
 *     Σ p̃·(W_v·x + b_v) = W_v·(Σ p̃·x) + b_v·Σ p̃   with p̃ the probabilities after dropout
 *
 * With u = q·W_k and the mixture Σ p̃·x, which are rows as wide as the model, both matrices multiply one row a sequence and head
 * instead of every token, forward and backward. Exact but for the order of sums; b_k has no gradient, as nothing depends on it.
 * All of it is float32, also where products are of bfloat16: it is too little to be worth the rounding.
 *
 * Of each head a product takes its columns of q and of context and its rows of W_k and W_v: pieces, where they lie. */
#include "model/internal.h"

#include <math.h>
#include <string.h>

static struct folded folded(const struct model *model, const struct batch *batch, const struct dropout *dropout, const float *x) {
        return (struct folded){.heads = model->shape.heads,
                               .dim = model->shape.dim,
                               .n_sequences = batch->n_sequences,
                               .offsets = batch->offsets,
                               .score_offsets = model->cls_score_offsets,
                               .x = x,
                               .mask = model_mask_attention(dropout, model->shape.layers - 1)};
}

/* Head h's columns of a matrix [sequences, dim]. */
static struct piece columns(const struct model *model, const float *matrix, int h) {
        return (struct piece){matrix + h * (model->shape.dim / model->shape.heads), (size_t)model->shape.dim};
}

/* Its rows of a projection's weights. */
static struct piece rows_of(const struct model *model, const float *weights, int h) {
        return (struct piece){weights + (size_t)(h * (model->shape.dim / model->shape.heads)) * (size_t)model->shape.dim, (size_t)model->shape.dim};
}

/* Its rows of [sequences, heads, dim]. */
static struct piece wide_rows(const struct model *model, const float *matrix, int h) {
        return (struct piece){matrix + h * model->shape.dim, (size_t)(model->shape.heads * model->shape.dim)};
}

static float query_scale(const struct model *model) {
        return 1.0f / sqrtf((float)(model->shape.dim / model->shape.heads));
}

static void make_queries(struct model *model, const struct batch *batch, struct block *b, const float *x) {
        const int dim = model->shape.dim, last = model->shape.layers - 1, n = batch->n_sequences;
        const float *bias = weight(model, last, Q_B);
        for (int s = 0; s < n; s++)
                memcpy(b->cls + (size_t)s * dim, x + (size_t)batch->offsets[s] * dim, (size_t)dim * sizeof *x);
        make_factor(model, &b->cls_factor, b->cls, n, dim);
        gemm_forward(&model->gemm, b->q, b->cls_factor, weight_factor(model, last, Q_W), n, dim, dim);
        for (int i = 0; i < n * dim; i++)
                b->q[i] = (b->q[i] + bias[i % dim]) * query_scale(model);
}

void model_last_forward(struct model *model, const struct batch *batch, const struct dropout *dropout, const float *x, bool keeps) {
        const int dim = model->shape.dim, heads = model->shape.heads, head_dim = dim / heads, last = model->shape.layers - 1, n = batch->n_sequences;
        struct block *b = &model->blocks[last];
        const struct folded f = folded(model, batch, dropout, x);
        const float *keys = weight(model, last, K_W), *values = weight(model, last, V_W), *bias = weight(model, last, V_B);
        float *mixed = keeps ? b->mixed : b->u;
        make_queries(model, batch, b, x);
        for (int h = 0; h < heads; h++)
                gemm_pieces_backward_input(&model->gemm, b->u + h * dim, (size_t)(heads * dim), columns(model, b->q, h), rows_of(model, keys, h), n,
                                           head_dim, dim);
        model->kernels->folded_forward(mixed, b->sums, b->probabilities, b->u, &f, model->scratch);
        for (int h = 0; h < heads; h++)
                gemm_pieces_forward(&model->gemm, b->context + h * head_dim, (size_t)dim, wide_rows(model, mixed, h), rows_of(model, values, h), n,
                                    head_dim, dim);
        for (int i = 0; i < n * dim; i++)
                b->context[i] += bias[i % dim] * b->sums[i / head_dim];
}

/* Gradient of context → of the mixtures and of the sums of probabilities, and of the values' weights. */
static void values_backward(struct model *model, const struct block *b, const float *d_context, int n) {
        const int dim = model->shape.dim, heads = model->shape.heads, head_dim = dim / heads, last = model->shape.layers - 1;
        const float *values = weight(model, last, V_W), *bias = weight(model, last, V_B);
        float *d_values = gradient(model, last, V_W), *d_bias = gradient(model, last, V_B);
        memset(model->d_sums, 0, (size_t)(n * heads) * sizeof *model->d_sums);
        for (int i = 0; i < n * dim; i++) {
                model->d_sums[i / head_dim] += d_context[i] * bias[i % dim];
                d_bias[i % dim] += d_context[i] * b->sums[i / head_dim];
        }
        for (int h = 0; h < heads; h++) {
                gemm_pieces_backward_input(&model->gemm, model->d_mixed + h * dim, (size_t)(heads * dim), columns(model, d_context, h),
                                           rows_of(model, values, h), n, head_dim, dim);
                if (model_trains(model, last))
                        gemm_pieces_backward_weight(&model->gemm, d_values + (size_t)(h * head_dim) * (size_t)dim, (size_t)dim,
                                                    columns(model, d_context, h), wide_rows(model, b->mixed, h), n, head_dim, dim);
        }
}

/* Gradient of u → of the queries before bias, and of the keys' weights. */
static void keys_backward(struct model *model, const struct block *b, int n) {
        const int dim = model->shape.dim, heads = model->shape.heads, head_dim = dim / heads, last = model->shape.layers - 1;
        const float *keys = weight(model, last, K_W);
        float *d_keys = gradient(model, last, K_W);
        for (int h = 0; h < heads; h++) {
                gemm_pieces_forward(&model->gemm, model->d_query + h * head_dim, (size_t)dim, wide_rows(model, model->d_u, h), rows_of(model, keys, h),
                                    n, head_dim, dim);
                if (model_trains(model, last))
                        gemm_pieces_backward_weight(&model->gemm, d_keys + (size_t)(h * head_dim) * (size_t)dim, (size_t)dim, columns(model, b->q, h),
                                                    wide_rows(model, model->d_u, h), n, head_dim, dim);
        }
        for (int i = 0; i < n * dim; i++)
                model->d_query[i] *= query_scale(model);
}

void model_last_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, bool input_matters) {
        const int dim = model->shape.dim, last = model->shape.layers - 1, n = batch->n_sequences;
        const struct block *b = &model->blocks[last];
        const struct folded f = folded(model, batch, dropout, model->x[last]);
        float *d_cls = model->d, *d_all = model->d_branch; /* which holds the gradient of context until values_backward has read it */
        values_backward(model, b, model->d_branch, n);
        model->kernels->folded_backward(model->d_u, input_matters ? d_all : NULL, model->d_mixed, model->d_sums, b->probabilities, b->u, &f,
                                        model->scratch);
        keys_backward(model, b, n);
        model->kernels->add_column_sums(gradient(model, last, Q_B), model->d_query, n, dim);
        make_factor(model, &model->query_factor, model->d_query, n, dim);
        if (model_trains(model, last))
                gemm_backward_weight(&model->gemm, gradient(model, last, Q_W), model->query_factor, b->cls_factor, n, dim, dim);
        if (!input_matters)
                return;
        gemm_backward_input(&model->gemm, d_cls, model->query_factor, weight_factor(model, last, Q_W), 1, n, dim, dim);
        for (int s = 0; s < n; s++)
                for (int c = 0; c < dim; c++)
                        d_all[(size_t)batch->offsets[s] * dim + c] += d_cls[(size_t)s * dim + c];
        model->d = d_all;
        model->d_branch = d_cls;
}
