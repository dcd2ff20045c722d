/* DistilBERT for sequence classification on packed batches: forward, backward, AdamW.
 *
 * No padding exists: a batch is one [n_tokens, dim] matrix, attention works per sequence, every GEMM runs over real
 * tokens only. The last block computes only what the classifier reads, the [CLS] row of each sequence. All tensors
 * (weights, gradients, moments, activations) lie in one arena sized from a table when the model is made; nothing is
 * allocated in a step. Deterministic: same inputs and thread count, same bits.
 *
 * One thread calls these functions; inside, kernels run on the OpenMP threads that were asked for. */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct model_shape {
        int dim, heads, hidden_dim, layers, vocab_size, max_positions;
        int n_labels;
        float dropout, attention_dropout, seq_classif_dropout; /* of config.json; a training may override them */
        float initializer_range; /* 0.02: the head is drawn from normal(0, this) when the file has none */
};

struct model_limits {
        int max_sequences;  /* largest batch */
        int max_tokens;     /* largest n_tokens of a batch */
        int max_length;     /* longest sequence */
        bool training;      /* false: no gradients, moments and backward buffers */
        int threads;
        bool bf16;          /* matrix products of factors rounded to bfloat16, summed in float32; all else is float32 */
};

struct model;

int model_new(const struct model_shape *shape, const struct model_limits *limits, struct model **ret, struct error *err);
void model_free(struct model *model);
const struct model_shape *model_shape(const struct model *model);
size_t model_arena_bytes(const struct model_shape *shape, const struct model_limits *limits); /* before making one */

/* --- parameters, in Hugging Face's order and names -------------------------------------------------- */
struct model_parameter {
        const char *name; /* "distilbert.transformer.layer.0.attention.q_lin.weight", "classifier.bias", … */
        int rows, cols;   /* [rows, cols]; cols = 1 and n_dims 1 for a vector */
        int n_dims;
        size_t offset, size; /* in floats, into the flat arrays below */
        bool decay;       /* weight decay applies: not a bias, not inside a LayerNorm */
        int layer;        /* 0 … layers-1; -1 embeddings; `layers` = head */
};
size_t model_n_parameters(const struct model *model);
const struct model_parameter *model_parameter(const struct model *model, size_t i);
size_t model_n_floats(const struct model *model); /* length of each flat array, padding between tensors included */
float *model_weights(struct model *model);   /* ask again before writing: the next forward takes what was written since */
const float *model_weights_read(const struct model *model); /* to look at: any thread, between two optimizer steps */
float *model_gradients(struct model *model); /* NULL unless training */
float *model_moment1(struct model *model);   /* AdamW m */
float *model_moment2(struct model *model);   /* AdamW v */

/* --- batches ---------------------------------------------------------------------------------------- */
struct batch {
        int n_sequences, n_tokens;
        const int32_t *ids;     /* [n_tokens], sequences one after the other */
        const int32_t *offsets; /* [n_sequences + 1], offsets[0] = 0 */
        const int32_t *labels;  /* [n_sequences]; may be NULL for inference */
};

/* Dropout masks come from a counter-based generator (Philox): a function of seed, step, site and element, so nothing
 * is stored and the thread count does not matter. Probability 0 disables a site. */
struct dropout {
        float hidden, attention, classifier;
        uint64_t seed;
        uint64_t step; /* a number that no other micro-batch of this training has */
};

/* A step of a large batch takes seconds, and whoever wants to end must not wait for it: once *stop is not 0 (a signal handler
 * sets it), model_forward and model_forward_backward return within one block. Ask *stop after them: what they made is then
 * to be thrown away, gradients too. NULL: never. */
void model_set_stop(struct model *model, const volatile sig_atomic_t *stop);

/* Inference: dropout off. logits: [n_sequences, n_labels]. */
void model_forward(struct model *model, const struct batch *batch, float *logits);

/* What is minimised: torch.nn.CrossEntropyLoss with these options, plain cross-entropy at first. class_weights: [n_labels],
 * copied; NULL: all 1. label_smoothing in [0, 1). -ENOMEM. */
int model_set_loss(struct model *model, const float *class_weights, double label_smoothing);

/* Forward and backward of the mean loss times loss_scale (1 / accumulation steps): gradients are added to what is there.
 * Returns the unscaled mean loss in double. logits may be NULL. */
double model_forward_backward(struct model *model, const struct batch *batch, const struct dropout *dropout, double loss_scale, float *logits);

/* Hidden states for golden_replay: the output of the embeddings (0) or of block i (1 … layers) of the last
 * model_forward_backward, as [n_tokens, dim]; of the last block only the [CLS] rows exist: [n_sequences, dim].
 * model_forward keeps the last one only; NULL for the others when the model is not for training. */
const float *model_hidden(const struct model *model, int i);

/* How products are computed here, static text: see gemm_way_name in kernels/gemm.h. */
const char *model_products(const struct model *model);

/* Time and floating-point operations spent in matrix products since the model was made. */
struct gemm_meter;
const struct gemm_meter *model_gemm_meter(const struct model *model);
void model_gemm_work(const struct model *model, double *ret_seconds, double *ret_flops); /* the same, for who does not see kernels */

/* --- optimizer -------------------------------------------------------------------------------------- */
struct adamw {
        double beta1, beta2, epsilon, weight_decay;
        double max_grad_norm;      /* 0 = no clipping */
        double layerwise_lr_decay; /* 1 = off; the head's rate is lr, block l's lr·d^(layers-l), the embeddings' lr·d^(layers+1) */
};

/* What is not trained: the first n blocks and, apart from them, the embeddings; nothing at first. Frozen tensors keep their
 * weights and get no gradient, and the backward pass ends where nothing below is trained. The head is always trained.
 * Before the first step. */
void model_freeze(struct model *model, int layers, bool embeddings);

/* Global L2 norm over all gradients that are trained, summed in double. */
double model_gradient_norm(const struct model *model);

/* The gradients of the word embeddings are written by model_forward_backward alone: rows of words that it has not met are
 * taken for zero here. Moments may be written from outside (a checkpoint): a step t that does not follow the step before
 * it looks at them afresh. */

/* One torch.optim.AdamW step t (from 1) with rate lr; gradients are scaled by clip_coefficient on the way and zeroed.
 * The padding row 0 of the word embeddings never has a gradient but decays. */
void model_adamw_step(struct model *model, const struct adamw *adamw, double lr, uint64_t t, double clip_coefficient);

/* min(1, max_norm / (norm + 1e-6)), 1 when clipping is off. */
double model_clip_coefficient(const struct adamw *adamw, double norm);
