#include "naive_kernels.h"

#include <math.h>
#include <stdlib.h>

void naive_philox(uint32_t c[static 4], uint32_t key0, uint32_t key1) {
        for (int round = 0; round < 10; round++) {
                uint64_t p0 = (uint64_t)c[0] * 0xD2511F53u, p1 = (uint64_t)c[2] * 0xCD9E8D57u;
                uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ key0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ key1, (uint32_t)p0};
                for (int i = 0; i < 4; i++)
                        c[i] = next[i];
                key0 += 0x9E3779B9u;
                key1 += 0xBB67AE85u;
        }
}

double naive_mask(const struct mask *mask, uint64_t row, int col) {
        if (mask->p == 0)
                return 1;
        int group = col / 64, word = col % 64 / 16, block = col % 16;
        uint32_t c[4] = {(uint32_t)(16 * group + block), (uint32_t)row, (uint32_t)mask->step, mask->site | (uint32_t)(mask->step >> 32) << 16};
        naive_philox(c, (uint32_t)mask->seed, (uint32_t)(mask->seed >> 32));
        return c[word] >= (uint32_t)((double)mask->p * 4294967296.0) ? (double)(1.0f / (1.0f - mask->p)) : 0;
}

void naive_norm_row(double *y, const double *z, const float *gamma, const float *beta, int dim) {
        double mean = 0, variance = 0;
        for (int c = 0; c < dim; c++)
                mean += z[c] / dim;
        for (int c = 0; c < dim; c++)
                variance += (z[c] - mean) * (z[c] - mean) / dim;
        for (int c = 0; c < dim; c++)
                y[c] = (z[c] - mean) / sqrt(variance + 1e-12) * gamma[c] + beta[c];
}

void naive_residual_norm(double *y, const double *z, const float *bias, const double *residual, const float *gamma, const float *beta,
                         const struct mask *mask, int rows, int dim) {
        for (int r = 0; r < rows; r++) {
                double *row = malloc((size_t)dim * sizeof *row);
                for (int c = 0; c < dim; c++)
                        row[c] = (z[r * dim + c] + (double)bias[c]) * naive_mask(mask, (uint64_t)r, c) + residual[r * dim + c];
                naive_norm_row(y + r * dim, row, gamma, beta, dim);
                free(row);
        }
}

double naive_gelu(double x) {
        return 0.5 * x * (1 + erf(x / sqrt(2)));
}

/* One query row of one head. */
static void attend(double *context, const double *q, const double *k, const double *v, const struct attention *a, int head, int first, int length,
                   uint64_t mask_row) {
        const int dim = a->heads * a->head_dim, column = head * a->head_dim;
        double *p = malloc((size_t)length * sizeof *p), sum = 0;
        for (int j = 0; j < length; j++) {
                double score = 0;
                for (int c = column; c < column + a->head_dim; c++)
                        score += (q[c] + (double)a->q_bias[c]) * (k[(first + j) * dim + c] + (double)a->k_bias[c]);
                p[j] = exp(score / sqrt(a->head_dim));
                sum += p[j];
        }
        for (int c = column; c < column + a->head_dim; c++) {
                context[c] = 0;
                for (int j = 0; j < length; j++)
                        context[c] += p[j] / sum * naive_mask(&a->mask, mask_row, j) * (v[(first + j) * dim + c] + (double)a->v_bias[c]);
        }
        free(p);
}

void naive_attention(double *context, const double *q, const double *k, const double *v, const struct attention *a) {
        const int dim = a->heads * a->head_dim;
        for (int s = 0; s < a->n_sequences; s++) {
                int first = a->offsets[s], length = a->offsets[s + 1] - first;
                for (int i = 0; i < length; i++) {
                        int row = first + i;
                        for (int head = 0; head < a->heads; head++)
                                attend(context + row * dim, q + row * dim, k, v, a, head, first, length, (uint64_t)(row * a->heads + head));
                }
        }
}

void naive_folded(double *mixed, double *sums, const double *u, const double *x, const struct folded *f) {
        const int dim = f->dim;
        for (int row = 0; row < f->n_sequences * f->heads; row++) {
                const int first = f->offsets[row / f->heads], length = f->offsets[row / f->heads + 1] - first;
                double *p = malloc((size_t)length * sizeof *p), all = 0;
                for (int t = 0; t < length; t++) {
                        double score = 0;
                        for (int c = 0; c < dim; c++)
                                score += u[row * dim + c] * x[(first + t) * dim + c];
                        all += p[t] = exp(score);
                }
                sums[row] = 0;
                for (int t = 0; t < length; t++)
                        sums[row] += p[t] *= naive_mask(&f->mask, (uint64_t)row, t) / all;
                for (int c = 0; c < dim; c++) {
                        mixed[row * dim + c] = 0;
                        for (int t = 0; t < length; t++)
                                mixed[row * dim + c] += p[t] * x[(first + t) * dim + c];
                }
                free(p);
        }
}

void naive_adamw(float *w, float *g, float *m, float *v, size_t n, double clip, double beta1, double beta2, double epsilon, double lr,
                 double weight_decay, unsigned t) {
        for (size_t i = 0; i < n; i++) {
                double gradient = g[i] * clip, first = beta1 * m[i] + (1 - beta1) * gradient;
                double second = beta2 * v[i] + (1 - beta2) * gradient * gradient, weight = w[i] * (1 - lr * weight_decay);
                weight -= lr / (1 - pow(beta1, t)) * first / (sqrt(second) / sqrt(1 - pow(beta2, t)) + epsilon);
                w[i] = (float)weight;
                m[i] = (float)first;
                v[i] = (float)second;
                g[i] = 0;
        }
}
