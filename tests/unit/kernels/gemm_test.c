/* The three products of a linear layer, in float32 and in bfloat16, against sums in double. Sizes leave rests for every
 * blocking; one has a single row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"

static const struct size { int rows, out, in; } sizes[] = {{1, 2, 48}, {5, 48, 33}, {61, 96, 32}, {130, 37, 129}};
#define N_SIZES (sizeof sizes / sizeof *sizes)

struct factors {
        struct gemm gemm;
        float *x, *w, *dy; /* what products are asked for */
        struct operand x_of, w_of, dy_of;
        void *rooms[3];
};

static struct rng rng;

static float *draw(size_t n) {
        float *x = malloc(n * sizeof *x);
        for (size_t i = 0; i < n; i++)
                x[i] = (float)rng_normal(&rng);
        return x;
}

static struct factors make(const struct size *size, enum gemm_way way) {
        const size_t x = (size_t)(size->rows * size->in), w = (size_t)(size->out * size->in), dy = (size_t)(size->rows * size->out);
        struct factors f = {.x = draw(x), .w = draw(w), .dy = draw(dy), .rooms = {malloc(4 * x), malloc(4 * w), malloc(4 * dy)}};
        gemm_init(&f.gemm, way);
        assert_true(gemm_prepare(&f.gemm, &(struct gemm_layer){size->out, size->in}, 1));
        f.x_of = gemm_operand(&f.gemm, (struct operand){f.rooms[0]}, f.x, x);
        f.w_of = gemm_operand(&f.gemm, (struct operand){f.rooms[1]}, f.w, w);
        f.dy_of = gemm_operand(&f.gemm, (struct operand){f.rooms[2]}, f.dy, dy);
        if (way != GEMM_F32 && way != GEMM_F32_ONEDNN) { /* the rounding itself is tested elsewhere: the truth starts behind it */
                const struct kernel_set *kernels = kernels_best();
                kernels->round_bf16(f.x, f.x, x);
                kernels->round_bf16(f.w, f.w, w);
                kernels->round_bf16(f.dy, f.dy, dy);
        }
        return f;
}

static void fini(struct factors *f) {
        gemm_fini(&f->gemm);
        free(f->x);
        free(f->w);
        free(f->dy);
        for (int i = 0; i < 3; i++)
                free(f->rooms[i]);
}

/* got [m, n] = beta·before + Σ_l a[i·a_row + l·a_k] · b[j·b_row + l·b_k], to the rounding of k sums in float32 */
static void check(const char *what, const float *got, const float *before, float beta, const float *a, int a_row, int a_k, const float *b,
                  int b_row, int b_k, int m, int n, int k) {
        for (int i = 0; i < m; i++)
                for (int j = 0; j < n; j++) {
                        double sum = before ? (double)beta * before[i * n + j] : 0, size = fabs(sum);
                        for (int l = 0; l < k; l++) {
                                double product = (double)a[i * a_row + l * a_k] * b[j * b_row + l * b_k];
                                sum += product;
                                size += fabs(product);
                        }
                        if (!(fabs(got[i * n + j] - sum) <= 4e-7 * size))
                                fail_msg("%s %dx%dx%d: (%d, %d) is %.9g, not %.9g", what, m, n, k, i, j, (double)got[i * n + j], sum);
                }
}

static void check_forward(enum gemm_way way) {
        for (size_t s = 0; s < N_SIZES; s++) {
                const struct size *z = &sizes[s];
                struct factors f = make(z, way);
                float *y = draw((size_t)(z->rows * z->out));
                gemm_forward(&f.gemm, y, f.x_of, f.w_of, z->rows, z->out, z->in);
                check("forward", y, NULL, 0, f.x, z->in, 1, f.w, z->in, 1, z->rows, z->out, z->in);
                assert_true(f.gemm.meter.flops == 2.0 * z->rows * z->out * z->in && f.gemm.meter.seconds > 0);
                free(y);
                fini(&f);
        }
}

static void check_backward_input(enum gemm_way way) {
        for (size_t s = 0; s < N_SIZES; s++)
                for (int beta = 0; beta <= 1; beta++) {
                        const struct size *z = &sizes[s];
                        struct factors f = make(z, way);
                        float *before = draw((size_t)(z->rows * z->in)), *dx = malloc((size_t)(z->rows * z->in) * sizeof *dx);
                        memcpy(dx, before, (size_t)(z->rows * z->in) * sizeof *dx);
                        gemm_backward_input(&f.gemm, dx, f.dy_of, f.w_of, (float)beta, z->rows, z->out, z->in);
                        check("backward input", dx, before, (float)beta, f.dy, z->out, 1, f.w, 1, z->in, z->rows, z->in, z->out);
                        free(before);
                        free(dx);
                        fini(&f);
                }
}

static void check_backward_weight(enum gemm_way way) {
        for (size_t s = 0; s < N_SIZES; s++) {
                const struct size *z = &sizes[s];
                struct factors f = make(z, way);
                float *before = draw((size_t)(z->out * z->in)), *dw = malloc((size_t)(z->out * z->in) * sizeof *dw);
                memcpy(dw, before, (size_t)(z->out * z->in) * sizeof *dw);
                gemm_backward_weight(&f.gemm, dw, f.dy_of, f.x_of, z->rows, z->out, z->in);
                check("backward weight", dw, before, 1, f.dy, 1, z->out, f.x, 1, z->in, z->out, z->in, z->rows);
                free(before);
                free(dw);
                fini(&f);
        }
}

static void check_all(enum gemm_way way) {
        check_forward(way);
        check_backward_input(way);
        check_backward_weight(way);
}

static void products_of_float32_factors(void **state) {
        (void)state;
        check_all(GEMM_F32);
}

static void products_of_rounded_factors_are_summed_in_float32(void **state) {
        (void)state;
        check_all(GEMM_ROUNDED);
}

static void check_onednn(enum gemm_way way, enum gemm_way otherwise) {
        struct gemm gemm;
        gemm_init(&gemm, way);
        bool can = gemm_prepare(&gemm, &(struct gemm_layer){3, 2}, 1);
        assert_int_equal(gemm.way, can ? way : otherwise);
        gemm_fini(&gemm);
        if (can) {
                check_all(way);
                return;
        }
        print_message("skipped: oneDNN is not part of this build, or this processor has no AVX-512\n");
        skip();
}

static void products_by_onednn_equal_those_of_rounded_factors(void **state) {
        (void)state;
        check_onednn(GEMM_BF16_ONEDNN, GEMM_ROUNDED);
}

static void products_by_onednn_equal_those_of_float32_factors(void **state) {
        (void)state;
        check_onednn(GEMM_F32_ONEDNN, GEMM_F32);
}

/* oneDNN has one primitive for each number of rows, of which it keeps a few hundred. */
static void any_number_of_rows_has_the_same_products_again(void **state) {
        (void)state;
        enum { ROWS = 600, OUT = 5, IN = 7 };
        struct gemm gemm;
        float *x = draw(ROWS * IN), *w = draw(OUT * IN), *y = malloc(ROWS * OUT * sizeof *y), *again = malloc(ROWS * OUT * sizeof *again);
        gemm_init(&gemm, GEMM_F32_ONEDNN);
        gemm_prepare(&gemm, &(struct gemm_layer){OUT, IN}, 1);
        for (int round = 0; round < 2; round++)
                for (int rows = 1; rows <= ROWS; rows++) {
                        gemm_forward(&gemm, rows == ROWS && round == 0 ? y : again, (struct operand){x}, (struct operand){w}, rows, OUT, IN);
                        if (round > 0 && rows == ROWS)
                                assert_memory_equal(y, again, ROWS * OUT * sizeof *y);
                }
        gemm_fini(&gemm);
        free(x), free(w), free(y), free(again);
}

static void a_piece_of_an_operand_can_be_made_anew(void **state) {
        (void)state;
        const struct size *z = &sizes[1];
        struct factors f = make(z, GEMM_ROUNDED);
        const int from = z->in; /* row 1 of w becomes twice row 0 */
        float *row = malloc((size_t)z->in * sizeof *row), *y = malloc((size_t)(z->rows * z->out) * sizeof *y);
        for (int c = 0; c < z->in; c++)
                row[c] = 2 * f.w[c];
        gemm_fill_operand(&f.gemm, f.w_of, (size_t)from, row, (size_t)z->in);
        gemm_forward(&f.gemm, y, f.x_of, f.w_of, z->rows, z->out, z->in);
        for (int r = 0; r < z->rows; r++)
                assert_true(fabsf(y[r * z->out + 1] - 2 * y[r * z->out]) <= 1e-5f);
        gemm_forward(&f.gemm, y, f.x_of, gemm_operand_at(&f.gemm, f.w_of, (size_t)from), z->rows, 1, z->in);
        check("second row", y, NULL, 0, f.x, z->in, 1, row, z->in, 1, z->rows, 1, z->in);
        free(row);
        free(y);
        fini(&f);
}

/* Pieces of matrices of 30 columns: what lies around a result stays, and the product is that of copies without gaps. */
static void pieces_of_matrices_are_multiplied_where_they_lie(void **state) {
        (void)state;
        enum { ROWS = 7, OUT = 9, IN = 11, WIDE = 30 };
        struct gemm gemm;
        gemm_init(&gemm, GEMM_F32);
        float *x = draw(WIDE * WIDE), *w = draw(WIDE * WIDE), *dy = draw(WIDE * WIDE), *y = malloc(WIDE * WIDE * sizeof *y);
        const struct piece a = {x + 3, WIDE}, b = {w + 2, WIDE}, c = {dy + 5, WIDE};
        for (int form = 0; form < 3; form++) {
                const int rows = form == 2 ? OUT : ROWS, cols = form == 0 ? OUT : IN, depth = form == 0 ? IN : form == 1 ? OUT : ROWS;
                for (int i = 0; i < WIDE * WIDE; i++)
                        y[i] = 7;
                if (form == 0)
                        gemm_pieces_forward(&gemm, y + 4, WIDE, a, b, ROWS, OUT, IN);
                else if (form == 1)
                        gemm_pieces_backward_input(&gemm, y + 4, WIDE, c, b, ROWS, OUT, IN);
                else
                        gemm_pieces_backward_weight(&gemm, y + 4, WIDE, c, a, ROWS, OUT, IN);
                for (int i = 0; i < WIDE; i++)
                        for (int j = 0; j < WIDE; j++) {
                                const bool inside = i < rows && j >= 4 && j < 4 + cols;
                                double sum = !inside || form == 2 ? 7 : 0;
                                for (int l = 0; inside && l < depth; l++)
                                        sum += form == 0   ? (double)a.at[i * WIDE + l] * (double)b.at[(j - 4) * WIDE + l]
                                               : form == 1 ? (double)c.at[i * WIDE + l] * (double)b.at[l * WIDE + j - 4]
                                                           : (double)c.at[l * WIDE + i] * (double)a.at[l * WIDE + j - 4];
                                assert_true(fabs((double)y[i * WIDE + j] - sum) < 2e-5);
                        }
        }
        assert_true(gemm.meter.flops == 3 * 2.0 * ROWS * OUT * IN);
        free(x), free(w), free(dy), free(y);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(products_of_float32_factors),
                cmocka_unit_test(products_of_rounded_factors_are_summed_in_float32),
                cmocka_unit_test(products_by_onednn_equal_those_of_rounded_factors),
                cmocka_unit_test(products_by_onednn_equal_those_of_float32_factors),
                cmocka_unit_test(any_number_of_rows_has_the_same_products_again),
                cmocka_unit_test(a_piece_of_an_operand_can_be_made_anew),
                cmocka_unit_test(pieces_of_matrices_are_multiplied_where_they_lie),
        };
        rng_init(&rng, 7, 0);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
