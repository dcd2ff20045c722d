#include "opt/paths.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rng.h"
#include "opt/vectorised.h"

#define N_WAVES 256
#define FREEDOM 5 /* 2ν of Matérn-5/2: its frequencies follow a t distribution with so many degrees of freedom */
#define BLOCK 128 /* points evaluated together */

struct paths {
        const struct opt_space *space;
        const struct gp *gp;
        size_t n, n_paths;
        size_t *first;   /* per dimension, its first row of waves; a choice has a row, a number has one */
        double *waves;   /* rows of N_WAVES frequencies, in features */
        double *phase;   /* N_WAVES */
        double *weights; /* n_paths × N_WAVES */
        double *pull;    /* n_paths × n: K⁻¹ (y − draw − noise) */
};

CLEANUP_DEFINE(struct paths *, cleanup_paths, paths_free)

void paths_free(struct paths *paths) {
        if (!paths)
                return;
        free(paths->first);
        free(paths->waves);
        free(paths);
}

/* Angles become their cosines, in a form that compilers turn into vector code: x = 2πk + 2r, |r| ≤ π/2, cos 2r = 1 − 2 sin² r, and the Taylor
 * series of the sine. Error below 1e-12 for angles up to 1e4. */
VECTORISED static void take_cosines(double *restrict x, size_t n) {
        const double magic = 0x1.8p52; /* the low bits of x + magic are the nearest integer to x */
        for (size_t i = 0; i < n; i++) {
                double k = (x[i] * (0.5 * M_1_PI) + magic) - magic;
                double r = 0.5 * ((x[i] - k * 0x1.921fb54400000p+2) - k * 0x1.0b4611a626331p-32), s = r * r;
                double p = 1.0 / 355687428096000;
                p = p * s - 1.0 / 1307674368000;
                p = p * s + 1.0 / 6227020800;
                p = p * s - 1.0 / 39916800;
                p = p * s + 1.0 / 362880;
                p = p * s - 1.0 / 5040;
                p = p * s + 1.0 / 120;
                p = p * s - 1.0 / 6;
                p = r + r * s * p;
                x[i] = 1 - 2 * p * p;
        }
}

/* cos(ω·x + phase) of every wave. */
VECTORISED static void wave_row(const struct paths *paths, const double *point, double *ret) {
        memcpy(ret, paths->phase, N_WAVES * sizeof *ret);
        for (size_t k = 0; k < paths->space->n_dims; k++) {
                bool is_choice = paths->space->dims[k].kind == OPT_CATEGORICAL;
                const double *waves = paths->waves + (paths->first[k] + (is_choice ? (size_t)point[k] : 0)) * N_WAVES;
                double factor = is_choice ? 1 : point[k];
                for (size_t w = 0; w < N_WAVES; w++)
                        ret[w] += factor * waves[w];
        }
        take_cosines(ret, N_WAVES);
}

static void draw_waves(struct paths *paths, const double *theta, struct rng *rng) {
        size_t d = paths->space->n_dims;
        double amplitude = sqrt(2 * exp(theta[d]) / N_WAVES);
        for (size_t w = 0; w < N_WAVES; w++) {
                double chi = 0;
                for (int i = 0; i < FREEDOM; i++)
                        chi += pow(rng_normal(rng), 2);
                double stretch = sqrt(FREEDOM / fmax(chi, 1e-6));
                for (size_t k = 0; k < d; k++) {
                        /* Two choices are two corners of a simplex, √2 apart in coordinates of their own. */
                        bool is_choice = paths->space->dims[k].kind == OPT_CATEGORICAL;
                        for (size_t c = 0; c < (is_choice ? paths->space->dims[k].n_choices : 1); c++)
                                paths->waves[(paths->first[k] + c) * N_WAVES + w] =
                                        rng_normal(rng) * stretch * exp(-theta[k]) * (is_choice ? M_SQRT1_2 : 1);
                }
                paths->phase[w] = 2 * M_PI * rng_uniform(rng);
        }
        for (size_t i = 0; i < paths->n_paths * N_WAVES; i++)
                paths->weights[i] = amplitude * rng_normal(rng);
}

static int correct(struct paths *paths, const struct gp_data *data, struct rng *rng) {
        size_t n = paths->n;
        double noise = sqrt(gp_noise(paths->gp));
        _cleanup_free_ double *row = malloc(N_WAVES * sizeof *row);
        if (!row)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                wave_row(paths, data->x + i * data->n_dims, row);
                for (size_t p = 0; p < paths->n_paths; p++)
                        paths->pull[p * n + i] =
                                data->y[i] - cblas_ddot(N_WAVES, row, 1, paths->weights + p * N_WAVES, 1) - noise * rng_normal(rng);
        }
        for (size_t p = 0; p < paths->n_paths; p++)
                gp_solve(paths->gp, paths->pull + p * n);
        return 0;
}

int paths_new(const struct opt_space *space, const struct gp_data *data, const struct gp *gp, const double *theta, size_t n_paths,
              uint64_t seed, struct paths **ret) {
        size_t n_rows = 0;
        _cleanup_(cleanup_paths) struct paths *paths = calloc(1, sizeof *paths);
        if (!paths)
                return -ENOMEM;
        *paths = (struct paths){.space = space, .gp = gp, .n = data->n, .n_paths = n_paths};
        paths->first = calloc(space->n_dims + 1, sizeof *paths->first);
        for (size_t k = 0; paths->first && k < space->n_dims; k++) {
                paths->first[k] = n_rows;
                n_rows += space->dims[k].kind == OPT_CATEGORICAL ? space->dims[k].n_choices : 1;
        }
        paths->waves = malloc(((n_rows + 1 + n_paths) * N_WAVES + n_paths * data->n + 1) * sizeof *paths->waves);
        if (!paths->first || !paths->waves)
                return -ENOMEM;
        paths->phase = paths->waves + n_rows * N_WAVES;
        paths->weights = paths->phase + N_WAVES;
        paths->pull = paths->weights + n_paths * N_WAVES;
        struct rng rng;
        rng_init(&rng, seed, 0x70617468);
        draw_waves(paths, theta, &rng);
        int r = correct(paths, data, &rng);
        if (r < 0)
                return r;
        *ret = TAKE(paths);
        return 0;
}

int paths_evaluate(const struct paths *paths, size_t m, const double *points, double *ret) {
        size_t n = paths->n, d = paths->space->n_dims, n_paths = paths->n_paths;
        _cleanup_free_ double *rows = malloc(BLOCK * (n + N_WAVES) * sizeof *rows);
        if (!rows)
                return -ENOMEM;
        double *waves = rows + BLOCK * n;
        for (size_t first = 0; first < m; first += BLOCK) {
                size_t count = m - first < BLOCK ? m - first : BLOCK;
                for (size_t i = 0; i < count; i++) {
                        gp_kernel_row(paths->gp, points + (first + i) * d, rows + i * n);
                        wave_row(paths, points + (first + i) * d, waves + i * N_WAVES);
                }
                double *values = ret + first * n_paths;
                cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)count, (int)n_paths, N_WAVES, 1, waves, N_WAVES, paths->weights,
                            N_WAVES, 0, values, (int)n_paths);
                cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)count, (int)n_paths, (int)n, 1, rows, (int)n, paths->pull, (int)n, 1,
                            values, (int)n_paths);
        }
        return 0;
}
