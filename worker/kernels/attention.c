/* Attention per sequence and head on packed batches: no padding, so no masking either.
 *
 * One task is one head of one sequence. It copies its head's columns of q, k and v out of the wide rows (adding the bias
 * and, to q, the factor 1/√head_dim), transposed where a product wants it, and then works in a few kilobytes. Rows of
 * scores are padded to 16 columns; the padding holds zeros after softmax and takes part in nothing. Tasks share nothing,
 * so threads take them as they come. */
#include <math.h>
#include <omp.h>

#include "kernels/isa.h"
#include "kernels/philox.h"
#include "kernels/product.h"
#include "kernels/softmax.h"

/* One task's view of the inputs. */
struct task {
        int length;             /* tokens */
        int width, score_width; /* head_dim and length rounded up to 16 */
        size_t first_token, column;
        size_t score_offset;
        int head;
};

static struct task task_make(const struct attention *a, int index) {
        int sequence = index / a->heads, head = index % a->heads, length = a->offsets[sequence + 1] - a->offsets[sequence];
        struct task t = {.length = length, .head = head};
        t.width = ROUND_UP_16(a->head_dim);
        t.score_width = ROUND_UP_16(length);
        t.first_token = (size_t)a->offsets[sequence];
        t.column = (size_t)head * (size_t)a->head_dim;
        t.score_offset = a->score_offsets[sequence] + (size_t)head * (size_t)length * (size_t)t.score_width;
        return t;
}

/* to [rows, width] = (from + bias)·factor, zeros behind column head_dim. bias may be NULL. */
INLINE void copy_rows(float *to, const float *from, size_t stride, const float *bias, float factor, int rows, int head_dim, int width) {
        for (int r = 0; r < rows; r++, to += width, from += stride)
                for (int c = 0; c < width; c += LANES) {
                        vf x = {0};
                        if (c < head_dim) {
                                x = v_load_part(from + c, head_dim - c);
                                if (bias)
                                        x += v_load_part(bias + c, head_dim - c);
                        }
                        v_store(to + c, x * factor);
                }
}

/* to [head_dim, score_width] = (from + bias)ᵀ, zeros behind column `rows`. */
INLINE void copy_transposed(float *to, const float *from, size_t stride, const float *bias, int rows, int head_dim, int score_width) {
        for (int c = 0; c < head_dim; c++, to += score_width) {
                const float add = bias ? bias[c] : 0;
                for (int r = 0; r < rows; r++)
                        to[r] = from[(size_t)r * stride + c] + add;
                for (int r = rows; r < score_width; r++)
                        to[r] = 0;
        }
}

/* The way back: wide rows = from [rows, width]·factor */
INLINE void copy_out(float *to, size_t stride, const float *from, float factor, int rows, int head_dim, int width) {
        for (int r = 0; r < rows; r++, to += stride, from += width)
                for (int c = 0; c < head_dim; c += LANES)
                        v_store_part(to + c, v_load(from + c) * factor, head_dim - c);
}

static void forward_task(float *context, float *probabilities, const struct attention *a, const struct task *t, float *memory) {
        const int rows = t->length, length = t->length, width = t->width, score_width = t->score_width, head_dim = a->head_dim;
        float *q = memory, *k = q + rows * width, *v = k + head_dim * score_width, *out = v + length * width;
        float *dropped = out + rows * width, *p = probabilities + t->score_offset;
        const size_t column = t->column, tokens = t->first_token * a->stride + column;
        copy_rows(q, a->q + t->first_token * a->stride + column, a->stride, a->q_bias + column, 1.0f / sqrtf((float)head_dim), rows, head_dim,
                  width);
        copy_transposed(k, a->k + tokens, a->stride, a->k_bias + column, length, head_dim, score_width);
        copy_rows(v, a->v + tokens, a->stride, a->v_bias + column, 1, length, head_dim, width);
        product(p, (size_t)score_width, q, (size_t)width, 1, k, (size_t)score_width, rows, score_width, head_dim);
        for (int r = 0; r < rows; r++) {
                softmax_row(p + r * score_width, length, score_width);
                if (a->mask.p > 0)
                        drop_row(dropped + r * score_width, p + r * score_width, &a->mask,
                                 (t->first_token + (size_t)r) * (size_t)a->heads + (size_t)t->head, score_width);
        }
        product(out, (size_t)width, a->mask.p > 0 ? dropped : p, (size_t)score_width, 1, v, (size_t)width, rows, width, length);
        const size_t dim = (size_t)a->heads * (size_t)head_dim;
        copy_out(context + t->first_token * dim + column, dim, out, 1, rows, head_dim, width);
}

void K(attention_forward)(float *context, float *probabilities, const struct attention *attention, struct scratch scratch) {
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < attention->n_sequences * attention->heads; i++) {
                struct task task = task_make(attention, i);
                forward_task(context, probabilities, attention, &task,
                             scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread);
        }
}

/* With P̃ = mask∘P:  dV = P̃ᵀ·dO,  dP = mask∘(dO·Vᵀ),  dS = P∘(dP - rowsum(dP∘P)),  dQ = dS·K/√d,  dK = dSᵀ·(Q/√d). */
INLINE void score_gradient_row(float *d, float *dropped, const float *p, const struct attention *a, uint64_t row, int width) {
        if (a->mask.p > 0) {
                drop_row(dropped, p, &a->mask, row, width);
                drop_row(d, d, &a->mask, row, width);
        }
        vf sum = {0};
        for (int c = 0; c < width; c += LANES)
                sum += v_load(d + c) * v_load(p + c);
        const vf mean = v_set(v_sum(sum));
        for (int c = 0; c < width; c += LANES)
                v_store(d + c, v_load(p + c) * (v_load(d + c) - mean));
}

static void backward_task(float *d_q, float *d_k, float *d_v, const float *d_context, const float *probabilities, const struct attention *a,
                          const struct task *t, float *memory) {
        const int rows = t->length, length = t->length, width = t->width, score_width = t->score_width, head_dim = a->head_dim;
        const size_t column = t->column, dim = (size_t)a->heads * (size_t)head_dim, queries = t->first_token * a->stride + column;
        const size_t tokens = t->first_token * a->stride + column, wide = (size_t)width, score = (size_t)score_width;
        const float scale = 1.0f / sqrtf((float)head_dim), *p = probabilities + t->score_offset;
        float *q = memory, *k = q + rows * width, *v = k + length * width, *d_out = v + head_dim * score_width, *out = d_out + rows * width;
        float *d_scores = out + length * width, *dropped = d_scores + rows * score_width;
        copy_rows(q, a->q + queries, a->stride, a->q_bias + column, scale, rows, head_dim, width);
        copy_rows(k, a->k + tokens, a->stride, a->k_bias + column, 1, length, head_dim, width);
        copy_transposed(v, a->v + tokens, a->stride, a->v_bias + column, length, head_dim, score_width);
        copy_rows(d_out, d_context + t->first_token * dim + column, dim, NULL, 1, rows, head_dim, width);
        product(d_scores, score, d_out, wide, 1, v, score, rows, score_width, head_dim);
        for (int r = 0; r < rows; r++)
                score_gradient_row(d_scores + r * score_width, dropped + r * score_width, p + r * score_width, a,
                                   (t->first_token + (size_t)r) * (size_t)a->heads + (size_t)t->head, score_width);
        product(out, wide, a->mask.p > 0 ? dropped : p, 1, score, d_out, wide, length, width, rows);
        copy_out(d_v + tokens, a->stride, out, 1, length, head_dim, width);
        product(out, wide, d_scores, 1, score, q, wide, length, width, rows);
        copy_out(d_k + tokens, a->stride, out, 1, length, head_dim, width);
        product(out, wide, d_scores, score, 1, k, wide, rows, width, length);
        copy_out(d_q + queries, a->stride, out, scale, rows, head_dim, width);
}

void K(attention_backward)(float *d_q, float *d_k, float *d_v, const float *d_context, const float *probabilities,
                           const struct attention *attention, struct scratch scratch) {
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < attention->n_sequences * attention->heads; i++) {
                struct task task = task_make(attention, i);
                backward_task(d_q, d_k, d_v, d_context, probabilities, attention, &task,
                              scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread);
        }
}
