/* The optimizer over all parameters: gradient norm, clipping, AdamW. Work is cut into chunks of fixed size, so the sums do
 * not depend on the number of threads either. */
#include "model/internal.h"

#include <math.h>
#include <string.h>

bool model_trains(const struct model *model, int layer) {
        if (layer < 0)
                return !model->frozen_embeddings;
        return layer == model->shape.layers || layer >= model->frozen_layers;
}

void model_freeze(struct model *model, int layers, bool embeddings) {
        model->frozen_layers = layers;
        model->frozen_embeddings = embeddings;
}

static bool is_trained(const struct model *model, const struct chunk *chunk) {
        return model_trains(model, model->parameters[chunk->parameter].layer);
}

/* Σ g² over the rows of a chunk of word embeddings that have a gradient. */
static double word_square_sum(const struct model *model, const struct chunk *chunk) {
        const size_t dim = (size_t)model->shape.dim;
        double sum = 0;
        for (size_t r = 0; r * dim < chunk->size; r++)
                if (model->word_states[(size_t)chunk->first_row + r] & WORD_HAS_GRADIENT)
                        sum += model->kernels->square_sum(model->gradients + chunk->offset + r * dim, dim);
        return sum;
}

double model_gradient_norm(const struct model *model) {
        kernels_set_threads(model->limits.threads);
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < model->n_chunks; i++) {
                const struct chunk *chunk = &model->chunks[i];
                double sum = 0;
                if (is_trained(model, chunk))
                        sum = chunk->first_row >= 0 ? word_square_sum(model, chunk)
                                                    : model->kernels->square_sum(model->gradients + chunk->offset, chunk->size);
                model->chunk_sums[i] = sum;
        }
        double total = 0;
        for (size_t i = 0; i < model->n_chunks; i++)
                total += model->chunk_sums[i];
        return sqrt(total);
}

double model_clip_coefficient(const struct adamw *adamw, double norm) {
        return adamw->max_grad_norm > 0 ? fmin(1, adamw->max_grad_norm / (norm + 1e-6)) : 1;
}

static struct adamw_scalars scalars_of(const struct model *model, const struct adamw *adamw, const struct model_parameter *parameter, double lr,
                                       uint64_t t, double clip) {
        double rate = lr * pow(adamw->layerwise_lr_decay, model->shape.layers - parameter->layer);
        return (struct adamw_scalars){
                .clip = (float)clip,
                .beta1 = (float)adamw->beta1,
                .beta2 = (float)adamw->beta2,
                .rest1 = (float)(1 - adamw->beta1),
                .rest2 = (float)(1 - adamw->beta2),
                .decay = (float)(1 - rate * (parameter->decay ? adamw->weight_decay : 0)),
                .step_size = (float)(rate / (1 - pow(adamw->beta1, (double)t))),
                .root_correction = (float)sqrt(1 - pow(adamw->beta2, (double)t)),
                .epsilon = (float)adamw->epsilon,
        };
}

/* A word that never had a gradient has no moments: it only decays, which gives the same bits as the whole step would. */
static void update_words(struct model *model, const struct chunk *chunk, const struct adamw_scalars *scalars) {
        const size_t dim = (size_t)model->shape.dim;
        for (size_t r = 0; r * dim < chunk->size; r++) {
                uint8_t *state = &model->word_states[(size_t)chunk->first_row + r];
                const size_t at = chunk->offset + r * dim;
                if (*state)
                        model->kernels->adamw(model->weights + at, model->gradients + at, model->moment1 + at, model->moment2 + at, dim, scalars);
                else if (scalars->decay != 1)
                        for (size_t c = 0; c < dim; c++)
                                model->weights[at + c] *= scalars->decay;
                if (*state)
                        *state = WORD_HAS_MOMENTS;
        }
}

/* After a jump in t the moments came from elsewhere: which words have any is found out by looking. */
static void find_live_words(struct model *model) {
        const size_t dim = (size_t)model->shape.dim, at = model->parameters[WORDS].offset;
#pragma omp parallel for schedule(static)
        for (int word = 0; word < model->shape.vocab_size; word++) {
                const float *m = model->moment1 + at + (size_t)word * dim, *v = model->moment2 + at + (size_t)word * dim;
                bool live = false;
                for (size_t c = 0; c < dim && !live; c++)
                        live = m[c] != 0 || v[c] != 0;
                model->word_states[word] = (uint8_t)((model->word_states[word] & WORD_HAS_GRADIENT) | (live ? WORD_HAS_MOMENTS : 0));
        }
}

void model_adamw_step(struct model *model, const struct adamw *adamw, double lr, uint64_t t, double clip_coefficient) {
        kernels_set_threads(model->limits.threads);
        if (t != model->last_t + 1)
                find_live_words(model);
        model->last_t = t;
#pragma omp parallel for schedule(dynamic, 4)
        for (size_t i = 0; i < model->n_chunks; i++) {
                const struct chunk *chunk = &model->chunks[i];
                const struct adamw_scalars scalars = scalars_of(model, adamw, &model->parameters[chunk->parameter], lr, t, clip_coefficient);
                const size_t at = chunk->offset;
                if (!is_trained(model, chunk))
                        continue;
                if (chunk->first_row >= 0)
                        update_words(model, chunk, &scalars);
                else {
                        model->kernels->adamw(model->weights + at, model->gradients + at, model->moment1 + at, model->moment2 + at, chunk->size,
                                              &scalars);
                        if (at >= model->first_factor)
                                gemm_fill_operand(&model->gemm, model->weight_factors, at - model->first_factor, model->weights + at, chunk->size);
                }
        }
}
