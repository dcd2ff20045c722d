/* Forward on a packed batch. Between two matrix products everything is one fused kernel. Where no backward follows, nothing is
 * kept: blocks take turns in the memory of the first one, which so stays in the caches, and work in place. */
#include "model/internal.h"

#include <string.h>

static struct mask make_mask(const struct dropout *dropout, float p, uint32_t site) {
        return dropout ? (struct mask){.p = p, .site = site, .seed = dropout->seed, .step = dropout->step} : (struct mask){0};
}

struct mask model_mask_embeddings(const struct dropout *dropout) {
        return make_mask(dropout, dropout ? dropout->hidden : 0, 0);
}

struct mask model_mask_attention(const struct dropout *dropout, int layer) {
        return make_mask(dropout, dropout ? dropout->attention : 0, 1 + 2 * (uint32_t)layer);
}

struct mask model_mask_ffn(const struct dropout *dropout, int layer) {
        return make_mask(dropout, dropout ? dropout->hidden : 0, 2 + 2 * (uint32_t)layer);
}

struct mask model_mask_head(const struct dropout *dropout, int layers) {
        return make_mask(dropout, dropout ? dropout->classifier : 0, 1 + 2 * (uint32_t)layers);
}

struct attention model_attention(const struct model *model, const struct block *b, const struct batch *batch, const struct dropout *dropout,
                                 int layer) {
        return (struct attention){
                .heads = model->shape.heads,
                .head_dim = model->shape.dim / model->shape.heads,
                .n_sequences = batch->n_sequences,
                .offsets = batch->offsets,
                .score_offsets = model->score_offsets,
                .q = b->q,
                .k = b->q + model->shape.dim,
                .v = b->q + 2 * model->shape.dim,
                .stride = 3 * (size_t)model->shape.dim,
                .q_bias = weight(model, layer, Q_B),
                .k_bias = weight(model, layer, K_B),
                .v_bias = weight(model, layer, V_B),
                .mask = model_mask_attention(dropout, layer),
        };
}

/* Where each sequence's probabilities begin. */
static void place_scores(struct model *model, const struct batch *batch) {
        size_t all = 0, cls = 0;
        for (int s = 0; s < batch->n_sequences; s++) {
                int length = batch->offsets[s + 1] - batch->offsets[s];
                model->score_offsets[s] = all;
                model->cls_score_offsets[s] = cls;
                all += kernels_score_floats(model->shape.heads, length, length);
                cls += kernels_score_floats(model->shape.heads, 1, length);
        }
}

static float *input(const struct model *model, int layer, bool keeps) {
        return keeps || layer == model->shape.layers ? model->x[layer] : model->x[layer % 2];
}

static struct block *block(const struct model *model, int layer, bool keeps) {
        return keeps || layer == model->shape.layers - 1 ? &model->blocks[layer] : &model->blocks[0];
}

static void attend(struct model *model, const struct batch *batch, const struct dropout *dropout, struct block *b, const float *x, int layer) {
        const struct attention attention = model_attention(model, b, batch, dropout, layer);
        const int dim = model->shape.dim;
        make_factor(model, &b->x_factor, x, batch->n_tokens, dim);
        gemm_forward(&model->gemm, b->q, b->x_factor, weight_factor(model, layer, Q_W), batch->n_tokens, 3 * dim, dim);
        model->kernels->attention_forward(b->context, b->probabilities, &attention, model->scratch);
}

static void block_forward(struct model *model, const struct batch *batch, const struct dropout *dropout, int layer, bool keeps) {
        const struct kernel_set *kernels = model->kernels;
        struct block *b = block(model, layer, keeps);
        const int dim = model->shape.dim, hidden = model->shape.hidden_dim, rows = b->cls ? batch->n_sequences : batch->n_tokens;
        const float *x = input(model, layer, keeps);
        float *y = input(model, layer + 1, keeps), *h = keeps ? model->h : b->pre; /* what is not kept is overwritten in place */
        float *z1 = keeps ? b->normal1 : b->y1, *z2 = keeps ? b->normal2 : y;
        const struct mask none = {0}, ffn = model_mask_ffn(dropout, layer);
        if (b->cls)
                model_last_forward(model, batch, dropout, x, keeps);
        else
                attend(model, batch, dropout, b, x, layer);
        make_factor(model, &b->context_factor, b->context, rows, dim);
        gemm_forward(&model->gemm, z1, b->context_factor, weight_factor(model, layer, OUT_W), rows, dim, dim);
        kernels->norm_forward(b->y1, z1, b->rstd1, weight(model, layer, OUT_B), b->cls ? b->cls : x, weight(model, layer, NORM1_W),
                              weight(model, layer, NORM1_B), &none, rows, dim);
        make_factor(model, &b->y1_factor, b->y1, rows, dim);
        gemm_forward(&model->gemm, b->pre, b->y1_factor, weight_factor(model, layer, LIN1_W), rows, hidden, dim);
        kernels->gelu_forward(h, b->pre, weight(model, layer, LIN1_B), rows, hidden);
        make_factor(model, &model->h_factor, h, rows, hidden);
        gemm_forward(&model->gemm, z2, model->h_factor, weight_factor(model, layer, LIN2_W), rows, dim, hidden);
        kernels->norm_forward(y, z2, b->rstd2, weight(model, layer, LIN2_B), b->y1, weight(model, layer, NORM2_W),
                              weight(model, layer, NORM2_B), &ffn, rows, dim);
}

static void head_forward(struct model *model, const struct batch *batch, const struct dropout *dropout) {
        const int layers = model->shape.layers, dim = model->shape.dim, n = batch->n_sequences, labels = model->shape.n_labels;
        const struct mask mask = model_mask_head(dropout, layers);
        const float *bias = weight(model, layers, CLASSIFIER_B);
        make_factor(model, &model->head_factor, model->x[layers], n, dim);
        gemm_forward(&model->gemm, model->head_pre, model->head_factor, weight_factor(model, layers, PRE_W), n, dim, dim);
        model->kernels->relu_forward(model->head_h, model->head_pre, weight(model, layers, PRE_B), &mask, n, dim);
        make_factor(model, &model->head_h_factor, model->head_h, n, dim);
        gemm_forward(&model->gemm, model->logits, model->head_h_factor, weight_factor(model, layers, CLASSIFIER_W), n, labels, dim);
        for (int i = 0; i < n * labels; i++)
                model->logits[i] += bias[i % labels];
}

/* After AdamW the optimizer has made them; only weights written from outside are left. */
static void refresh_weight_factors(struct model *model) {
        if (model->weights_changed)
                gemm_operand(&model->gemm, model->weight_factors, model->weights + model->first_factor, model->n_floats - model->first_factor);
        model->weights_changed = false;
}

void model_run_forward(struct model *model, const struct batch *batch, const struct dropout *dropout, bool keeps) {
        const struct mask mask = model_mask_embeddings(dropout);
        kernels_set_threads(model->limits.threads);
        place_scores(model, batch);
        refresh_weight_factors(model);
        model->kernels->embeddings_forward(model->x[0], keeps ? model->embed_normal : model->x[0], model->embed_rstd, weight(model, -1, WORDS),
                                           weight(model, -1, POSITIONS), weight(model, -1, EMBED_NORM_W), weight(model, -1, EMBED_NORM_B),
                                           &mask, batch->ids, batch->offsets, batch->n_sequences, model->shape.dim);
        for (int layer = 0; layer < model->shape.layers && !is_stopped(model); layer++)
                block_forward(model, batch, dropout, layer, keeps);
        head_forward(model, batch, dropout);
}

void model_forward(struct model *model, const struct batch *batch, float *logits) {
        model_run_forward(model, batch, NULL, false);
        memcpy(logits, model->logits, (size_t)batch->n_sequences * (size_t)model->shape.n_labels * sizeof *logits);
}
