#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "common/rng.h"
#include "opt/acquire.h"
#include "opt/evidence.h"
#include "opt/opt.h"
#include "opt/space.h"
#include "opt/warp.h"

#define MAX_TRIALS 256
#define MAX_DIMS 8
#define N_SEEDS 3 /* of runs that are averaged */

struct study {
        struct opt_space space;
        struct opt_trial trials[MAX_TRIALS];
        double x[MAX_TRIALS * MAX_DIMS];
        size_t n;
};

static void add(struct study *study, const double *x, enum opt_status status, double y) {
        double *copy = study->x + study->n * MAX_DIMS;
        memcpy(copy, x, study->space.n_dims * sizeof *copy);
        study->trials[study->n++] = (struct opt_trial){.x = copy, .y = y, .status = status};
}

static struct opt_proposal propose(struct study *study, uint64_t seed, bool maximize, double *x) {
        struct opt_history history = {study->trials, study->n};
        struct opt_bayes_options options = {.maximize = maximize, .seed = seed, .number = study->n + 1};
        struct opt_proposal proposal = {.x = x};
        assert_int_equal(opt_bayes(&study->space, &history, &options, &proposal), 0);
        for (size_t k = 0; k < study->space.n_dims; k++)
                assert_true(isfinite(x[k]));
        return proposal;
}

static double branin(const double *x) {
        double a = x[0], b = x[1];
        return pow(b - 5.1 / (4 * M_PI * M_PI) * a * a + 5 / M_PI * a - 6, 2) + 10 * (1 - 1 / (8 * M_PI)) * cos(a) + 10;
}

static double hartmann3(const double *x) {
        static const double alpha[] = {1, 1.2, 3, 3.2}, a[4][3] = {{3, 10, 30}, {.1, 10, 35}, {3, 10, 30}, {.1, 10, 35}},
                            p[4][3] = {{.3689, .1170, .2673}, {.4699, .4387, .7470}, {.1091, .8732, .5547}, {.0381, .5743, .8828}};
        double sum = 0;
        for (int i = 0; i < 4; i++) {
                double e = 0;
                for (int k = 0; k < 3; k++)
                        e += a[i][k] * pow(x[k] - p[i][k], 2);
                sum += alpha[i] * exp(-e);
        }
        return sum;
}

static double best_by_model(const struct opt_dim *dims, size_t n_dims, double (*f)(const double *), bool maximize, uint64_t seed) {
        struct study study = {.space = {dims, n_dims}};
        double best = maximize ? -INFINITY : INFINITY, x[MAX_DIMS];
        for (int i = 0; i < 30; i++) {
                propose(&study, seed, maximize, x);
                double value = f(x);
                add(&study, x, OPT_OBSERVED, value);
                best = maximize ? fmax(best, value) : fmin(best, value);
        }
        return best;
}

static double best_by_random(const struct opt_dim *dims, size_t n_dims, double (*f)(const double *), bool maximize, uint64_t seed) {
        struct opt_space space = {.dims = dims, .n_dims = n_dims};
        double best = maximize ? -INFINITY : INFINITY, x[MAX_DIMS];
        for (uint64_t i = 0; i < 30; i++) {
                opt_random(&space, seed, i, x);
                best = maximize ? fmax(best, f(x)) : fmin(best, f(x));
        }
        return best;
}

static const struct opt_dim plane[] = {{.kind = OPT_UNIFORM, .low = -5, .high = 10}, {.kind = OPT_UNIFORM, .low = 0, .high = 15}};

static void thirty_trials_beat_random_on_smooth_functions(void **state) {
        (void)state;
        struct opt_dim cube[3];
        for (int k = 0; k < 3; k++)
                cube[k] = (struct opt_dim){.kind = OPT_UNIFORM, .low = 0, .high = 1};
        double model[2] = {0}, random[2] = {0}; /* geometric means: one run that stays at another of Branin's optima is not all */
        for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
                model[0] += log10(fmax(best_by_model(plane, 2, branin, false, seed) - 0.397887, 1e-6)) / N_SEEDS;
                random[0] += log10(best_by_random(plane, 2, branin, false, seed) - 0.397887) / N_SEEDS;
                model[1] += log10(fmax(3.86278 - best_by_model(cube, 3, hartmann3, true, seed), 1e-6)) / N_SEEDS;
                random[1] += log10(3.86278 - best_by_random(cube, 3, hartmann3, true, seed)) / N_SEEDS;
        }
        print_message("log10 of the regret after 30: branin %.2f (random %.2f), hartmann3 %.2f (random %.2f)\n", model[0], random[0], model[1],
                      random[1]);
        assert_true(model[0] < random[0] - 1);
        assert_true(model[1] < random[1] - 1);
}

static void fill_branin(struct study *study, size_t n) {
        double x[2];
        for (uint64_t i = 0; i < n; i++) {
                opt_sobol(&study->space, 9, i, x);
                add(study, x, OPT_OBSERVED, branin(x));
        }
}

static void the_same_history_gives_the_same_proposal(void **state) {
        (void)state;
        struct study study = {.space = {plane, 2}};
        fill_branin(&study, 12);
        double a[2], b[2];
        struct opt_proposal first = propose(&study, 5, false, a), second = propose(&study, 5, false, b);
        assert_memory_equal(a, b, sizeof a);
        assert_true(first.mean == second.mean && first.acquisition == second.acquisition);
        assert_int_equal(first.source, OPT_SOURCE_GP);
}

struct stopping {
        atomic_bool stop, ready;
        unsigned after_us;
};

static void *stop_soon(void *data) {
        struct stopping *stopping = data;
        atomic_store(&stopping->ready, true);
        nanosleep(&(struct timespec){.tv_nsec = (long)stopping->after_us * 1000}, NULL);
        atomic_store(&stopping->stop, true);
        return NULL;
}

/* Whenever it is stopped, there is no proposal or the right one, and what is remembered of it serves the next. */
static void a_stopped_computation_leaves_nothing_wrong(void **state) {
        (void)state;
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        struct opt_memory *memory = opt_memory_new();
        double x[MAX_DIMS], y[MAX_DIMS];
        unsigned n_stopped = 0;
        fill_branin(&study, 70);
        struct opt_history history = {study.trials, study.n};
        struct opt_bayes_options options = {.seed = 4, .number = 71};
        struct opt_proposal expected = {.x = x}, proposal = {.x = y};
        assert_int_equal(opt_bayes(&study.space, &history, &options, &expected), 0);
        for (unsigned i = 0; i < 40; i++) {
                struct stopping stopping = {.after_us = i * 100};
                pthread_t thread;
                assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stopping), 0);
                while (!atomic_load(&stopping.ready))
                        sched_yield();
                options.stop = &stopping.stop;
                options.memory = i % 2 ? memory : NULL;
                int r = i % 8 == 7 ? opt_prepare(&study.space, &history, &options) : opt_bayes(&study.space, &history, &options, &proposal);
                pthread_join(thread, NULL);
                n_stopped += r == -ECANCELED;
                assert_true(r == 0 || r == -ECANCELED);
                if (r == 0 && i % 8 != 7)
                        assert_memory_equal(x, y, 2 * sizeof *x);
        }
        assert_true(n_stopped > 0);
        options.stop = NULL;
        options.memory = memory;
        assert_int_equal(opt_bayes(&study.space, &history, &options, &proposal), 0);
        assert_memory_equal(x, y, 2 * sizeof *x);
        opt_memory_free(memory);
}

/* A proposal (number one more than `n`), which is the same whether the memory serves it or not. */
static void propose_alike(const struct study *study, size_t n, struct opt_memory *memory, double *x) {
        double y[MAX_DIMS];
        struct opt_history history = {study->trials, study->n};
        struct opt_bayes_options options = {.seed = 4, .number = n + 1};
        struct opt_proposal without = {.x = x}, with = {.x = y};
        assert_int_equal(opt_bayes(&study->space, &history, &options, &without), 0);
        options.memory = memory;
        assert_int_equal(opt_bayes(&study->space, &history, &options, &with), 0);
        assert_memory_equal(x, y, study->space.n_dims * sizeof *x);
        assert_true(without.source == with.source && without.mean == with.mean && without.acquisition == with.acquisition);
}

static void prepare(const struct study *study, size_t n_trials, struct opt_memory *memory) {
        struct opt_history history = {study->trials, n_trials};
        struct opt_bayes_options options = {.seed = 4, .memory = memory};
        assert_int_equal(opt_prepare(&study->space, &history, &options), 0);
}

/* Trials end out of order, one fails, and an old value changes: what is remembered must not show. */
static void proposals_are_the_same_without_memory(void **state) {
        (void)state;
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        struct opt_memory *memory = opt_memory_new();
        double x[MAX_DIMS];
        for (size_t n = 0; n < 64; n++) {
                if (n % 3 == 0 && n > 0) /* what was known before the latest result */
                        prepare(&study, study.n - 1, memory);
                propose_alike(&study, n, memory, x);
                add(&study, x, n % 10 == 5 ? OPT_PENDING : n % 17 == 8 ? OPT_FAILED : OPT_OBSERVED, branin(x));
                if (n % 10 == 9)
                        study.trials[n - 4].status = OPT_OBSERVED;
                if (n == 50)
                        study.trials[10].y += 0.5;
        }
        opt_memory_free(memory);
}

/* Four at a time, whose ends come out of order: whichever ends next, what was prepared serves it, and what is proposed is what it would be
 * without; also where proposals are asked for twice. Where another trial ends before anybody prepared, something is left to find. */
static void what_is_prepared_serves_whichever_trial_ends_next(void **state) {
        (void)state;
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        struct opt_memory *memory = opt_memory_new();
        struct rng rng;
        double x[MAX_DIMS];
        size_t running[5], n_running = 0;
        uint64_t n_ended = 0, n_unprepared = 0;
        rng_init(&rng, 8, 0);
        for (size_t n = 0; n < 90; n++) {
                for (int again = 0; again < 2; again++) {
                        propose_alike(&study, n, memory, x);
                        if (n % 30 != 29)
                                prepare(&study, study.n, memory);
                        else
                                n_unprepared += again;
                }
                running[n_running++] = study.n;
                add(&study, x, OPT_PENDING, branin(x));
                while (n_running > (n % 30 == 29 ? 3 : 4)) {
                        size_t which = (size_t)rng_below(&rng, n_running), ended = running[which];
                        running[which] = running[--n_running];
                        study.trials[ended].status = ended % 17 == 8 ? OPT_FAILED : OPT_OBSERVED;
                        study.trials[ended].ended = ++n_ended;
                }
        }
        struct opt_memory_use use = opt_memory_use(memory);
        assert_true(use.proposals > 100);
        assert_in_range(use.proposals - use.ready, 1, n_unprepared);
        opt_memory_free(memory);
}

/* Another order of the same trials is another history, also for what remembers the first. */
static void the_order_of_ends_is_part_of_the_history(void **state) {
        (void)state;
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        struct opt_memory *memory = opt_memory_new();
        double x[MAX_DIMS], first[2];
        fill_branin(&study, 70);
        unsigned n_moved = 0;
        for (size_t order = 0; order < 6; order++) {
                for (size_t i = 0; i < study.n; i++) /* the last of all stays the last */
                        study.trials[i].ended = i + 1 == study.n ? study.n : (i * (order % 2 ? 11 : 1) + 13 * order) % (study.n - 1);
                propose_alike(&study, 70, memory, x);
                if (order == 0)
                        memcpy(first, x, sizeof first);
                n_moved += memcmp(first, x, sizeof first) != 0;
        }
        assert_true(n_moved > 0);
        opt_memory_free(memory);
}

/* Of 200 trials the last one, the 14 before it and the 185 of the last whole fit: in which order those of one part ended makes no difference. */
static void only_which_trials_ended_first_counts(void **state) {
        (void)state;
        static const size_t parts[] = {0, 185, 199, 200};
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        struct rng rng;
        double x[MAX_DIMS], y[MAX_DIMS];
        rng_init(&rng, 3, 0);
        fill_branin(&study, 200);
        struct opt_history history = {study.trials, study.n};
        struct opt_bayes_options options = {.seed = 4, .number = 201};
        struct opt_proposal expected = {.x = x}, proposal = {.x = y};
        assert_int_equal(opt_bayes(&study.space, &history, &options, &expected), 0);
        for (size_t way = 0; way < 12; way++) {
                for (size_t part = 0; part < 3; part++) {
                        size_t first = parts[part], n = parts[part + 1] - first;
                        for (size_t i = 0; i < n; i++) { /* descending, interleaved, then drawn */
                                size_t interleaved = 2 * i < n ? 2 * i : 2 * i - n + 1 - n % 2;
                                study.trials[first + i].ended = 1000 * part + (way == 0 ? n - i : way == 1 ? interleaved : i);
                        }
                        for (size_t i = n; way > 1 && i > 1; i--) {
                                size_t other = first + (size_t)rng_below(&rng, i);
                                uint64_t ended = study.trials[other].ended;
                                study.trials[other].ended = study.trials[first + i - 1].ended;
                                study.trials[first + i - 1].ended = ended;
                        }
                }
                assert_int_equal(opt_bayes(&study.space, &history, &options, &proposal), 0);
                assert_memory_equal(x, y, 2 * sizeof *x);
        }
        uint64_t last = study.trials[199].ended;
        study.trials[199].ended = study.trials[150].ended;
        study.trials[150].ended = last;
        assert_int_equal(opt_bayes(&study.space, &history, &options, &proposal), 0);
        assert_true(memcmp(x, y, 2 * sizeof *x) != 0);
}

static void the_first_point_is_the_middle(void **state) {
        (void)state;
        struct study study = {.space = {.dims = plane, .n_dims = 2}};
        double x[MAX_DIMS];
        propose(&study, 5, false, x);
        assert_true(fabs(x[0] - 2.5) < 1e-9 && fabs(x[1] - 7.5) < 1e-9);
}

static void the_first_points_are_quasi_random_and_say_so(void **state) {
        (void)state;
        struct study study = {.space = {plane, 2}};
        double x[2];
        for (int i = 0; i < 3; i++) {
                struct opt_proposal proposal = propose(&study, 5, false, x);
                assert_int_equal(proposal.source, OPT_SOURCE_SOBOL);
                assert_false(proposal.has_prediction);
                add(&study, x, OPT_PENDING, 0);
        }
        for (int i = 0; i < 10; i++) { /* nothing has ended: still no model */
                assert_int_equal(propose(&study, 5, false, x).source, OPT_SOURCE_SOBOL);
                add(&study, x, OPT_PENDING, 0);
        }
}

static void pending_trials_push_the_next_away(void **state) {
        (void)state;
        struct study study = {.space = {plane, 2}};
        fill_branin(&study, 12);
        double points[6][2];
        for (int i = 0; i < 6; i++) {
                propose(&study, 5, false, points[i]);
                add(&study, points[i], OPT_PENDING, 0);
                for (int j = 0; j < i; j++)
                        assert_true(fabs(points[i][0] - points[j][0]) / 15 + fabs(points[i][1] - points[j][1]) / 15 > 1e-3);
        }
}

static void every_point_of_a_small_space_is_tried_before_any_repeats(void **state) {
        (void)state;
        const struct opt_dim dims[] = {{.kind = OPT_INTEGER, .low = 1, .high = 5},
                                       {.kind = OPT_CATEGORICAL, .n_choices = 4},
                                       {.kind = OPT_UNIFORM, .low = 0, .high = 0.2, .step = 0.1}};
        struct study study = {.space = {dims, 3}};
        int seen[60] = {0};
        double x[3];
        for (int i = 0; i < 60; i++) {
                propose(&study, 3, true, x);
                int cell = ((int)x[0] - 1) * 12 + (int)x[1] * 3 + (int)rint(x[2] * 10);
                assert_int_equal(seen[cell]++, 0);
                add(&study, x, i % 7 ? OPT_OBSERVED : OPT_FAILED, x[0] - x[2] * 3 - (x[1] == 2));
        }
        struct opt_proposal repeat = propose(&study, 3, true, x);
        assert_int_equal(repeat.source, OPT_SOURCE_EXPLOIT);
        assert_non_null(repeat.why);
}

static void a_large_finite_space_never_repeats(void **state) {
        (void)state;
        const struct opt_dim dims[] = {{.kind = OPT_INTEGER, .low = 0, .high = 500}, {.kind = OPT_CATEGORICAL, .n_choices = 30}};
        struct study study = {.space = {dims, 2}};
        double x[2];
        for (int i = 0; i < 40; i++) {
                propose(&study, 3, true, x);
                for (size_t j = 0; j < study.n; j++)
                        assert_false(study.trials[j].x[0] == x[0] && study.trials[j].x[1] == x[1]);
                add(&study, x, OPT_OBSERVED, -fabs(x[0] - 123) - (x[1] != 4)); /* the best is found early, and then left alone */
        }
}

static void failed_trials_are_avoided(void **state) {
        (void)state;
        const struct opt_dim dims[] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        struct study study = {.space = {dims, 1}};
        double x[1];
        int n_bad = 0;
        for (int i = 0; i < 24; i++) { /* grows towards the cliff at 0.7 */
                propose(&study, 11, true, x);
                bool dies = x[0] > 0.7;
                n_bad += i >= 12 && dies;
                add(&study, x, dies ? OPT_FAILED : OPT_OBSERVED, x[0]);
        }
        assert_true(n_bad <= 8);
}

static void the_first_points_keep_away_from_the_bounds(void **state) {
        (void)state;
        const struct opt_dim unit[] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1}, {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        int n_outer = 0;
        for (uint64_t seed = 0; seed < 10; seed++) {
                struct study study = {.space = {unit, 2}};
                double x[2];
                for (int i = 0; i < 24; i++) { /* nothing works, so the sequence goes on, and everywhere */
                        propose(&study, seed, true, x);
                        bool is_outer = x[0] < 0.1 || x[0] > 0.9 || x[1] < 0.1 || x[1] > 0.9;
                        assert_false(i < 4 && is_outer);
                        n_outer += is_outer;
                        add(&study, x, OPT_FAILED, 0);
                }
        }
        print_message("%d of 200 later points near a bound\n", n_outer);
        assert_in_range(n_outer, 45, 100); /* 0.36 of the square */
}

static void first_points_draw_what_a_number_makes_count(void **state) {
        (void)state;
        static const double deep[] = {2, 3, 4, 5, 6, 7, 8};
        const struct opt_dim dims[] = {{.kind = OPT_INTEGER, .low = 1, .high = 8}, {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        const struct opt_condition condition = {.dim = 1, .parent = 0, .values = deep, .n_values = 7};
        int n_shallow = 0;
        for (uint64_t seed = 0; seed < 40; seed++) {
                struct study study = {.space = {.dims = dims, .n_dims = 2, .conditions = &condition, .n_conditions = 1}};
                double x[2];
                for (int i = 0; i < 4; i++) {
                        propose(&study, seed, true, x);
                        n_shallow += x[0] == 1;
                        assert_true(x[0] == 1 ? x[1] == 0.5 : i == 0 || (x[1] != 0.5 && x[1] >= 0.1 && x[1] <= 0.9));
                        add(&study, x, OPT_OBSERVED, x[0] + x[1]);
                }
        }
        assert_true(n_shallow > 0);
}

static void predictions_are_in_metric_units(void **state) {
        (void)state;
        const struct opt_dim dims[] = {{.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 1e-3}};
        struct study study = {.space = {dims, 1}};
        double x[1];
        for (uint64_t i = 0; i < 12; i++) {
                opt_sobol(&study.space, 1, i, x);
                add(&study, x, OPT_OBSERVED, 0.85 - 0.05 * pow(log10(x[0] / 1e-4), 2));
        }
        struct opt_proposal proposal = propose(&study, 2, true, x);
        assert_true(proposal.has_prediction);
        assert_true(fabs(proposal.mean - (0.85 - 0.05 * pow(log10(x[0] / 1e-4), 2))) < 0.01);
        assert_true(proposal.sd > 0 && proposal.sd < 0.05);
}

static void odd_histories_give_a_point_all_the_same(void **state) {
        (void)state;
        double x[2] = {1, 1};
        struct study equal = {.space = {plane, 2}}, failed = {.space = {plane, 2}}, huge = {.space = {plane, 2}};
        for (int i = 0; i < 10; i++) {
                add(&equal, x, OPT_OBSERVED, 0.5);
                add(&failed, x, OPT_FAILED, 0);
                double far[2] = {1e9 * i, -5};
                add(&huge, far, OPT_OBSERVED, i % 2 ? 1e300 : -1e300);
        }
        propose(&equal, 1, true, x);
        assert_int_equal(propose(&failed, 1, true, x).source, OPT_SOURCE_SOBOL);
        propose(&huge, 1, true, x);
        struct study nothing = {.space = {NULL, 0}};
        propose(&nothing, 1, true, x);
}

static void log_improvement_is_exact_far_into_the_tail(void **state) {
        (void)state;
        double dmean, dsd, mean_up, sd_up, unused;
        assert_true(fabs(log_expected_improvement(0, 1, 0, &dmean, &dsd) - log(1 / sqrt(2 * M_PI))) < 1e-14);
        /* log(φ(40) (1/40² − 3/40⁴ + 15/40⁶ − …)) */
        assert_true(fabs(log_expected_improvement(-40, 1, 0, &dmean, &dsd) + 808.29856835661655) < 1e-8);
        double before = log_expected_improvement(-19.999999, 1, 0, &dmean, &dsd),
               after = log_expected_improvement(-20.000001, 1, 0, &dmean, &dsd);
        assert_true(fabs(before - after - 4.01e-5) < 1e-6); /* no jump where the series begins */
        for (double mean = -50; mean < 45; mean += 1.7) {
                log_expected_improvement(mean, 1.3, 0.2, &dmean, &dsd);
                mean_up = log_expected_improvement(mean + 1e-6, 1.3, 0.2, &unused, &unused) -
                          log_expected_improvement(mean - 1e-6, 1.3, 0.2, &unused, &unused);
                sd_up = log_expected_improvement(mean, 1.3 + 1e-6, 0.2, &unused, &unused) -
                        log_expected_improvement(mean, 1.3 - 1e-6, 0.2, &unused, &unused);
                assert_true(fabs(mean_up / 2e-6 - dmean) < 1e-4 * (1 + dmean));
                assert_true(fabs(sd_up / 2e-6 - dsd) < 1e-4 * (1 + dsd));
        }
}

/* log(φ(z) + z Φ(z)) by mpmath 1.3 with 80 to 120 digits. */
static void log_improvement_is_that_of_high_precision(void **state) {
        (void)state;
        static const double known[][2] = {
                {-1e7, -50000000000033.15513},      {-1e5, -5000000023.9447894634},     {-1000, -500014.73445209115845},    {-100, -5010.1295788002497923},
                {-40, -808.29856835661996024},      {-25, -319.86146358149595433},      {-20.000001, -206.91785860868840651}, {-19.999999, -206.91781841016278431},
                {-15, -118.84817068411358416},      {-8, -37.122364261692633},          {-3, -7.8696860596030285171},       {-1, -2.4851210257126413368},
                {-0.1, -1.0471533140728459969},     {0, -0.91893853320467274178},       {0.5, -0.35982768374506381859},     {2, 0.69738354578822831219},
                {8, 2.0794415416798359377},         {29, 3.3672958299864740272},        {31, 3.4339872044851462459},        {1000, 6.9077552789821370521},
        };
        static const double sds[] = {1, 1e-6, 37, 1e6};
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                for (size_t s = 0; s < 4; s++) {
                        double dmean, dsd, value = log_expected_improvement(known[i][0] * sds[s], sds[s], 0, &dmean, &dsd);
                        assert_true(fabs(value - known[i][1] - log(sds[s])) < 1e-10 + 4e-16 * fabs(known[i][1]));
                        assert_true(isfinite(dmean) && isfinite(dsd) && dmean > 0 && dsd >= 0);
                }
}

static void more_trials_where_they_teach_nothing_are_worth_nothing(void **state) {
        (void)state;
        double dmean, dsd, up, mean_by, sd_by, unused;
        double plain = log_expected_improvement(0.3, 0.7, 0.2, &mean_by, &sd_by);
        assert_true(log_augmented_improvement(0.3, 0.7, 0.2, 0, &dmean, &dsd) == plain && dmean == mean_by && dsd == sd_by);
        assert_true(fabs(log_augmented_improvement(0.3, 0.7, 0.2, 0.51, &dmean, &dsd) - plain - log(1 - sqrt(0.51))) < 1e-12);
        assert_true(isfinite(log_augmented_improvement(0.3, 1e-6, 0.2, 0.5, &dmean, &dsd)) && isfinite(dsd));
        for (double sd = 0.01; sd < 3; sd *= 1.3) {
                log_augmented_improvement(-0.4, sd, 0.2, 0.6, &dmean, &dsd);
                up = log_augmented_improvement(-0.4, sd * (1 + 1e-6), 0.2, 0.6, &unused, &unused) -
                     log_augmented_improvement(-0.4, sd * (1 - 1e-6), 0.2, 0.6, &unused, &unused);
                assert_true(fabs(up / (2e-6 * sd) - dsd) < 1e-4 * (1 + fabs(dsd)));
        }
}

static void the_warp_keeps_order_and_goes_back(void **state) {
        (void)state;
        const double y[] = {0.84, 0.31, 0.85, 0.86, 0.32, 0.83, 0.84, 0.0001, 0.845};
        struct warp warp;
        assert_int_equal(warp_init(&warp, y, 9, true), 0);
        for (size_t i = 1; i < warp.n; i++)
                assert_true(warp.z[i] > warp.z[i - 1]);
        assert_int_equal(warp.n, 8);
        for (size_t i = 0; i < 9; i++) {
                double mean, sd;
                warp_invert(&warp, warp_apply(&warp, y[i]), 0.01, &mean, &sd);
                assert_true(fabs(mean - y[i]) < 1e-12 && sd > 0);
        }
        assert_true(warp_worst(&warp) == warp_apply(&warp, 0.0001) && warp_worst(&warp) > -2.5); /* the outlier is pulled in */
        warp_fini(&warp);
}

static void many_trials_cost_a_bounded_time(void **state) {
        (void)state;
        struct opt_dim dims[4];
        for (int k = 0; k < 4; k++)
                dims[k] = (struct opt_dim){.kind = OPT_UNIFORM, .low = 0, .high = 1};
        struct opt_space space = {.dims = dims, .n_dims = 4};
        size_t n = 1300;
        double *points = malloc(n * 4 * sizeof *points), x[4];
        struct opt_trial *trials = malloc(n * sizeof *trials);
        for (size_t i = 0; i < n; i++) {
                opt_random(&space, 3, i, points + i * 4);
                trials[i] = (struct opt_trial){.x = points + i * 4,
                                               .status = i % 10   ? OPT_OBSERVED
                                                         : i % 20 ? OPT_FAILED
                                                                  : OPT_PENDING,
                                               .y = -pow(points[i * 4] - 0.3, 2)};
        }
        struct opt_history history = {trials, n};
        struct opt_bayes_options options = {.maximize = true, .seed = 1, .number = n + 1};
        struct opt_proposal proposal = {.x = x};
        assert_int_equal(opt_bayes(&space, &history, &options, &proposal), 0);
        assert_int_equal(proposal.source, OPT_SOURCE_GP);
        free(points);
        free(trials);
}

static void a_held_dimension_informs_the_model_and_stays_where_it_is_held(void **state) {
        (void)state;
        struct opt_dim dims[2] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1},
                                  {.kind = OPT_UNIFORM, .low = 0, .high = 1, .held = true, .held_value = 0.25}};
        struct study study = {.space = {dims, 2}};
        double x[2];
        struct rng rng;
        rng_init(&rng, 4, 0);
        for (int i = 0; i < 40; i++) { /* the best a depends on b: 0.2 where b is held, 0.8 at b = 1 */
                double point[2] = {rng_uniform(&rng), i % 2 ? 1 : 0.25}, target = point[1] > 0.5 ? 0.8 : 0.2;
                add(&study, point, OPT_OBSERVED, -pow(point[0] - target, 2));
        }
        for (uint64_t seed = 0; seed < 3; seed++) {
                propose(&study, seed, true, x);
                assert_true(x[1] == 0.25);
                assert_true(fabs(x[0] - 0.2) < 0.2);
        }
        dims[0] = (struct opt_dim){.kind = OPT_CATEGORICAL, .n_choices = 3};
        study.n = 0;
        for (int i = 0; i < 12; i++) {
                propose(&study, 1, true, x);
                assert_true(x[1] == 0.25);
                add(&study, x, OPT_OBSERVED, x[0]);
        }
}

static void evidence_from_outside_the_bounds_does_not_count_at_the_bound(void **state) {
        (void)state;
        struct opt_dim dims[1] = {{.kind = OPT_LOG_UNIFORM, .low = 1e-5, .high = 5e-5}};
        struct study study = {.space = {dims, 1}};
        static const double points[][2] = {{1e-5, 0.5}, {1.5e-5, 0.6}, {2e-5, 0.68}, {3e-5, 0.77}, {4e-5, 0.83}, {2e-4, 0.1}};
        for (size_t i = 0; i < 6; i++)
                add(&study, points[i], OPT_OBSERVED, points[i][1]);
        double x[1];
        struct opt_proposal proposal = propose(&study, 2, true, x);
        assert_int_equal(proposal.source, OPT_SOURCE_GP);
        assert_true(x[0] > 4e-5 && x[0] <= 5e-5); /* the rise goes on up to the bound, the bad point lies beyond it */
}

/* The acquisition of the next proposal, less the plain log of expected improvement under the same model. */
static double less_for_noise(struct study *study, double *ret_noise) {
        const struct opt_history history = {study->trials, study->n};
        struct evidence evidence = {0};
        double x[1], theta[4], fitted[MAX_TRIALS], incumbent = -INFINITY, mean, sd, unused;
        struct gp *gp;
        const struct opt_proposal proposal = propose(study, 5, true, x);
        assert_int_equal(proposal.source, OPT_SOURCE_GP);
        assert_int_equal(evidence_init(&evidence, &study->space, &history), 0);
        evidence.has_trend = true;
        assert_int_equal(evidence_choose(&evidence, &history, true), 0);
        assert_int_equal(evidence_fit_growing(&evidence, &study->space, &history, true, 5, NULL, theta), 0);
        assert_int_equal(evidence_condition(&evidence, theta, &gp), 0);
        gp_fitted_mean(gp, fitted);
        for (size_t i = 0; i < study->n; i++)
                incumbent = fmax(incumbent, fitted[i]);
        const double feature = dim_feature(&study->space.dims[0], x[0]);
        assert_int_equal(gp_predict(gp, 1, &feature, &mean, &sd), 0);
        *ret_noise = gp_noise(gp) / (sd * sd);
        gp_free(gp);
        evidence_fini(&evidence);
        return proposal.acquisition - log_expected_improvement(mean, sd, incumbent, &unused, &unused);
}

/* The hyperparameters of 200 trials at two levels of b: one after the other, or by turns as a grid has them. */
static void fit_levels(bool by_turns, double *theta) {
        static const struct opt_dim square[2] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1}, {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        struct study study = {.space = {square, 2}};
        for (int i = 0; i < 200; i++) {
                double b = (by_turns ? i % 2 : i / 100) ? 0.75 : 0.25, a = ((by_turns ? i / 2 : i % 100) + 0.5) / 100;
                add(&study, (double[]){a, b}, OPT_OBSERVED, b > 0.5 ? a : sin(7 * a));
        }
        const struct opt_history history = {study.trials, study.n};
        struct evidence evidence = {0};
        assert_int_equal(evidence_init(&evidence, &study.space, &history), 0);
        assert_int_equal(evidence_choose(&evidence, &history, true), 0);
        assert_int_equal(evidence_fit(&evidence, 5, theta), 0);
        evidence_fini(&evidence);
}

static void a_grid_s_last_parameter_is_fitted_like_any_other(void **state) {
        (void)state;
        double in_turn[4], by_turns[4];
        fit_levels(false, in_turn);
        fit_levels(true, by_turns);
        print_message("log length scale of b: %.2f, by turns %.2f\n", in_turn[1], by_turns[1]);
        assert_true(fabs(in_turn[1] - by_turns[1]) < 0.4);
}

static void proposals_count_what_a_trial_teaches_where_noise_is_evident(void **state) {
        (void)state;
        static const struct opt_dim line = {.kind = OPT_UNIFORM, .low = 0, .high = 1};
        struct study noisy = {.space = {&line, 1}}, exact = {.space = {&line, 1}};
        struct rng rng;
        rng_init(&rng, 6, 0);
        for (int i = 0; i < 50; i++) {
                double x = rng_uniform(&rng), y = -pow(x - 0.3, 2);
                add(&noisy, &x, OPT_OBSERVED, y + 0.2 * rng_normal(&rng));
                if (i < 12)
                        add(&exact, &x, OPT_OBSERVED, y);
        }
        double noise, less = less_for_noise(&noisy, &noise);
        assert_true(noise > 1);
        assert_true(less < -1 && less > log(1 - sqrt(noise / (1 + noise))) - 1e-6); /* a little noise does not count */
        less = less_for_noise(&exact, &noise);
        assert_true(fabs(less) < 1e-6);
}

/* Neighbours in the order of the sums are not the same points, and the same points need not have the same sum. */
static void what_was_tried_is_found_however_it_is_rounded(void **state) {
        (void)state;
        enum { POINTS = 300, DIMS = 4 };
        static const struct opt_dim dims[DIMS] = {{.kind = OPT_UNIFORM, .low = 0, .high = 1},
                                                  {.kind = OPT_CATEGORICAL, .n_choices = 3},
                                                  {.kind = OPT_UNIFORM, .low = 0, .high = 1},
                                                  {.kind = OPT_UNIFORM, .low = 0, .high = 1}};
        const struct opt_space space = {.dims = dims, .n_dims = DIMS};
        static double points[POINTS * DIMS];
        struct tried tried;
        struct rng rng;
        rng_init(&rng, 7, 0);
        for (size_t i = 0; i < POINTS * DIMS; i++)
                points[i] = i % DIMS == 1 ? (double)rng_below(&rng, 3) : rng_uniform(&rng);
        assert_int_equal(tried_init(&tried, &space, points, POINTS), 0);
        for (size_t i = 0; i < POINTS; i++)
                for (int by = -20; by <= 20; by++) {
                        double near[DIMS];
                        for (size_t k = 0; k < DIMS; k++)
                                near[k] = points[i * DIMS + k] + (k == 1 ? 0 : 1e-7 * by);
                        if (abs(by) != 10) /* there rounding decides */
                                assert_int_equal(tried_contains(&tried, near), abs(by) < 10);
                        near[1] = fmod(near[1] + 1, 3);
                        assert_false(tried_contains(&tried, near));
                }
        tried_fini(&tried);
}

/* Beyond 1e300 all are alike, so that differences of two are numbers. */
static void the_largest_of_all_values_are_told_apart_by_their_sign(void **state) {
        (void)state;
        static const double y[] = {-1.7e308, -1.6e308, 1.7e308, 1.6e308, -1.5e308};
        struct warp warp;
        assert_int_equal(warp_init(&warp, y, 5, true), 0);
        double low = warp_apply(&warp, -1.7e308), high = warp_apply(&warp, 1.7e308), middle = warp_apply(&warp, 0);
        assert_true(isfinite(low) && isfinite(high) && high - low > 1 && middle > low && middle < high);
        assert_true(warp_apply(&warp, -1.6e308) == low);
        warp_fini(&warp);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_held_dimension_informs_the_model_and_stays_where_it_is_held),
                cmocka_unit_test(evidence_from_outside_the_bounds_does_not_count_at_the_bound),
                cmocka_unit_test(thirty_trials_beat_random_on_smooth_functions),
                cmocka_unit_test(the_same_history_gives_the_same_proposal),
                cmocka_unit_test(what_is_prepared_serves_whichever_trial_ends_next), cmocka_unit_test(the_order_of_ends_is_part_of_the_history),
                cmocka_unit_test(only_which_trials_ended_first_counts),
                cmocka_unit_test(proposals_are_the_same_without_memory), cmocka_unit_test(a_stopped_computation_leaves_nothing_wrong),
                cmocka_unit_test(the_first_point_is_the_middle),
                cmocka_unit_test(the_first_points_are_quasi_random_and_say_so),
                cmocka_unit_test(pending_trials_push_the_next_away),
                cmocka_unit_test(every_point_of_a_small_space_is_tried_before_any_repeats),
                cmocka_unit_test(a_large_finite_space_never_repeats),
                cmocka_unit_test(failed_trials_are_avoided),
                cmocka_unit_test(the_first_points_keep_away_from_the_bounds),
                cmocka_unit_test(first_points_draw_what_a_number_makes_count),
                cmocka_unit_test(predictions_are_in_metric_units),
                cmocka_unit_test(odd_histories_give_a_point_all_the_same),
                cmocka_unit_test(log_improvement_is_exact_far_into_the_tail),
                cmocka_unit_test(log_improvement_is_that_of_high_precision),
                cmocka_unit_test(more_trials_where_they_teach_nothing_are_worth_nothing),
                cmocka_unit_test(the_warp_keeps_order_and_goes_back),
                cmocka_unit_test(many_trials_cost_a_bounded_time),
                cmocka_unit_test(a_grid_s_last_parameter_is_fitted_like_any_other),
                cmocka_unit_test(proposals_count_what_a_trial_teaches_where_noise_is_evident),
                cmocka_unit_test(what_was_tried_is_found_however_it_is_rounded),
                cmocka_unit_test(the_largest_of_all_values_are_told_apart_by_their_sign),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
