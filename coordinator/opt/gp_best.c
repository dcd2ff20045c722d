/* Predictions where only the best points are looked for. The deviation of a point falls with every row of L⁻¹k that is known, and what the point
 * is worth with it: rows are computed a slice at a time for a block of points, and those that can no longer be among the best leave it. */
#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "opt/gp_internal.h"

#define SLICE 32 /* rows of the factor at a time: so many observations already bound a deviation */

/* Points of a block whose deviations are on the way: columns of L⁻¹k, done as far as the rows that were looked at. */
struct shortlist {
        const struct gp *gp;
        double *rows;     /* n × GP_BLOCK, a column for each of those left */
        double *weight;   /* n: 1 / variance of each observation, with its noise */
        size_t n_left, left[GP_BLOCK]; /* which points */
        double prior[GP_BLOCK], nearest[GP_BLOCK], explained[GP_BLOCK]; /* variance: of the point, what the nearest observation explains, what the rows so far do */
        double best[GP_BEST_MAX]; /* descending */
        size_t n_best;
};

static void note_worth(struct shortlist *shortlist, double worth) {
        size_t k = shortlist->n_best;
        for (; k > 0 && worth > shortlist->best[k - 1]; k--)
                if (k < shortlist->n_best)
                        shortlist->best[k] = shortlist->best[k - 1];
        if (k < shortlist->n_best)
                shortlist->best[k] = worth;
}

/* The largest row² · weight. */
VECTORISED static double find_most(size_t n, const double *restrict row, const double *restrict weight) {
        double most = 0;
#pragma omp simd reduction(max : most)
        for (size_t i = 0; i < n; i++) {
                double part = row[i] * row[i] * weight[i];
                most = part > most ? part : most;
        }
        return most;
}

/* Of those left: kernel rows, means, and what the observation that says most says alone. */
static void enter(struct shortlist *shortlist, const double *points, size_t first, double *ret_mean) {
        const struct gp *gp = shortlist->gp;
        size_t n = gp->data.n, d = gp->data.n_dims;
        for (size_t c = 0; c < shortlist->n_left; c++) {
                const double *point = points + (first + c) * d;
                double *row = shortlist->rows + c * n, g = gp_ask_guide(gp, point);
                gp_prior_row(gp, point, g, row, NULL);
                ret_mean[first + c] = GP_GUIDE_SLOPE * g + cblas_ddot((int)n, row, 1, gp->alpha, 1);
                shortlist->left[c] = first + c;
                shortlist->prior[c] = gp_prior_pair(gp, point, g, point, g);
                shortlist->nearest[c] = find_most(n, row, shortlist->weight);
                shortlist->explained[c] = 0;
        }
}

/* Those that can still be among the best, by a deviation that is too large rather than too small, stay. */
static void narrow(struct shortlist *shortlist, gp_worth worth, const void *data, const double *mean, double *sd, double *ret_worth) {
        size_t kept = 0, n = shortlist->gp->data.n;
        double least = shortlist->best[shortlist->n_best - 1];
        for (size_t c = 0; c < shortlist->n_left; c++) {
                size_t point = shortlist->left[c];
                sd[point] = sqrt(fmax(shortlist->prior[c] - fmax(shortlist->explained[c], shortlist->nearest[c]), 1e-12));
                ret_worth[point] = worth(data, point, mean[point], sd[point]);
                if (!(ret_worth[point] > -INFINITY) || ret_worth[point] < least - 1e-9) {
                        ret_worth[point] = -INFINITY;
                        continue;
                }
                if (kept < c) {
                        memcpy(shortlist->rows + kept * n, shortlist->rows + c * n, n * sizeof *shortlist->rows);
                        shortlist->left[kept] = point;
                        shortlist->prior[kept] = shortlist->prior[c];
                        shortlist->nearest[kept] = shortlist->nearest[c];
                        shortlist->explained[kept] = shortlist->explained[c];
                }
                kept++;
        }
        shortlist->n_left = kept;
}

/* The next `count` rows of L⁻¹k. */
static void advance(struct shortlist *shortlist, size_t from, size_t count) {
        size_t n = shortlist->gp->data.n;
        const double *factor = shortlist->gp->factor;
        int size = (int)n, left = (int)shortlist->n_left, rows = (int)count;
        if (from > 0)
                cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, rows, left, (int)from, -1, factor + from, size, shortlist->rows, size, 1,
                            shortlist->rows + from, size);
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, rows, left, 1, factor + from * n + from, size,
                    shortlist->rows + from, size);
        for (size_t c = 0; c < shortlist->n_left; c++) {
                const double *part = shortlist->rows + c * n + from;
                shortlist->explained[c] += cblas_ddot(rows, part, 1, part, 1);
        }
}

int gp_predict_best(const struct gp *gp, size_t m, const double *points, size_t n_best, gp_worth worth, const void *data, double *ret_mean, double *ret_sd,
                    double *ret_worth) {
        size_t n = gp->data.n, d = gp->data.n_dims;
        _cleanup_free_ double *memory = malloc((n * (GP_BLOCK + 1) + 1) * sizeof *memory);
        if (!memory)
                return -ENOMEM;
        struct shortlist shortlist = {.gp = gp, .rows = memory, .weight = memory + n * GP_BLOCK, .n_best = n_best < GP_BEST_MAX ? n_best : GP_BEST_MAX};
        for (size_t k = 0; k < GP_BEST_MAX; k++)
                shortlist.best[k] = -INFINITY;
        for (size_t i = 0; i < n; i++) {
                const double *x = gp->data.x + i * d;
                double g = gp->data.guide ? gp->data.guided[i] : 0;
                shortlist.weight[i] = 1 / (gp_prior_pair(gp, x, g, x, g) + gp->noise);
        }
        for (size_t end = m; end > 0; end -= end < GP_BLOCK ? end : GP_BLOCK) { /* the last are near good trials: most of the best are among them */
                size_t first = end < GP_BLOCK ? 0 : end - GP_BLOCK;
                if (gp_is_stopped(&gp->data))
                        return -ECANCELED;
                shortlist.n_left = end - first;
                enter(&shortlist, points, first, ret_mean);
                narrow(&shortlist, worth, data, ret_mean, ret_sd, ret_worth);
                for (size_t from = 0; from < n && shortlist.n_left > 0; from += SLICE) {
                        advance(&shortlist, from, n - from < SLICE ? n - from : SLICE);
                        narrow(&shortlist, worth, data, ret_mean, ret_sd, ret_worth);
                }
                for (size_t c = 0; c < shortlist.n_left; c++)
                        note_worth(&shortlist, ret_worth[shortlist.left[c]]);
        }
        return 0;
}
