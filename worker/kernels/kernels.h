/* The numerical kernels besides GEMM: everything between two matrix products, fused into one or two passes over memory.
 *
 * One set of functions per instruction set, compiled from the same source; `kernels_best()` picks by what the processor
 * has. Outputs come first, then inputs, then sizes. Matrices are row-major without gaps unless a stride is named.
 * Inside, rows are shared out over the OpenMP threads of the caller (kernels_set_threads); sums over rows are taken per
 * thread and then in thread order, so a result depends on the inputs and the number of threads only.
 * Gradients of parameters (d_gamma, d_bias, …) are added to; all else is overwritten. Inputs and outputs do not overlap
 * unless "in place" is said. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One dropout site of one step; element (row, column) of its mask is always the same. p = 0: no dropout. */
struct mask {
        float p;
        uint32_t site; /* < 2^16 */
        uint64_t seed, step;
};

/* Working memory, one slice a thread, 64-byte aligned. */
struct scratch {
        float *base;
        size_t floats_per_thread; /* at least what kernels_scratch_floats says */
};

/* softmax(q·kᵀ/√head_dim)·v per sequence and head. */
struct attention {
        int heads, head_dim, n_sequences;
        const int32_t *offsets;      /* [n_sequences + 1] in tokens */
        const size_t *score_offsets; /* [n_sequences]: where the sequence's probabilities begin */
        const float *q, *k, *v;      /* without bias; token t at q + t·stride, … */
        size_t stride;
        const float *q_bias, *k_bias, *v_bias; /* [heads · head_dim] */
        struct mask mask; /* row = token · heads + head */
};

/* One query u a sequence and head, which meets the tokens themselves: with p = softmax_t(u·x[t]) and p̃ = mask∘p
 * mixed = Σ_t p̃[t]·x[t] and sum = Σ_t p̃[t]. */
struct folded {
        int heads, dim, n_sequences;
        const int32_t *offsets;
        const size_t *score_offsets;
        const float *x;   /* [n_tokens, dim] */
        struct mask mask; /* row = sequence · heads + head */
};

struct adamw_scalars {
        float clip, beta1, beta2;
        float rest1, rest2;     /* 1 - beta1, 1 - beta2, taken in double: 1 - 0.999f is off by 3e-5 */
        float decay;            /* 1 - lr · weight_decay */
        float step_size;        /* lr / (1 - beta1^t) */
        float root_correction;  /* sqrt(1 - beta2^t) */
        float epsilon;
};

struct kernel_set {
        const char *name;

        /* z[t] = words[id[t]] + positions[t - start of its sequence]; normal = (z - mean)·rstd; x = dropout(normal·gamma + beta) */
        void (*embeddings_forward)(float *x, float *normal, float *rstd, const float *words, const float *positions, const float *gamma,
                                   const float *beta, const struct mask *mask, const int32_t *ids, const int32_t *offsets, int n_sequences,
                                   int dim);
        /* Scatters d_z [n_tokens, dim] into the rows of both tables, in token order; id 0 (padding) receives nothing. */
        void (*embeddings_backward)(float *d_words, float *d_positions, const float *d_z, const int32_t *ids, const int32_t *offsets,
                                    int n_sequences, int dim);

        /* In: z = a GEMM's output. z' = dropout(z + bias) + residual; out: z = (z' - mean)·rstd, y = z·gamma + beta. eps 1e-12.
         * y may be z, then nothing is left of that. The same holds for x and normal above. */
        void (*norm_forward)(float *y, float *z, float *rstd, const float *bias, const float *residual, const float *gamma, const float *beta,
                             const struct mask *mask, int rows, int dim);
        /* In place: d = dL/dy → dL/dz'. in_mask: dropout on y itself (embeddings). d_branch = d·mask is the gradient of the
         * GEMM's output (NULL: not wanted), d_bias its column sums (NULL: not wanted). */
        void (*norm_backward)(float *d, float *d_branch, float *d_gamma, float *d_beta, float *d_bias, const float *normal, const float *rstd,
                              const float *gamma, const struct mask *in_mask, const struct mask *mask, int rows, int dim,
                              struct scratch scratch);

        /* pre += bias, h = gelu(pre), with the exact erf; h may be pre */
        void (*gelu_forward)(float *h, float *pre, const float *bias, int rows, int cols);
        /* In place: d = dL/dh → dL/dpre; h = gelu(pre) once more; d_bias gets d's column sums. */
        void (*gelu_backward)(float *d, float *h, float *d_bias, const float *pre, int rows, int cols, struct scratch scratch);

        /* pre += bias, h = dropout(relu(pre)); and in place d = dL/dh → dL/dpre with d_bias. */
        void (*relu_forward)(float *h, float *pre, const float *bias, const struct mask *mask, int rows, int cols);
        void (*relu_backward)(float *d, float *d_bias, const float *pre, const struct mask *mask, int rows, int cols);

        /* context [tokens, heads·head_dim]; probabilities: after softmax, before dropout, kept for backward. */
        void (*attention_forward)(float *context, float *probabilities, const struct attention *attention, struct scratch scratch);
        /* Gradients have the strides of their inputs. */
        void (*attention_backward)(float *d_q, float *d_k, float *d_v, const float *d_context, const float *probabilities,
                                   const struct attention *attention, struct scratch scratch);

        /* mixed [n_sequences, heads, dim], sums [n_sequences, heads]; probabilities as above. mixed may be u. */
        void (*folded_forward)(float *mixed, float *sums, float *probabilities, const float *u, const struct folded *folded, struct scratch scratch);
        /* d_x [n_tokens, dim], NULL: not wanted. */
        void (*folded_backward)(float *d_u, float *d_x, const float *d_mixed, const float *d_sums, const float *probabilities, const float *u,
                                const struct folded *folded, struct scratch scratch);

        /* sums[c] += Σ_r x[r, c] */
        void (*add_column_sums)(float *sums, const float *x, int rows, int cols);

        /* One torch.optim.AdamW step on n elements, by the calling thread alone; g is zeroed. */
        void (*adamw)(float *w, float *g, float *m, float *v, size_t n, const struct adamw_scalars *scalars);
        double (*square_sum)(const float *x, size_t n); /* Σ x² in double, by the calling thread alone */

        /* x rounded to bfloat16, as float32, by the calling thread alone. In place is allowed. */
        void (*round_bf16)(float *y, const float *x, size_t n);
        void (*to_bf16)(uint16_t *y, const float *x, size_t n); /* the upper halves of the same */

        /* Single rows, for tests: e^x, Φ(x) - 1/2, and a row of a mask (columns rounded up to 64 are written). */
        void (*exp)(float *y, const float *x, int n);
        void (*half_erf)(float *y, const float *x, int n);
        void (*mask_row)(float *factors, const struct mask *mask, uint64_t row, int cols);
};

/* The fastest set this processor runs; SWEEPD_KERNELS=avx512|avx2|generic in the environment asks for a lower one. */
const struct kernel_set *kernels_best(void);
/* All sets this processor runs, the generic one last; ends at NULL. */
const struct kernel_set *const *kernels_all(void);

/* Threads of all kernels and of BLAS, for the calling thread. */
void kernels_set_threads(int threads);

/* Floats a thread needs in its scratch slice for rows of `widest` columns and these attention sizes. */
size_t kernels_scratch_floats(int widest, int head_dim, int max_length);
/* Probabilities of one sequence: heads · query rows · length rounded up to whole vectors. */
size_t kernels_score_floats(int heads, int query_rows, int length);

/* torch.nn.CrossEntropyLoss's options: with w the weight of a class (1 when NULL) and ε the smoothing, a row of class y costs
 * (1-ε)·w[y]·nll[y] + ε/n_labels · Σ_c w[c]·nll[c], and the mean divides by the sum of the rows' w[y]. */
struct loss {
        const float *class_weights; /* [n_labels], or NULL */
        double label_smoothing;
};

/* Mean loss over n rows of logits, in double; d_logits (may be NULL) = scale · dloss/dlogits. loss NULL: cross-entropy. */
double cross_entropy(float *d_logits, const float *logits, const int32_t *labels, int n, int n_labels, const struct loss *loss, double scale);
