/* How often the truth lies inside the intervals that importance and slices tell, and how wide they are.
 *
 *   importance_bench [DRAWS [FIRST [DIMS N NOISE]]]
 *
 * Sweeps of random trials over 2, 4 and 8 parameters (numbers, whole numbers, choices) of drawn functions: sums of single effects, with products of
 * two, and sums of random waves; in each about half of the parameters do nothing. 20, 50 and 200 trials, noise of 0 to 3 times the function's
 * deviation over the space, and noise alone (-1). DRAWS sweeps of each, numbered from FIRST; a line for each cell, a third of it of each kind of functions.
 * With DIMS, N and NOISE only that cell. The truth of a share is that of what the model is asked for: the metric with its worse half pulled in by rank as by
 * very many trials, and its noise averaged out. That of a slice is the function.
 *
 * Of parameters that do something, of those that do not, and of the first those that are told from noise: how many intervals of shares (90 %) hold the truth, and
 * their width. Mean error of the share. How many of both are told from noise. Intervals of predictions (95 %). Processor time of a sweep's importance. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/rng.h"
#include "opt/explain.h"
#include "opt/warp.h"

#define MAX_DIMS 8
#define MAX_TRIALS 200
#define N_CHOICES 3
#define N_WAVES 40
#define N_POPULATION 4000
#define N_TABLE 512
#define N_ERRORS 31
#define N_LEVELS 48
#define N_POINTS 512
#define N_ASKED 32 /* points where slices are checked */
#define MAX_PAIRS 5
#define EXACT 0.005 /* the truth is known so well */

enum kind { SINGLE, PRODUCTS, WAVES, N_KINDS };

struct function {
        enum kind kind;
        size_t d;
        bool is_active[MAX_DIMS];
        int shape[MAX_DIMS];
        double weight[MAX_DIMS], place[MAX_DIMS], of_choice[MAX_DIMS][N_CHOICES], product[MAX_DIMS][MAX_DIMS];
        double wave[N_WAVES][MAX_DIMS][N_CHOICES], phase[N_WAVES];
        double mean, deviation;
};

struct truth {
        struct warp warp; /* of very many trials */
        double low, high, table[N_TABLE]; /* the function's value → what is modelled */
        double main[MAX_DIMS];
};

static double single(const struct function *f, size_t k, double u) {
        switch (f->shape[k]) {
        case 0:
                return 3.5 * (u - 0.5);
        case 1:
                return 12 * (u - f->place[k]) * (u - f->place[k]);
        case 2:
                return 1.4 * sin(2 * M_PI * (u + f->place[k]));
        default:
                return tanh(8 * (u - f->place[k]));
        }
}

/* u: coordinates in the unit cube, a choice by its index. */
static double evaluate(const struct function *f, const struct opt_dim *dims, const double *u) {
        double sum = 0, effect[MAX_DIMS] = {0};
        if (f->kind == WAVES) {
                for (size_t w = 0; w < N_WAVES; w++) {
                        double angle = f->phase[w];
                        for (size_t k = 0; k < f->d; k++)
                                angle += dims[k].kind == OPT_CATEGORICAL ? f->wave[w][k][(size_t)u[k]] : f->wave[w][k][0] * u[k];
                        sum += cos(angle);
                }
                return (sum - f->mean) / f->deviation;
        }
        for (size_t k = 0; k < f->d; k++) {
                if (f->is_active[k])
                        effect[k] = dims[k].kind == OPT_CATEGORICAL ? f->of_choice[k][(size_t)u[k]] : single(f, k, u[k]);
                sum += f->weight[k] * effect[k];
        }
        for (size_t k = 0; f->kind == PRODUCTS && k < f->d; k++)
                for (size_t j = 0; j < k; j++)
                        sum += f->product[k][j] * effect[k] * effect[j];
        return (sum - f->mean) / f->deviation;
}

static void unit_point(const struct opt_space *space, const double *x, double *ret) {
        for (size_t k = 0; k < space->n_dims; k++)
                ret[k] = space->dims[k].kind == OPT_CATEGORICAL ? x[k] : opt_dim_to_unit(&space->dims[k], x[k]);
}

static double evaluate_at(const struct function *f, const struct opt_space *space, const double *x) {
        double u[MAX_DIMS];
        unit_point(space, x, u);
        return evaluate(f, space->dims, u);
}

static void draw_function(struct function *f, enum kind kind, const struct opt_space *space, struct rng *rng) {
        size_t n_active = 0, d = space->n_dims;
        *f = (struct function){.kind = kind, .d = d, .deviation = 1};
        for (size_t k = 0; k < d; k++)
                n_active += f->is_active[k] = rng_below(rng, 2);
        if (n_active == 0)
                f->is_active[rng_below(rng, d)] = true;
        for (size_t k = 0; k < d; k++) {
                f->shape[k] = (int)rng_below(rng, 4);
                f->weight[k] = exp(rng_normal(rng)) * (rng_below(rng, 2) ? 1 : -1);
                f->place[k] = rng_uniform(rng);
                double length = exp(0.7 * rng_normal(rng)) * 0.7;
                for (size_t c = 0; c < N_CHOICES; c++)
                        f->of_choice[k][c] = rng_normal(rng);
                for (size_t j = 0; j < k; j++)
                        f->product[k][j] = rng_below(rng, 3) == 0 ? rng_normal(rng) : 0;
                for (size_t w = 0; w < N_WAVES; w++)
                        for (size_t c = 0; c < N_CHOICES; c++)
                                f->wave[w][k][c] = f->is_active[k] ? rng_normal(rng) / length : 0;
        }
        for (size_t w = 0; w < N_WAVES; w++)
                f->phase[w] = 2 * M_PI * rng_uniform(rng);
        double sum = 0, square = 0, x[MAX_DIMS];
        for (size_t i = 0; i < N_POPULATION; i++) {
                opt_sobol(space, 99, i, x);
                double v = evaluate_at(f, space, x);
                sum += v / N_POPULATION;
                square += v * v / N_POPULATION;
        }
        f->mean = sum;
        f->deviation = sqrt(fmax(square - sum * sum, 1e-12));
}

static double modelled(const struct truth *truth, double value) {
        double at = fmin(fmax((value - truth->low) / (truth->high - truth->low), 0), 1) * (N_TABLE - 1);
        size_t i = at >= N_TABLE - 1 ? N_TABLE - 2 : (size_t)at;
        return truth->table[i] + (at - (double)i) * (truth->table[i + 1] - truth->table[i]);
}

static void fill_truth(const struct function *f, const struct opt_space *space, double noise, uint64_t seed, struct truth *ret) {
        static double y[N_POPULATION];
        struct rng rng;
        double x[MAX_DIMS], u[MAX_DIMS];
        rng_init(&rng, seed, 3);
        *ret = (struct truth){.low = INFINITY, .high = -INFINITY};
        for (size_t i = 0; i < N_POPULATION; i++) {
                opt_random(space, seed + 1, i, x);
                double value = evaluate_at(f, space, x);
                ret->low = fmin(ret->low, value - 0.1);
                ret->high = fmax(ret->high, value + 0.1);
                y[i] = value + noise * rng_normal(&rng);
        }
        if (warp_init(&ret->warp, y, N_POPULATION, false) < 0)
                abort();
        for (size_t i = 0; i < N_TABLE; i++) {
                double value = ret->low + (ret->high - ret->low) * (double)i / (N_TABLE - 1), weight = 0;
                for (size_t e = 0; e < N_ERRORS; e++) {
                        double z = -3 + 6 * (double)e / (N_ERRORS - 1), density = exp(-0.5 * z * z);
                        ret->table[i] += density * warp_apply(&ret->warp, value + noise * z);
                        weight += density;
                }
                ret->table[i] /= weight;
        }
        double sum = 0, square = 0;
        size_t count = 0;
        for (size_t k = 0; k < space->n_dims; k++) {
                double level[N_LEVELS] = {0}, mean = 0, main = 0, within = 0;
                for (size_t m = 0; m < N_POINTS; m++) {
                        double s = 0, q = 0;
                        opt_sobol(space, seed + 2 + k, m, x);
                        for (size_t g = 0; g < N_LEVELS; g++) {
                                x[k] = opt_dim_from_unit(&space->dims[k], ((double)g + 0.5) / N_LEVELS);
                                unit_point(space, x, u);
                                double v = modelled(ret, evaluate(f, space->dims, u));
                                level[g] += v / N_POINTS;
                                s += v;
                                q += v * v;
                        }
                        sum += s;
                        square += q;
                        count += N_LEVELS;
                        within += (q - s * s / N_LEVELS) / (N_LEVELS * N_POINTS);
                }
                for (size_t g = 0; g < N_LEVELS; g++)
                        mean += level[g] / N_LEVELS;
                for (size_t g = 0; g < N_LEVELS; g++)
                        main += (level[g] - mean) * (level[g] - mean) / N_LEVELS;
                ret->main[k] = fmax(0, (main - within / N_POINTS) / (1 - 1.0 / N_POINTS));
        }
        double whole = square / (double)count - sum / (double)count * sum / (double)count;
        for (size_t k = 0; k < space->n_dims; k++)
                ret->main[k] /= whole;
}

struct tally {
        size_t n_active, n_covered_active, n_inert, n_covered_inert, n_told, n_covered_told, n_found, n_false, n_points, n_covered_points, n_sweeps;
        double width_active, width_inert, width_told, miss, slice_width, seconds;
};

static void add(struct tally *to, const struct tally *from) {
        to->n_active += from->n_active;
        to->n_covered_active += from->n_covered_active;
        to->n_inert += from->n_inert;
        to->n_covered_inert += from->n_covered_inert;
        to->n_told += from->n_told;
        to->n_covered_told += from->n_covered_told;
        to->n_found += from->n_found;
        to->n_false += from->n_false;
        to->n_points += from->n_points;
        to->n_covered_points += from->n_covered_points;
        to->n_sweeps += from->n_sweeps;
        to->width_active += from->width_active;
        to->width_inert += from->width_inert;
        to->width_told += from->width_told;
        to->miss += from->miss;
        to->slice_width += from->slice_width;
        to->seconds += from->seconds;
}

static double part(size_t a, size_t b) {
        return b ? (double)a / (double)b : NAN;
}

static void print(const char *name, const struct tally *t) {
        printf("%-22s | %4.2f %4.2f %4.2f | %4.2f %4.2f %4.2f | %4.2f | %4.2f %5.3f | %4.2f %5.2f | %6.0f\n", name, part(t->n_covered_active, t->n_active),
               part(t->n_covered_inert, t->n_inert), part(t->n_covered_told, t->n_told), t->width_active / (double)t->n_active,
               t->width_inert / (double)t->n_inert, t->width_told / (double)t->n_told, t->miss / (double)(t->n_active + t->n_inert),
               part(t->n_found, t->n_active), part(t->n_false, t->n_inert), part(t->n_covered_points, t->n_points),
               t->slice_width / (double)t->n_points, 1e3 * t->seconds / (double)t->n_sweeps);
        fflush(stdout);
}

static void make_dims(struct opt_dim *dims, size_t d) {
        for (size_t k = 0; k < d; k++)
                dims[k] = k % 4 == 1   ? (struct opt_dim){.kind = OPT_CATEGORICAL, .n_choices = N_CHOICES}
                          : k % 4 == 2 ? (struct opt_dim){.kind = OPT_INTEGER, .low = 1, .high = 12}
                          : k % 4 == 3 ? (struct opt_dim){.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 1e-2}
                                       : (struct opt_dim){.kind = OPT_UNIFORM, .low = 0, .high = 1};
}

/* noise < 0: nothing but noise. */
static void run_sweep(size_t d, size_t n, double noise, uint64_t seed, struct tally *tally) {
        struct opt_dim dims[MAX_DIMS];
        struct opt_space space = {.dims = dims, .n_dims = d};
        static struct opt_trial trials[MAX_TRIALS];
        static double x[MAX_TRIALS][MAX_DIMS];
        struct rng rng;
        struct function f;
        struct truth truth;
        bool is_pure = noise < 0;
        make_dims(dims, d);
        rng_init(&rng, seed, 1);
        draw_function(&f, seed % N_KINDS, &space, &rng);
        if (is_pure)
                memset(f.is_active, 0, sizeof f.is_active);
        for (size_t i = 0; i < n; i++) {
                opt_random(&space, seed, i, x[i]);
                double value = is_pure ? 0 : evaluate_at(&f, &space, x[i]);
                trials[i] = (struct opt_trial){.x = x[i], .y = value + (is_pure ? 1 : noise) * rng_normal(&rng), .status = OPT_OBSERVED};
        }
        if (!is_pure)
                fill_truth(&f, &space, noise, seed, &truth);
        struct opt_history history = {trials, n};
        struct opt_model *model;
        struct opt_effect effects[MAX_DIMS];
        struct opt_pair pairs[MAX_PAIRS];
        size_t n_pairs;
        clock_t start = clock();
        tally->n_sweeps++;
        if (opt_model_new(&space, &history, false, seed, &model) != 0 || opt_model_importance(model, effects, MAX_PAIRS, pairs, &n_pairs) != 0)
                abort();
        tally->seconds += (double)(clock() - start) / CLOCKS_PER_SEC;
        for (size_t k = 0; k < d; k++) {
                double width = effects[k].high - effects[k].low;
                if (is_pure || !f.is_active[k]) {
                        tally->n_inert++;
                        tally->n_covered_inert += effects[k].low <= EXACT;
                        tally->n_false += effects[k].is_distinguishable;
                        tally->width_inert += width;
                        tally->miss += effects[k].share;
                        continue;
                }
                bool is_covered = effects[k].low - EXACT <= truth.main[k] && truth.main[k] <= effects[k].high + EXACT;
                tally->n_active++;
                tally->n_covered_active += is_covered;
                tally->width_active += width;
                tally->n_found += effects[k].is_distinguishable;
                tally->miss += fabs(effects[k].share - truth.main[k]);
                if (effects[k].is_distinguishable) {
                        tally->n_told++;
                        tally->n_covered_told += is_covered;
                        tally->width_told += width;
                }
        }
        static double at[N_ASKED * MAX_DIMS];
        struct opt_prediction there[N_ASKED];
        for (size_t i = 0; i < N_ASKED; i++)
                opt_random(&space, seed + 7, i, at + i * d);
        if (opt_model_predict(model, N_ASKED, at, there) != 0)
                abort();
        for (size_t i = 0; i < N_ASKED; i++) {
                double value = is_pure ? 0 : evaluate_at(&f, &space, at + i * d);
                tally->n_points++;
                tally->n_covered_points += there[i].low <= value && value <= there[i].high;
                tally->slice_width += there[i].high - there[i].low;
        }
        opt_model_free(model);
        if (!is_pure)
                warp_fini(&truth.warp);
}

int main(int argc, char **argv) {
        static const size_t dims[] = {2, 4, 8}, sizes[] = {20, 50, 200};
        static const double noises[] = {0, 0.1, 0.3, 1, 3, -1};
        long draws = argc > 1 ? strtol(argv[1], NULL, 10) : 30, first = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
        struct tally all = {0}, by_noise[6] = {0}, by_size[3] = {0};
        printf("                       | coverage       | width          |share | called      | slice      |\n"
               "                       | real 0    told | real 0    told | miss | real false  | cov. width | ms\n");
        for (size_t a = 0; a < 3; a++)
                for (size_t b = 0; b < 3; b++)
                        for (size_t c = 0; c < 6; c++) {
                                struct tally cell = {0};
                                if (argc > 5 && (strtoul(argv[3], NULL, 10) != dims[a] || strtoul(argv[4], NULL, 10) != sizes[b] || strtod(argv[5], NULL) != noises[c]))
                                        continue;
                                for (long i = first; i < first + draws; i++)
                                        run_sweep(dims[a], sizes[b], noises[c], (uint64_t)i, &cell);
                                char name[64];
                                snprintf(name, sizeof name, noises[c] < 0 ? "%zu dims %3zu noise only" : "%zu dims %3zu noise %.1f", dims[a], sizes[b], noises[c]);
                                print(name, &cell);
                                add(&all, &cell);
                                add(&by_noise[c], &cell);
                                add(&by_size[b], &cell);
                        }
        for (size_t c = 0; c < 6; c++)
                if (by_noise[c].n_sweeps) {
                        char name[64];
                        snprintf(name, sizeof name, noises[c] < 0 ? "all, noise only" : "all, noise %.1f", noises[c]);
                        print(name, &by_noise[c]);
                }
        for (size_t b = 0; b < 3; b++)
                if (by_size[b].n_sweeps) {
                        char name[64];
                        snprintf(name, sizeof name, "all, %zu trials", sizes[b]);
                        print(name, &by_size[b]);
                }
        print("all", &all);
        return 0;
}
