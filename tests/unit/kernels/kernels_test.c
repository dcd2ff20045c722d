/* Every set of kernels this processor runs against the plain twins, and every backward kernel against finite differences
 * of its plain forward. Sizes are chosen to leave rests for every vector width. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "kernels/kernels.h"
#include "naive_kernels.h"

#define FOR_ALL_SETS(kernels) \
        for (const struct kernel_set *const *_set = kernels_all(), *kernels = *_set; kernels; kernels = *++_set)

static struct rng rng;

static float *draw(size_t n, double deviation) {
        float *x = malloc(n * sizeof *x);
        for (size_t i = 0; i < n; i++)
                x[i] = (float)(deviation * rng_normal(&rng));
        return x;
}

static float *copy(const float *x, size_t n) {
        float *y = malloc(n * sizeof *y);
        memcpy(y, x, n * sizeof *y);
        return y;
}

static double *widen(const float *x, size_t n) {
        double *y = malloc(n * sizeof *y);
        for (size_t i = 0; i < n; i++)
                y[i] = x[i];
        return y;
}

static void assert_near(const float *x, const double *truth, size_t n, double tolerance) {
        for (size_t i = 0; i < n; i++)
                if (!(fabs(x[i] - truth[i]) <= tolerance))
                        fail_msg("element %zu is %.9g, not %.9g", i, (double)x[i], truth[i]);
}

static struct scratch make_scratch(int widest, int head_dim, int length) {
        struct scratch scratch = {.floats_per_thread = (kernels_scratch_floats(widest, head_dim, length) + 15) & ~(size_t)15};
        scratch.base = aligned_alloc(64, 8 * scratch.floats_per_thread * sizeof(float));
        return scratch;
}

static const struct mask no_mask = {0}, some_mask = {.p = 0.3f, .site = 7, .seed = 0x123456789ABCDEF0, .step = 5};

/* --- elementary functions --------------------------------------------------------------------------- */
static void exp_is_within_two_units_in_the_last_place(void **state) {
        (void)state;
        enum { N = 20001 };
        static float x[N], y[N];
        for (int i = 0; i < N; i++)
                x[i] = -87.0f + (float)i * (174.0f / (N - 1));
        FOR_ALL_SETS(kernels) {
                kernels->exp(y, x, N);
                for (int i = 0; i < N; i++)
                        if (!(fabs(y[i] / exp(x[i]) - 1) < 2.4e-7))
                                fail_msg("%s: exp(%g) = %.9g", kernels->name, (double)x[i], (double)y[i]);
        }
}

/* The twin: of the two neighbours with 16 bits, the nearer one; of two equally near, the one whose last bit is 0. */
static float naive_bf16(float x) {
        uint32_t bits, low;
        float below, above;
        memcpy(&bits, &x, sizeof bits);
        low = bits & 0xFFFF0000u;
        memcpy(&below, &low, sizeof below);
        uint32_t high = low + 0x10000;
        memcpy(&above, &high, sizeof above);
        double to_below = fabs((double)x - (double)below), to_above = fabs((isinf(above) ? ldexp(1, 128) : fabs((double)above)) - fabs((double)x));
        if (low == bits)
                return x;
        return to_below < to_above || (to_below == to_above && (low & 0x10000) == 0) ? below : above;
}

static void bf16_rounds_to_nearest_even_and_keeps_nan_and_infinity(void **state) {
        (void)state;
        enum { N = 65536 + 7 };
        float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
        uint16_t *upper = malloc(N * sizeof *upper);
        for (uint32_t i = 0; i < N; i++) { /* all upper halves (signs, exponents, NaN, infinity) with telling lower ones */
                static const uint32_t lower[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1234};
                uint32_t bits = i << 16 | lower[i % 7];
                memcpy(&x[i], &bits, sizeof bits);
        }
        FOR_ALL_SETS(kernels) {
                memcpy(y, x, N * sizeof *y);
                kernels->round_bf16(y, y, N);
                kernels->to_bf16(upper, x, N);
                for (int i = 0; i < N; i++) {
                        uint32_t bits;
                        memcpy(&bits, &y[i], sizeof bits);
                        assert_int_equal(bits, (uint32_t)upper[i] << 16);
                        if (isnan(x[i]) ? !isnan(y[i]) : y[i] != naive_bf16(x[i]))
                                fail_msg("%s: element %d, %a became %a", kernels->name, i, (double)x[i], (double)y[i]);
                }
        }
        free(x);
        free(y);
        free(upper);
}

static void half_erf_is_within_3e_7_everywhere_and_keeps_nan(void **state) {
        (void)state;
        enum { N = 20001 };
        static float x[N], y[N];
        for (int i = 0; i < N; i++)
                x[i] = -10.0f + (float)i * (20.0f / (N - 1));
        FOR_ALL_SETS(kernels) {
                kernels->half_erf(y, x, N);
                for (int i = 0; i < N; i++)
                        if (!(fabs(y[i] - 0.5 * erf(x[i] / sqrt(2))) < 3e-7))
                                fail_msg("%s: half_erf(%g) = %.9g", kernels->name, (double)x[i], (double)y[i]);
                float nan_in = NAN, nan_out = 0;
                kernels->half_erf(&nan_out, &nan_in, 1);
                assert_true(isnan(nan_out));
                kernels->exp(&nan_out, &nan_in, 1);
                assert_true(isnan(nan_out));
        }
}

/* --- LayerNorm -------------------------------------------------------------------------------------- */
struct norm_case {
        int rows, dim;
        float *z, *bias, *residual, *gamma, *beta, *weights; /* weights: loss = Σ weights·y */
        const struct mask *mask;
};

static double norm_loss(const struct norm_case *c, const double *z) {
        size_t n = (size_t)(c->rows * c->dim);
        double *y = malloc(n * sizeof *y), *residual = widen(c->residual, n), loss = 0;
        naive_residual_norm(y, z, c->bias, residual, c->gamma, c->beta, c->mask, c->rows, c->dim);
        for (size_t i = 0; i < n; i++)
                loss += y[i] * (double)c->weights[i];
        free(y);
        free(residual);
        return loss;
}

static void check_norm(const struct kernel_set *kernels, int rows, int dim, const struct mask *mask) {
        size_t n = (size_t)(rows * dim);
        struct norm_case c = {rows, dim, draw(n, 1), draw((size_t)dim, 1), draw(n, 1), draw((size_t)dim, 1), draw((size_t)dim, 1), draw(n, 1), mask};
        float *y = calloc(n, sizeof *y), *normal = copy(c.z, n), *rstd = calloc((size_t)rows, sizeof *rstd);
        double *truth = calloc(n, sizeof *truth), *z = widen(c.z, n), *residual = widen(c.residual, n);
        kernels->norm_forward(y, normal, rstd, c.bias, c.residual, c.gamma, c.beta, mask, rows, dim);
        naive_residual_norm(truth, z, c.bias, residual, c.gamma, c.beta, mask, rows, dim);
        assert_near(y, truth, n, 2e-5);

        struct scratch scratch = make_scratch(dim, 8, 8);
        float *d = copy(c.weights, n), *branch = calloc(n, sizeof *branch);
        float *d_gamma = calloc((size_t)dim, sizeof *d), *d_beta = calloc((size_t)dim, sizeof *d), *d_bias = calloc((size_t)dim, sizeof *d);
        kernels->norm_backward(d, branch, d_gamma, d_beta, d_bias, normal, rstd, c.gamma, &no_mask, mask, rows, dim, scratch);
        double *sums = calloc((size_t)dim, sizeof *sums), *sums_normal = calloc((size_t)dim, sizeof *sums);
        double *d_truth = calloc(n, sizeof *d_truth), *sums_branch = calloc((size_t)dim, sizeof *sums);
        for (size_t i = 0; i < n; i++) {
                double before = z[i];
                z[i] = before + 1e-4;
                double high = norm_loss(&c, z);
                z[i] = before - 1e-4;
                double low = norm_loss(&c, z);
                z[i] = before;
                d_truth[i] = (high - low) / 2e-4;
                sums[i % (size_t)dim] += (double)c.weights[i];
                sums_normal[i % (size_t)dim] += (double)c.weights[i] * (double)normal[i];
                sums_branch[i % (size_t)dim] += d_truth[i];
        }
        assert_near(branch, d_truth, n, 5e-5);
        assert_near(d_beta, sums, (size_t)dim, 2e-5);
        assert_near(d_gamma, sums_normal, (size_t)dim, 2e-5);
        assert_near(d_bias, sums_branch, (size_t)dim, 2e-4);
        for (size_t i = 0; i < n; i++) /* the residual's gradient is that of the branch before its mask */
                if (branch[i] != 0)
                        assert_float_equal(branch[i], d[i] * (mask->p > 0 ? 1 / (1 - mask->p) : 1), 1e-6);
        void *all[] = {c.z, c.bias, c.residual, c.gamma, c.beta, c.weights, y, normal, rstd, truth, z, residual, scratch.base, d, branch, d_gamma,
                       d_beta, d_bias, sums, sums_normal, d_truth, sums_branch};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                free(all[i]);
}

static void norm_and_its_backward_equal_the_plain_twin(void **state) {
        (void)state;
        FOR_ALL_SETS(kernels)
                for (int threads = 1; threads <= 3; threads += 2) {
                        kernels_set_threads(threads);
                        check_norm(kernels, 5, 7, &no_mask);
                        check_norm(kernels, 3, 48, &some_mask);
                        check_norm(kernels, 4, 83, &some_mask);
                }
}

/* --- activations ------------------------------------------------------------------------------------ */
static void gelu_and_its_backward_equal_the_plain_twin(void **state) {
        (void)state;
        enum { ROWS = 5, COLS = 37, N = ROWS * COLS };
        FOR_ALL_SETS(kernels) {
                float *x = draw(N, 3), *bias = draw(COLS, 1), *up = draw(N, 1), *pre = copy(x, N), *d = copy(up, N), *h = draw(N, 1), *again = draw(N, 1);
                float d_bias[COLS] = {0};
                double truth[N], slope[N], sums[COLS] = {0};
                struct scratch scratch = make_scratch(COLS, 8, 8);
                kernels_set_threads(2);
                kernels->gelu_forward(h, pre, bias, ROWS, COLS);
                kernels->gelu_backward(d, again, d_bias, pre, ROWS, COLS, scratch);
                for (int i = 0; i < N; i++) {
                        double at = (double)x[i] + (double)bias[i % COLS];
                        truth[i] = naive_gelu(at);
                        slope[i] = (naive_gelu(at + 1e-5) - naive_gelu(at - 1e-5)) / 2e-5 * (double)up[i];
                        sums[i % COLS] += slope[i];
                }
                assert_near(h, truth, N, 2e-6);
                assert_memory_equal(h, again, N * sizeof *h);
                assert_near(d, slope, N, 3e-6);
                assert_near(d_bias, sums, COLS, 2e-5);
                void *all[] = {x, bias, up, pre, d, h, again, scratch.base};
                for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                        free(all[i]);
        }
}

static void relu_with_dropout_and_its_backward_share_one_mask(void **state) {
        (void)state;
        enum { ROWS = 3, COLS = 70, N = ROWS * COLS };
        FOR_ALL_SETS(kernels) {
                float *x = draw(N, 1), *bias = draw(COLS, 1), *up = draw(N, 1), *pre = copy(x, N), *d = copy(up, N), h[N], d_bias[COLS] = {0};
                double truth[N], slope[N], sums[COLS] = {0};
                kernels->relu_forward(h, pre, bias, &some_mask, ROWS, COLS);
                kernels->relu_backward(d, d_bias, pre, &some_mask, ROWS, COLS);
                for (int i = 0; i < N; i++) {
                        double at = (double)(x[i] + bias[i % COLS]), factor = naive_mask(&some_mask, (uint64_t)(i / COLS), i % COLS);
                        truth[i] = fmax(0, at) * factor;
                        slope[i] = at > 0 ? (double)up[i] * factor : 0;
                        sums[i % COLS] += slope[i];
                }
                assert_near(h, truth, N, 1e-6);
                assert_near(d, slope, N, 1e-6);
                assert_near(d_bias, sums, COLS, 1e-5);
                free(x), free(bias), free(up), free(pre), free(d);
        }
}

/* --- attention -------------------------------------------------------------------------------------- */
struct attention_case {
        struct attention a;
        size_t score_offsets[3];
        size_t n_tokens, dim;
        float *q, *k, *v, *biases, *weights;
};

static const int32_t attention_offsets[] = {0, 1, 19, 38}; /* one token alone, and more than one vector */

static struct attention_case make_attention(int heads, int head_dim, const struct mask *mask) {
        struct attention_case c = {.n_tokens = 38, .dim = (size_t)(heads * head_dim)};
        c.q = draw(c.n_tokens * c.dim, 1);
        c.k = draw(c.n_tokens * c.dim, 1);
        c.v = draw(c.n_tokens * c.dim, 1);
        c.biases = draw(3 * c.dim, 1);
        c.weights = draw(c.n_tokens * c.dim, 1);
        c.a = (struct attention){.heads = heads, .head_dim = head_dim, .n_sequences = 3, .offsets = attention_offsets};
        c.a.q = c.q, c.a.k = c.k, c.a.v = c.v;
        c.a.stride = c.dim;
        c.a.q_bias = c.biases, c.a.k_bias = c.biases + c.dim, c.a.v_bias = c.biases + 2 * c.dim;
        c.a.mask = *mask;
        size_t at = 0;
        for (int s = 0; s < 3; s++) {
                int length = attention_offsets[s + 1] - attention_offsets[s];
                c.score_offsets[s] = at;
                at += kernels_score_floats(heads, length, length);
        }
        return c;
}

static double attention_loss(const struct attention_case *c, const double *q, const double *k, const double *v) {
        double *context = calloc(c->n_tokens * c->dim, sizeof *context), loss = 0;
        naive_attention(context, q, k, v, &c->a);
        for (size_t i = 0; i < c->n_tokens * c->dim; i++)
                loss += context[i] * (double)c->weights[i];
        free(context);
        return loss;
}

/* d loss / d x[i] for every 7th element of x, one of q, k, v. */
static void check_gradient(const struct attention_case *c, const float *d, double *x, size_t n, const double *q, const double *k, const double *v) {
        for (size_t i = 0; i < n; i += 7) {
                double before = x[i];
                x[i] = before + 1e-4;
                double high = attention_loss(c, q, k, v);
                x[i] = before - 1e-4;
                double low = attention_loss(c, q, k, v);
                x[i] = before;
                if (!(fabs(d[i] - (high - low) / 2e-4) < 1e-4))
                        fail_msg("gradient %zu is %.9g, not %.9g", i, (double)d[i], (high - low) / 2e-4);
        }
}

static void check_attention(const struct kernel_set *kernels, int heads, int head_dim, const struct mask *mask) {
        struct attention_case c = make_attention(heads, head_dim, mask);
        size_t n_q = c.n_tokens * c.dim, n_kv = c.n_tokens * c.dim;
        float *context = calloc(n_q, sizeof *context), *probabilities = calloc((size_t)heads * 38 * 32, sizeof *probabilities);
        float *d_q = calloc(n_q, sizeof *d_q), *d_k = calloc(n_kv, sizeof *d_k), *d_v = calloc(n_kv, sizeof *d_v);
        double *truth = calloc(n_q, sizeof *truth), *q = widen(c.q, n_q), *k = widen(c.k, n_kv), *v = widen(c.v, n_kv);
        struct scratch scratch = make_scratch(64, head_dim, 19);
        c.a.score_offsets = c.score_offsets;
        kernels->attention_forward(context, probabilities, &c.a, scratch);
        naive_attention(truth, q, k, v, &c.a);
        assert_near(context, truth, n_q, 1e-5);
        kernels->attention_backward(d_q, d_k, d_v, c.weights, probabilities, &c.a, scratch);
        check_gradient(&c, d_q, q, n_q, q, k, v);
        check_gradient(&c, d_k, k, n_kv, q, k, v);
        check_gradient(&c, d_v, v, n_kv, q, k, v);
        void *all[] = {c.q, c.k, c.v, c.biases, c.weights, context, probabilities, d_q, d_k, d_v, truth, q, k, v, scratch.base};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                free(all[i]);
}

static void attention_and_its_backward_equal_the_plain_twin(void **state) {
        (void)state;
        FOR_ALL_SETS(kernels) {
                kernels_set_threads(2);
                check_attention(kernels, 2, 5, &no_mask);
                check_attention(kernels, 1, 16, &some_mask);
                check_attention(kernels, 2, 20, &some_mask);
        }
}

enum { FOLDED_HEADS = 3, FOLDED_ROWS = 3 * FOLDED_HEADS };

static double folded_loss(const double *u, const double *x, const float *weights, const struct folded *f, double *mixed, double *sums) {
        double loss = 0;
        naive_folded(mixed, sums, u, x, f);
        for (int i = 0; i < FOLDED_ROWS * (f->dim + 1); i++) /* the last of them on sums */
                loss += (i < FOLDED_ROWS * f->dim ? mixed[i] : sums[i - FOLDED_ROWS * f->dim]) * (double)weights[i];
        return loss;
}

/* d loss / d of every 7th element of either u or x */
static void check_folded_gradient(const float *d, double *moved, size_t n, const double *u, const double *x, const float *weights, const struct folded *f) {
        double mixed[FOLDED_ROWS * 144], sums[FOLDED_ROWS];
        for (size_t i = 0; i < n; i += 7) {
                const double before = moved[i];
                moved[i] = before + 1e-4;
                double high = folded_loss(u, x, weights, f, mixed, sums);
                moved[i] = before - 1e-4;
                double low = folded_loss(u, x, weights, f, mixed, sums);
                moved[i] = before;
                if (!(fabs(d[i] - (high - low) / 2e-4) < 2e-4))
                        fail_msg("gradient %zu is %.9g, not %.9g", i, (double)d[i], (high - low) / 2e-4);
        }
}

static void check_folded(const struct kernel_set *kernels, int dim, const struct mask *mask) {
        const size_t n_x = 38 * (size_t)dim, n = FOLDED_ROWS * (size_t)dim;
        const size_t score_offsets[3] = {0, kernels_score_floats(FOLDED_HEADS, 1, 1), kernels_score_floats(FOLDED_HEADS, 1, 1) + kernels_score_floats(FOLDED_HEADS, 1, 18)};
        float *x = draw(n_x, 1), *u = draw(n, 0.3), *weights = draw(n + FOLDED_ROWS, 1), *mixed = calloc(n, sizeof *mixed), sums[FOLDED_ROWS];
        float *probabilities = calloc(FOLDED_HEADS * 5 * 16, sizeof *probabilities), *d_u = calloc(n, sizeof *d_u), *d_x = calloc(n_x, sizeof *d_x);
        double *wide_x = widen(x, n_x), *wide_u = widen(u, n), *truth = calloc(n, sizeof *truth), true_sums[FOLDED_ROWS];
        struct scratch scratch = make_scratch(64, 16, 19);
        const struct folded f = {.heads = FOLDED_HEADS, .dim = dim, .n_sequences = 3, .offsets = attention_offsets, .score_offsets = score_offsets, .x = x, .mask = *mask};
        kernels->folded_forward(mixed, sums, probabilities, u, &f, scratch);
        naive_folded(truth, true_sums, wide_u, wide_x, &f);
        assert_near(mixed, truth, n, 2e-5);
        assert_near(sums, true_sums, FOLDED_ROWS, 1e-5);
        kernels->folded_backward(d_u, d_x, weights, weights + n, probabilities, u, &f, scratch);
        check_folded_gradient(d_u, wide_u, n, wide_u, wide_x, weights, &f);
        check_folded_gradient(d_x, wide_x, n_x, wide_u, wide_x, weights, &f);
        kernels->folded_forward(u, sums, probabilities, u, &f, scratch); /* in place */
        assert_memory_equal(u, mixed, n * sizeof *u);
        void *all[] = {x, u, weights, mixed, probabilities, d_u, d_x, wide_x, wide_u, truth, scratch.base};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                free(all[i]);
}

static void attention_with_folded_projections_equals_the_plain_twin(void **state) {
        (void)state;
        FOR_ALL_SETS(kernels) {
                kernels_set_threads(2);
                check_folded(kernels, 5, &some_mask);
                check_folded(kernels, 16, &no_mask);
                check_folded(kernels, 70, &some_mask);
                check_folded(kernels, 144, &no_mask);
        }
}

/* --- embeddings, sums, optimizer, loss -------------------------------------------------------------- */
static void embeddings_add_word_and_position_and_scatter_back_except_to_padding(void **state) {
        (void)state;
        enum { DIM = 19, TOKENS = 5 };
        static const int32_t ids[TOKENS] = {2, 0, 2, 3, 2}, offsets[] = {0, 3, 5};
        FOR_ALL_SETS(kernels) {
                float *words = draw(4 * DIM, 1), *positions = draw(3 * DIM, 1), *gamma = draw(DIM, 1), *beta = draw(DIM, 1), *d = draw(TOKENS * DIM, 1);
                float x[TOKENS * DIM], normal[TOKENS * DIM], rstd[TOKENS], d_words[4 * DIM] = {0}, d_positions[3 * DIM] = {0};
                double y[DIM], d_words_truth[4 * DIM] = {0}, d_positions_truth[3 * DIM] = {0};
                kernels->embeddings_forward(x, normal, rstd, words, positions, gamma, beta, &some_mask, ids, offsets, 2, DIM);
                kernels->embeddings_backward(d_words, d_positions, d, ids, offsets, 2, DIM);
                for (int t = 0; t < TOKENS; t++) {
                        double z[DIM];
                        int position = t < 3 ? t : t - 3;
                        for (int c = 0; c < DIM; c++)
                                z[c] = (double)words[ids[t] * DIM + c] + (double)positions[position * DIM + c];
                        naive_norm_row(y, z, gamma, beta, DIM);
                        for (int c = 0; c < DIM; c++) {
                                y[c] *= naive_mask(&some_mask, (uint64_t)t, c);
                                d_words_truth[ids[t] * DIM + c] += ids[t] ? (double)d[t * DIM + c] : 0;
                                d_positions_truth[position * DIM + c] += (double)d[t * DIM + c];
                        }
                        assert_near(x + t * DIM, y, DIM, 1e-5);
                }
                assert_near(d_words, d_words_truth, 4 * DIM, 1e-6);
                assert_near(d_positions, d_positions_truth, 3 * DIM, 1e-6);
                free(words), free(positions), free(gamma), free(beta), free(d);
        }
}

static void sums_over_columns_and_squares_are_exact_enough(void **state) {
        (void)state;
        enum { ROWS = 9, COLS = 45 };
        FOR_ALL_SETS(kernels) {
                float *x = draw(ROWS * COLS, 1), sums[COLS];
                double truth[COLS], squares = 0;
                for (int c = 0; c < COLS; c++)
                        truth[c] = sums[c] = (float)c;
                for (int i = 0; i < ROWS * COLS; i++) {
                        truth[i % COLS] += (double)x[i];
                        squares += (double)x[i] * (double)x[i];
                }
                kernels->add_column_sums(sums, x, ROWS, COLS);
                assert_near(sums, truth, COLS, 1e-5);
                assert_true(fabs(kernels->square_sum(x, ROWS * COLS) / squares - 1) < 1e-14);
                free(x);
        }
}

static void adamw_follows_torch_for_five_steps(void **state) {
        (void)state;
        enum { N = 53 };
        const double clip = 0.7, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, lr = 1e-3, weight_decay = 0.1;
        FOR_ALL_SETS(kernels) {
                float *w = draw(N, 1), *m = calloc(N, sizeof *m), *v = calloc(N, sizeof *v), *w2 = copy(w, N), *m2 = calloc(N, sizeof *m), *v2 = calloc(N, sizeof *v);
                for (unsigned t = 1; t <= 5; t++) {
                        float *g = draw(N, 0.1), *g2 = copy(g, N);
                        struct adamw_scalars s = {.clip = (float)clip, .beta1 = (float)beta1, .beta2 = (float)beta2, .rest1 = (float)(1 - beta1),
                                                  .rest2 = (float)(1 - beta2), .decay = (float)(1 - lr * weight_decay),
                                                  .step_size = (float)(lr / (1 - pow(beta1, t))),
                                                  .root_correction = (float)sqrt(1 - pow(beta2, t)), .epsilon = (float)epsilon};
                        kernels->adamw(w, g, m, v, N, &s);
                        naive_adamw(w2, g2, m2, v2, N, clip, beta1, beta2, epsilon, lr, weight_decay, t);
                        for (int i = 0; i < N; i++) {
                                assert_true(fabsf(w[i] - w2[i]) < 1e-6f);
                                assert_true(g[i] == 0);
                                assert_true(fabsf(m[i] - m2[i]) < 1e-7f && fabsf(v[i] - v2[i]) < 1e-8f);
                        }
                        free(g), free(g2);
                }
                free(w), free(m), free(v), free(w2), free(m2), free(v2);
        }
}

/* Figures of torch.nn.functional.cross_entropy(x, y, weight=w, label_smoothing=0.1), torch 2.15. */
static void weighted_and_smoothed_loss_is_torchs(void **state) {
        (void)state;
        const float logits[] = {0.5f, -1.25f, 2, -0.5f, 0.25f, 1}, weights[] = {0.5f, 2, 1.25f};
        const int32_t labels[] = {2, 1};
        const struct loss loss = {.class_weights = weights, .label_smoothing = 0.1};
        const double expected = 0.9150146007586706, slopes[6] = {0.062879557, -0.008694843, -0.054184714, 0.072820463, -0.409341643, 0.336521180};
        float d[6], moved[6];
        assert_true(fabs(cross_entropy(d, logits, labels, 2, 3, &loss, 1) - expected) < 1e-6);
        for (int i = 0; i < 6; i++) {
                double sides[2];
                assert_true(fabs((double)d[i] - slopes[i]) < 1e-6);
                for (int side = 0; side < 2; side++) {
                        memcpy(moved, logits, sizeof moved);
                        moved[i] += side ? 0.0078125f : -0.0078125f;
                        sides[side] = cross_entropy(NULL, moved, labels, 2, 3, &loss, 1);
                }
                assert_true(fabs((sides[1] - sides[0]) / 0.015625 - (double)d[i]) < 1e-4);
        }
}

static void cross_entropy_gives_mean_loss_and_scaled_gradient(void **state) {
        (void)state;
        const float logits[] = {1, -1, 80, 100};
        const int32_t labels[] = {0, 0};
        float d[4];
        double first = log1p(exp(-2)), second = 20 + log1p(exp(-20));
        assert_true(fabs(cross_entropy(d, logits, labels, 2, 2, NULL, 0.5) - (first + second) / 2) < 1e-12);
        assert_float_equal(d[0], -0.25 * (1 - 1 / (1 + exp(-2))), 1e-7);
        assert_float_equal(d[1], -d[0], 1e-7);
        assert_float_equal(d[2], -0.25, 1e-7);
}

int main(void) {
        rng_init(&rng, 1, 0);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(exp_is_within_two_units_in_the_last_place),
                cmocka_unit_test(bf16_rounds_to_nearest_even_and_keeps_nan_and_infinity),
                cmocka_unit_test(half_erf_is_within_3e_7_everywhere_and_keeps_nan),
                cmocka_unit_test(norm_and_its_backward_equal_the_plain_twin),
                cmocka_unit_test(gelu_and_its_backward_equal_the_plain_twin),
                cmocka_unit_test(relu_with_dropout_and_its_backward_share_one_mask),
                cmocka_unit_test(attention_and_its_backward_equal_the_plain_twin),
                cmocka_unit_test(attention_with_folded_projections_equals_the_plain_twin),
                cmocka_unit_test(embeddings_add_word_and_position_and_scatter_back_except_to_padding),
                cmocka_unit_test(sums_over_columns_and_squares_are_exact_enough),
                cmocka_unit_test(adamw_follows_torch_for_five_steps),
                cmocka_unit_test(cross_entropy_gives_mean_loss_and_scaled_gradient),
                cmocka_unit_test(weighted_and_smoothed_loss_is_torchs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
