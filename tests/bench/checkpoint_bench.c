/* What checkpoints cost: training steps of a full-size model without, with one written beside them, and with one after the
 * other, in turns. Prints one JSON object.
 *
 *     build/tests/checkpoint_bench [--threads N] [--rounds N] [--steps N] FOLDER
 *
 * cost_s is what one checkpoint adds to the steps; share_at_60_s what that is of a minute; share_back_to_back what it is of
 * all time where a new one begins as soon as the one before is on the disk. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/error.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/rng.h"
#include "model/model.h"
#include "train/saver.h"

#define BATCH_SIZE 16
#define LENGTH 53
#define MAX_ROUNDS 100

enum mode { WITHOUT, ONE, BACK_TO_BACK, N_MODES };

struct bench {
        struct model *model;
        struct saver *saver;
        struct saver_work work;
        struct best_folders folders;
        int32_t ids[BATCH_SIZE * LENGTH], offsets[BATCH_SIZE + 1], labels[BATCH_SIZE];
        uint64_t step, n_saved, took_ms;
        double waited_s;
};

static double now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_model(struct bench *bench, int threads, struct error *err) {
        const struct model_shape shape = {
                .dim = 768, .heads = 12, .hidden_dim = 3072, .layers = 6, .vocab_size = 30522, .max_positions = 512, .n_labels = 2};
        const struct model_limits limits = {
                .max_sequences = BATCH_SIZE, .max_tokens = BATCH_SIZE * LENGTH, .max_length = LENGTH, .training = true, .threads = threads};
        struct rng rng;
        rng_init(&rng, 1, 0);
        int r = model_new(&shape, &limits, &bench->model, err);
        for (size_t i = 0; r == 0 && i < model_n_parameters(bench->model); i++) {
                const struct model_parameter *p = model_parameter(bench->model, i);
                float *weights = model_weights(bench->model) + p->offset;
                for (size_t j = 0; j < p->size; j++)
                        weights[j] = p->n_dims == 1 ? (float)(strstr(p->name, "orm.weight") != NULL) : (float)(rng_uniform(&rng) - 0.5) * 0.07f;
        }
        for (int t = 0; t < BATCH_SIZE * LENGTH; t++)
                bench->ids[t] = (int32_t)(1 + rng_below(&rng, (uint64_t)shape.vocab_size - 1));
        for (int s = 0; s <= BATCH_SIZE; s++)
                bench->offsets[s] = s * LENGTH;
        return r;
}

static int begin_saving(struct bench *bench, struct error *err) {
        uint64_t took_ms;
        int r = saver_finish(bench->saver, UINT64_MAX, &took_ms, err);
        bench->n_saved += took_ms > 0;
        bench->took_ms += took_ms;
        if (r == 0)
                saver_start(bench->saver, &bench->work);
        return r;
}

static void run_step(struct bench *bench) {
        const struct batch batch = {
                .n_sequences = BATCH_SIZE, .n_tokens = BATCH_SIZE * LENGTH, .ids = bench->ids, .offsets = bench->offsets, .labels = bench->labels};
        const struct adamw adamw = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1, .layerwise_lr_decay = 1};
        const struct dropout dropout = {.hidden = 0.1f, .attention = 0.1f, .classifier = 0.2f, .seed = 1, .step = bench->step++};
        model_forward_backward(bench->model, &batch, &dropout, 1, NULL);
        double norm = model_gradient_norm(bench->model);
        bench->waited_s += (double)saver_wait_arrays(bench->saver) / 1000;
        model_adamw_step(bench->model, &adamw, 2e-5, bench->step, model_clip_coefficient(&adamw, norm));
}

/* Seconds that n steps take. */
static int run_steps(struct bench *bench, enum mode mode, int n, double *ret_s, struct error *err) {
        double begin_s = now_s();
        int r = 0;
        for (int i = 0; r == 0 && i < n; i++) {
                if ((mode == ONE && i == 0) || (mode == BACK_TO_BACK && !saver_is_busy(bench->saver)))
                        r = begin_saving(bench, err);
                if (r == 0)
                        run_step(bench);
        }
        *ret_s = now_s() - begin_s;
        uint64_t took_ms = 0;
        if (r == 0)
                r = saver_finish(bench->saver, UINT64_MAX, &took_ms, err);
        bench->n_saved += took_ms > 0;
        bench->took_ms += took_ms;
        return r;
}

static int compare_doubles(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static double median(double *values, int n) {
        qsort(values, (size_t)n, sizeof *values, compare_doubles);
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void print(struct bench *bench, double seconds[N_MODES][MAX_ROUNDS], int threads, int rounds, int steps) {
        double cost[MAX_ROUNDS], share[MAX_ROUNDS];
        struct rusage usage;
        for (int i = 0; i < rounds; i++) {
                cost[i] = seconds[ONE][i] - seconds[WITHOUT][i];
                share[i] = 1 - seconds[WITHOUT][i] / seconds[BACK_TO_BACK][i];
        }
        getrusage(RUSAGE_SELF, &usage);
        double cost_s = median(cost, rounds);
        json_t *line = json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "threads", threads, "rounds", rounds, "steps", steps,
                                 "checkpoint_mib", (double)model_n_floats(bench->model) * 12 / 1048576, "step_s",
                                 median(seconds[WITHOUT], rounds) / steps, "written_in_s", (double)bench->took_ms / 1000 / (double)bench->n_saved,
                                 "waited_s", bench->waited_s / (double)bench->n_saved, "cost_s", cost_s, "share_at_60_s", cost_s / 60,
                                 "share_back_to_back", median(share, rounds), "peak_rss_mib", (double)usage.ru_maxrss / 1024);
        char *text = line ? json_text(line) : NULL;
        puts(text ? text : "out of memory");
        free(text);
        json_decref(line);
}

static int run(struct bench *bench, const char *folder, int threads, int rounds, int steps, struct error *err) {
        static double seconds[N_MODES][MAX_ROUNDS];
        static char state[256];
        json_t *identity = json_object();
        bench->folders = (struct best_folders){.checkpoint = folder};
        int r = fs_make_dirs(folder, 0700, err);
        if (r == 0)
                r = open_model(bench, threads, err);
        if (r == 0)
                r = saver_new(&bench->saver, err);
        if (r == 0) {
                bench->work = (struct saver_work){.model = bench->model, .folders = &bench->folders, .checkpoint = true};
                bench->work.content = (struct checkpoint){
                        .identity = identity,
                        .state = state,
                        .state_bytes = sizeof state,
                        .arrays = {model_weights(bench->model), model_moment1(bench->model), model_moment2(bench->model)},
                        .n_floats = model_n_floats(bench->model)};
                run_step(bench);
                run_step(bench);
        }
        for (int i = 0; r == 0 && i < rounds; i++)
                for (int mode = 0; r == 0 && mode < N_MODES; mode++)
                        r = run_steps(bench, (enum mode)mode, steps, &seconds[mode][i], err);
        if (r == 0)
                print(bench, seconds, threads, rounds, steps);
        saver_free(bench->saver);
        model_free(bench->model);
        json_decref(identity);
        return r;
}

int main(int argc, char **argv) {
        int threads = 2, rounds = 3, steps = 10, i = 1;
        for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
                int *option = strcmp(argv[i], "--threads") == 0 ? &threads : strcmp(argv[i], "--rounds") == 0 ? &rounds : &steps;
                *option = (int)strtol(argv[i + 1], NULL, 10);
        }
        if (i != argc - 1 || threads < 1 || rounds < 1 || rounds > MAX_ROUNDS || steps < 1) {
                fputs("usage: checkpoint_bench [--threads N] [--rounds N] [--steps N] FOLDER\n", stderr);
                return 2;
        }
        static struct bench bench;
        struct error err = {0};
        int r = run(&bench, argv[i], threads, rounds, steps, &err);
        if (r < 0)
                fprintf(stderr, "checkpoint_bench: %s\n", err.text);
        return r < 0;
}
