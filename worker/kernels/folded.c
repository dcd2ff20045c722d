/* The last block's attention, see model/last.c: one query a sequence and head meets the tokens themselves. A few percent of
 * what products with all tokens would take, so plain loops do: everything streams from the second-level cache. */
#include <omp.h>

#include "kernels/isa.h"
#include "kernels/softmax.h"

/* dots[t] = u·x[t]; four tokens at a time, so that sums do not wait for one another. */
INLINE void dot_tokens(float *dots, const float *u, const float *x, int length, int dim) {
        int t = 0;
        for (; t + 4 <= length; t += 4) {
                const float *row = x + (size_t)t * (size_t)dim;
                vf sum[4] = {{0}};
                for (int c = 0; c < dim; c += LANES) {
                        const vf left = v_load_part(u + c, dim - c);
#pragma GCC unroll 4
                        for (int i = 0; i < 4; i++)
                                sum[i] += left * v_load_part(row + (size_t)i * (size_t)dim + c, dim - c);
                }
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                        dots[t + i] = v_sum(sum[i]);
        }
        for (; t < length; t++) {
                vf sum = {0};
                for (int c = 0; c < dim; c += LANES)
                        sum += v_load_part(u + c, dim - c) * v_load_part(x + (size_t)t * (size_t)dim + c, dim - c);
                dots[t] = v_sum(sum);
        }
}

/* to = Σ_t p[t]·x[t] */
INLINE void mix_tokens(float *to, const float *p, const float *x, int length, int dim) {
        int c = 0;
        for (; c + 4 * LANES <= dim; c += 4 * LANES) {
                vf sum[4] = {{0}};
                for (int t = 0; t < length; t++)
#pragma GCC unroll 4
                        for (int i = 0; i < 4; i++)
                                sum[i] += v_load(x + (size_t)t * (size_t)dim + c + i * LANES) * p[t];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                        v_store(to + c + i * LANES, sum[i]);
        }
        for (; c < dim; c += LANES) {
                vf sum = {0};
                for (int t = 0; t < length; t++)
                        sum += v_load_part(x + (size_t)t * (size_t)dim + c, dim - c) * p[t];
                v_store_part(to + c, sum, dim - c);
        }
}

/* Of one sequence and head. */
struct task {
        int sequence, head, length, width; /* of its scores */
        const float *x;
        size_t row, scores;
};

static struct task task_make(const struct folded *f, int sequence, int head) {
        const int length = f->offsets[sequence + 1] - f->offsets[sequence], width = ROUND_UP_16(length);
        return (struct task){.sequence = sequence, .head = head, .length = length, .width = width,
                             .x = f->x + (size_t)f->offsets[sequence] * (size_t)f->dim,
                             .row = (size_t)(sequence * f->heads + head),
                             .scores = f->score_offsets[sequence] + (size_t)head * (size_t)width};
}

void K(folded_forward)(float *mixed, float *sums, float *probabilities, const float *u, const struct folded *f, struct scratch scratch) {
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < f->n_sequences * f->heads; i++) {
                const struct task t = task_make(f, i / f->heads, i % f->heads);
                float *p = probabilities + t.scores, *dropped = scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread, sum = 0;
                dot_tokens(p, u + t.row * (size_t)f->dim, t.x, t.length, f->dim);
                softmax_row(p, t.length, t.width);
                if (f->mask.p > 0)
                        drop_row(dropped, p, &f->mask, t.row, t.width);
                for (int c = 0; c < t.length; c++)
                        sum += f->mask.p > 0 ? dropped[c] : p[c];
                sums[t.row] = sum;
                mix_tokens(mixed + t.row * (size_t)f->dim, f->mask.p > 0 ? dropped : p, t.x, t.length, f->dim);
        }
}

/* d_x[t] (+)= p[t]·d_mixed + d[t]·u; the first head writes, the others add */
INLINE void spread(float *d_x, const float *p, const float *d, const float *d_mixed, const float *u, bool add, int length, int dim) {
        for (int t = 0; t < length; t++, d_x += dim)
                for (int c = 0; c < dim; c += LANES) {
                        vf sum = add ? v_load_part(d_x + c, dim - c) : (vf){0};
                        sum += v_load_part(d_mixed + c, dim - c) * p[t];
                        sum += v_load_part(u + c, dim - c) * d[t];
                        v_store_part(d_x + c, sum, dim - c);
                }
}

/* With p̃ = mask∘p:  dp = mask∘(d_mixed·x[t] + d_sum),  ds = p∘(dp - Σ dp∘p),  d_u = Σ ds[t]·x[t],  d_x[t] = Σ_heads p̃[t]·d_mixed + ds[t]·u. */
void K(folded_backward)(float *d_u, float *d_x, const float *d_mixed, const float *d_sums, const float *probabilities, const float *u,
                        const struct folded *f, struct scratch scratch) {
        const size_t dim = (size_t)f->dim;
#pragma omp parallel for schedule(dynamic)
        for (int sequence = 0; sequence < f->n_sequences; sequence++)
                for (int head = 0; head < f->heads; head++) {
                        const struct task t = task_make(f, sequence, head);
                        const float *p = probabilities + t.scores;
                        float *d = scratch.base + (size_t)omp_get_thread_num() * scratch.floats_per_thread, *dropped = d + t.width, mean = 0;
                        dot_tokens(d, d_mixed + t.row * dim, t.x, t.length, f->dim);
                        for (int c = 0; c < t.width; c++)
                                d[c] = c < t.length ? d[c] + d_sums[t.row] : 0;
                        if (f->mask.p > 0) {
                                drop_row(dropped, p, &f->mask, t.row, t.width);
                                drop_row(d, d, &f->mask, t.row, t.width);
                        }
                        for (int c = 0; c < t.length; c++)
                                mean += d[c] * p[c];
                        for (int c = 0; c < t.length; c++)
                                d[c] = p[c] * (d[c] - mean);
                        mix_tokens(d_u + t.row * dim, d, t.x, t.length, f->dim);
                        if (d_x)
                                spread(d_x + (size_t)f->offsets[sequence] * dim, f->mask.p > 0 ? dropped : p, d, d_mixed + t.row * dim,
                                       u + t.row * dim, head > 0, t.length, f->dim);
                }
}
