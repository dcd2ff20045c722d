/* Times whole optimizer steps (forward, backward, norm, clip, AdamW) on random weights and ids, each batch measured once
 * after one batch to warm up; or, with --eval, passes over 408 pairs. The sentence lengths alone decide the speed: they
 * come from a file or are drawn like those of MRPC.
 *
 * With --limit the library then computes the step's own matrix products one by one, each several times in a row, and the
 * quickest counts: what a step would take if products ran like that and all else took ELSE_S. */
#include "trainer/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/json.h"
#include "common/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "model/model.h"

#define BATCH_SIZE 16
#define EVAL_BATCH_SIZE 32 /* as a training evaluates by default */
#define EVAL_PAIRS 408
#define MAX_LENGTH 512
#define MAX_LINE_BYTES 65536
#define MAX_STEPS 10000
#define ELSE_S 0.07 /* all that is not a product in a step of DistilBERT-base on two good cores: the optimizer, and one pass over everything else */
#define LIMIT_REPEATS 5

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)
CLEANUP_DEFINE(struct model *, cleanup_model, model_free)

static const struct config_option options[] = {
        {.name = "precision", .type = CONFIG_TEXT, .argument = "f32|bf16", .fallback = "f32", .help = "of the matrix products"},
        {.name = "threads", .type = CONFIG_INTEGER, .argument = "N", .fallback = "2", .low = 1, .high = 1024, .help = "of kernels and BLAS"},
        {.name = "steps", .type = CONFIG_INTEGER, .argument = "N", .fallback = "7", .low = 1, .high = MAX_STEPS, .help = "to measure"},
        {.name = "shape", .type = CONFIG_TEXT, .argument = "NAME", .fallback = "distilbert-base", .help = "distilbert-base or minilm-l6"},
        {.name = "lengths", .type = CONFIG_TEXT, .argument = "FILE", .help = "pair lengths, one batch a line (default: drawn like MRPC's)"},
        {.name = "limit", .type = CONFIG_FLAG, .fallback = "false", .help = "also measure the products alone, and the step's share of that limit"},
        {.name = "eval", .type = CONFIG_FLAG, .fallback = "false", .help = "time passes over 408 pairs instead of training steps"},
        {0},
};
static const struct config_program program = {
        .name = "sweep-trainer bench",
        .usage = "[OPTION…]",
        .summary = "Measures training steps with random weights and prints one JSON object.",
        .options = options,
};

static const struct shape_name {
        const char *name;
        struct model_shape shape;
} shapes[] = {
        {"distilbert-base", {.dim = 768, .heads = 12, .hidden_dim = 3072}},
        {"minilm-l6", {.dim = 384, .heads = 12, .hidden_dim = 1536}},
};

struct bench {
        struct model_shape shape;
        int threads, n_steps;
        bool eval, bf16, limit;
        struct batch *batches; /* n_steps + 1 of them, the first to warm up; or those of one evaluation */
        size_t n_batches;
        struct model *model;
        double *step_s, *optimizer_s; /* [n_steps] */
        double tokens, pairs;         /* of all measured steps */
        double gemm_flops, gemm_s;
        double best_flops, best_s; /* --limit: the products of one step at their quickest */
        double peak_rss_mib;       /* before that */
};

static void bench_fini(struct bench *bench) {
        for (size_t i = 0; i < bench->n_batches; i++) {
                free((int32_t *)bench->batches[i].ids);
                free((int32_t *)bench->batches[i].offsets);
                free((int32_t *)bench->batches[i].labels);
        }
        free(bench->batches);
        free(bench->step_s);
        free(bench->optimizer_s);
        model_free(bench->model);
}

static double now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- batches ---------------------------------------------------------------------------------------- */
static int draw_length(struct rng *rng) {
        double length = rint(53 + 14 * rng_normal(rng));
        return (int)fmin(110, fmax(20, length));
}

static int add_batch(struct bench *bench, const int *lengths, int n, struct rng *rng, struct error *err) {
        struct batch *grown = realloc(bench->batches, (bench->n_batches + 1) * sizeof *grown);
        if (!grown)
                return error_set(err, -ENOMEM, "out of memory");
        bench->batches = grown;
        int n_tokens = 0;
        for (int s = 0; s < n; s++)
                n_tokens += lengths[s];
        int32_t *ids = calloc((size_t)n_tokens, sizeof *ids), *offsets = calloc((size_t)n + 1, sizeof *offsets);
        int32_t *labels = calloc((size_t)n, sizeof *labels);
        bench->batches[bench->n_batches++] =
                (struct batch){.n_sequences = n, .n_tokens = n_tokens, .ids = ids, .offsets = offsets, .labels = labels};
        if (!ids || !offsets || !labels)
                return error_set(err, -ENOMEM, "out of memory");
        for (int t = 0; t < n_tokens; t++)
                ids[t] = (int32_t)(1 + rng_below(rng, (uint64_t)bench->shape.vocab_size - 1));
        for (int s = 0; s < n; s++) {
                offsets[s + 1] = offsets[s] + lengths[s];
                labels[s] = (int32_t)rng_below(rng, 2);
        }
        return 0;
}

/* One line of a lengths file. */
static int read_line(struct bench *bench, char *line, struct rng *rng, struct error *err) {
        int lengths[1024], n = 0;
        for (char *end; n < 1024; line = end) {
                long length = strtol(line, &end, 10);
                if (end == line)
                        break;
                if (length < 1 || length > MAX_LENGTH)
                        return error_set(err, -EINVAL, "a length must be from 1 to %d", MAX_LENGTH);
                lengths[n++] = (int)length;
        }
        if (line[strspn(line, " \t\r\n")] != '\0')
                return error_set(err, -EINVAL, "not a list of at most 1024 lengths");
        return n > 0 ? add_batch(bench, lengths, n, rng, err) : 0;
}

static int read_batches(struct bench *bench, const char *path, struct rng *rng, struct error *err) {
        _cleanup_file_ FILE *file = fopen(path, "re");
        _cleanup_free_ char *line = malloc(MAX_LINE_BYTES);
        if (!file || !line)
                return error_set(err, -errno, "%s: %s", path, strerror(errno));
        while (bench->n_batches <= (size_t)bench->n_steps && fgets(line, MAX_LINE_BYTES, file)) {
                int r = read_line(bench, line, rng, err);
                if (r < 0) {
                        error_prefix(err, "%s", path);
                        return r;
                }
        }
        return bench->n_batches > 0 ? 0 : error_set(err, -EINVAL, "%s: no lengths", path);
}

static int compare_ints(const void *a, const void *b) {
        return *(const int *)a - *(const int *)b;
}

/* Training draws a batch a step; evaluation draws all pairs and sorts them, as the trainer does. */
static int draw_batches(struct bench *bench, struct rng *rng, struct error *err) {
        int lengths[EVAL_PAIRS], n = bench->eval ? EVAL_PAIRS : BATCH_SIZE, size = bench->eval ? EVAL_BATCH_SIZE : BATCH_SIZE, r = 0;
        for (int step = 0; r == 0 && step <= (bench->eval ? 0 : bench->n_steps); step++) {
                for (int i = 0; i < n; i++)
                        lengths[i] = draw_length(rng);
                if (bench->eval)
                        qsort(lengths, (size_t)n, sizeof *lengths, compare_ints);
                for (int i = 0; r == 0 && i < n; i += size)
                        r = add_batch(bench, lengths + i, n - i < size ? n - i : size, rng, err);
        }
        return r;
}

/* --- running ---------------------------------------------------------------------------------------- */
static int make_model(struct bench *bench, struct rng *rng, struct error *err) {
        struct model_limits limits = {.max_length = MAX_LENGTH, .training = !bench->eval, .threads = bench->threads, .bf16 = bench->bf16};
        for (size_t i = 0; i < bench->n_batches; i++) {
                const struct batch *batch = &bench->batches[i];
                limits.max_sequences = batch->n_sequences > limits.max_sequences ? batch->n_sequences : limits.max_sequences;
                limits.max_tokens = batch->n_tokens > limits.max_tokens ? batch->n_tokens : limits.max_tokens;
        }
        int r = model_new(&bench->shape, &limits, &bench->model, err);
        for (size_t i = 0; r == 0 && i < model_n_parameters(bench->model); i++) {
                const struct model_parameter *p = model_parameter(bench->model, i);
                float *weights = model_weights(bench->model) + p->offset;
                bool norm = p->n_dims == 1 && strstr(p->name, "norm.weight"), embed_norm = strstr(p->name, "LayerNorm.weight") != NULL;
                for (size_t j = 0; j < p->size; j++) /* uniform of deviation 0.02: as good as normal here, and quicker */
                        weights[j] = norm || embed_norm ? 1 : p->n_dims == 1 ? 0 : (float)((rng_uniform(rng) - 0.5) * 0.02 * sqrt(12));
        }
        return r;
}

static void run_step(struct bench *bench, const struct batch *batch, uint64_t t, double *ret_step_s, double *ret_optimizer_s) {
        const struct dropout dropout = {.hidden = 0.1f, .attention = 0.1f, .classifier = 0.2f, .seed = 1, .step = t};
        const struct adamw adamw = {
                .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .max_grad_norm = 1, .layerwise_lr_decay = 1};
        double begin_s = now_s();
        model_forward_backward(bench->model, batch, &dropout, 1, NULL);
        double middle_s = now_s(), norm = model_gradient_norm(bench->model);
        model_adamw_step(bench->model, &adamw, 2e-5, t, model_clip_coefficient(&adamw, norm));
        double end_s = now_s();
        *ret_step_s = end_s - begin_s;
        *ret_optimizer_s = end_s - middle_s;
}

static void run_evaluation(struct bench *bench, double *ret_step_s) {
        float logits[1024 * 2];
        double begin_s = now_s();
        for (size_t i = 0; i < bench->n_batches; i++)
                model_forward(bench->model, &bench->batches[i], logits);
        *ret_step_s = now_s() - begin_s;
}

static void run(struct bench *bench) {
        const struct gemm_meter *meter = model_gemm_meter(bench->model);
        struct gemm_meter before = {0};
        for (int step = -1; step < bench->n_steps; step++) { /* step -1 warms up */
                const struct batch *batch = &bench->batches[(size_t)(step + 1) % bench->n_batches];
                double step_s, optimizer_s = 0;
                if (bench->eval)
                        run_evaluation(bench, &step_s);
                else
                        run_step(bench, batch, (uint64_t)step + 2, &step_s, &optimizer_s);
                if (step < 0) {
                        before = *meter;
                        continue;
                }
                bench->step_s[step] = step_s;
                bench->optimizer_s[step] = optimizer_s;
                for (size_t i = 0; i < (bench->eval ? bench->n_batches : 1); i++) {
                        bench->tokens += bench->eval ? bench->batches[i].n_tokens : batch->n_tokens;
                        bench->pairs += bench->eval ? bench->batches[i].n_sequences : batch->n_sequences;
                }
        }
        bench->gemm_flops = meter->flops - before.flops;
        bench->gemm_s = meter->seconds - before.seconds;
}

/* --- limit ------------------------------------------------------------------------------------------ */
/* A linear layer of the model, how often a step has it, and whether it works on all tokens or on one row a sequence. */
struct linear {
        struct gemm_layer layer;
        int times;
        bool tokens;
};

struct factors {
        float *x, *w, *y; /* [rows, in], [out, in], [rows, out] */
        struct operand x_room, w_room, y_room;
};

static void factors_fini(struct factors *f) {
        free(f->x), free(f->w), free(f->y), free(f->x_room.at), free(f->w_room.at), free(f->y_room.at);
}

static float *fill(size_t n) {
        float *x = calloc(n, sizeof *x);
        for (size_t i = 0; x && i < n; i++)
                x[i] = 0.001f * (float)(1 + i * 2654435761u % 1000);
        return x;
}

static bool factors_init(struct factors *f, size_t rows, size_t out, size_t in) {
        *f = (struct factors){fill(rows * in), fill(out * in), fill(rows * out),
                              {calloc(rows * in, sizeof(float))}, {calloc(out * in, sizeof(float))}, {calloc(rows * out, sizeof(float))}};
        return f->x && f->w && f->y && f->x_room.at && f->w_room.at && f->y_room.at;
}

/* The quickest of several: y, dx and dw one after the other. */
static int measure_layer(struct bench *bench, struct gemm *gemm, const struct linear *linear, int rows) {
        const int out = linear->layer.out, in = linear->layer.in, products = bench->eval ? 1 : 3;
        _cleanup_(factors_fini) struct factors f;
        double best_s[3] = {HUGE_VAL, HUGE_VAL, HUGE_VAL};
        if (!factors_init(&f, (size_t)rows, (size_t)out, (size_t)in))
                return -ENOMEM;
        struct operand x = gemm_operand(gemm, f.x_room, f.x, (size_t)rows * (size_t)in);
        struct operand w = gemm_operand(gemm, f.w_room, f.w, (size_t)out * (size_t)in);
        struct operand y = gemm_operand(gemm, f.y_room, f.y, (size_t)rows * (size_t)out);
        for (int product = 0; product < products; product++)
                for (int i = 0; i <= LIMIT_REPEATS; i++) { /* repeat 0 warms up; operands of bfloat16 lie apart from the results */
                        double begin_s = now_s();
                        if (product == 0)
                                gemm_forward(gemm, f.y, x, w, rows, out, in);
                        else if (product == 1)
                                gemm_backward_input(gemm, f.x, y, w, 1, rows, out, in);
                        else
                                gemm_backward_weight(gemm, f.w, y, x, rows, out, in);
                        if (i > 0)
                                best_s[product] = fmin(best_s[product], now_s() - begin_s);
                }
        for (int product = 0; product < products; product++) {
                bench->best_s += linear->times * best_s[product];
                bench->best_flops += 2.0 * linear->times * rows * out * in;
        }
        return 0;
}

/* On a batch of the mean number of tokens. */
static int measure_limit(struct bench *bench, struct error *err) {
        const int dim = bench->shape.dim, hidden = bench->shape.hidden_dim, blocks = bench->shape.layers - 1;
        const struct linear linears[] = {
                {{3 * dim, dim}, blocks, true}, {{dim, dim}, blocks, true}, {{hidden, dim}, blocks, true}, {{dim, hidden}, blocks, true},
                {{dim, dim}, 5, false}, {{hidden, dim}, 1, false}, {{dim, hidden}, 1, false}, /* the last block: q, k, v, output; feed-forward; head */
                {{bench->shape.n_labels, dim}, 1, false},
        };
        struct gemm_layer layers[sizeof linears / sizeof *linears];
        const size_t n = sizeof linears / sizeof *linears;
        double batches = (double)bench->n_steps * (bench->eval ? (double)bench->n_batches : 1);
        int tokens = (int)rint(bench->tokens / batches), sequences = (int)rint(bench->pairs / batches), r = 0;
        struct gemm gemm;
        for (size_t i = 0; i < n; i++)
                layers[i] = linears[i].layer;
        gemm_init(&gemm, gemm_way(bench->bf16));
        gemm_prepare(&gemm, layers, n);
        for (size_t i = 0; i < n && r == 0; i++)
                r = measure_layer(bench, &gemm, &linears[i], linears[i].tokens ? tokens : sequences);
        gemm_fini(&gemm);
        return r < 0 ? error_set(err, r, "out of memory") : 0;
}

/* --- reporting -------------------------------------------------------------------------------------- */
static int compare_doubles(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, int n) {
        qsort(values, (size_t)n, sizeof *values, compare_doubles);
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double rounded(double value) {
        return value == 0 ? 0 : rint(value * 1e5) / 1e5;
}

static double peak_rss_mib(void) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return (double)usage.ru_maxrss / 1024;
}

/* What the products of a step (or of an evaluation) take at their best, and the rest. */
static void add_limit(json_t *line, const struct bench *bench, double step_s) {
        double gemm_s = bench->gemm_flops / bench->n_steps / (bench->best_flops / bench->best_s);
        double limit_s = gemm_s + (bench->eval ? 0 : ELSE_S);
        json_object_set_new(line, "limit", json_pack("{s:f, s:f, s:f, s:f}", "gemm_gflops", rounded(bench->best_flops / bench->best_s * 1e-9), "gemm_s",
                                                     rounded(gemm_s), "step_s", rounded(limit_s), "share", rounded(limit_s / step_s)));
}

static int print(struct bench *bench, const char *shape) {
        double total_s = 0;
        for (int i = 0; i < bench->n_steps; i++)
                total_s += bench->step_s[i];
        double step_s = median(bench->step_s, bench->n_steps), optimizer_s = median(bench->optimizer_s, bench->n_steps);
        _cleanup_json_ json_t *line = json_pack(
                "{s:s, s:s, s:i, s:i, s:{s:f, s:f, s:f}, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:s, s:s}, s:s, s:s}", "shape", shape, "precision", bench->bf16 ? "bf16" : "f32",
                "threads", bench->threads, "steps", bench->n_steps, "step_s", "median", rounded(step_s), "min", rounded(bench->step_s[0]), "max",
                rounded(bench->step_s[bench->n_steps - 1]), "examples_per_s", rounded(bench->pairs / bench->n_steps / step_s), "tokens_per_step",
                rounded(bench->tokens / bench->n_steps), "gemm_gflops", rounded(bench->gemm_flops / bench->gemm_s * 1e-9), "gemm_share",
                rounded(bench->gemm_s / total_s), "optimizer_s", rounded(optimizer_s), "peak_rss_mib", rounded(bench->peak_rss_mib),
                "blas", "library", gemm_library(), "core", gemm_core(), "kernels", kernels_best()->name,
                "products", model_products(bench->model));
        if (line && bench->limit)
                add_limit(line, bench, step_s);
        _cleanup_free_ char *text = line ? json_text(line) : NULL;
        return text && puts(text) >= 0 && fflush(stdout) == 0 ? 0 : -EIO;
}

static int bench_run(const struct config *config, struct error *err) {
        _cleanup_(bench_fini) struct bench bench = {
                .threads = (int)config_integer(config, "threads"),
                .n_steps = (int)config_integer(config, "steps"),
                .eval = config_flag(config, "eval"),
                .limit = config_flag(config, "limit"),
                .bf16 = strcmp(config_text(config, "precision"), "bf16") == 0,
        };
        const char *shape = config_text(config, "shape"), *lengths = config_text(config, "lengths");
        struct rng rng;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
                if (strcmp(shapes[i].name, shape) == 0)
                        bench.shape = shapes[i].shape;
        bench.shape.layers = 6;
        bench.shape.vocab_size = 30522;
        bench.shape.max_positions = MAX_LENGTH;
        bench.shape.n_labels = 2;
        bench.step_s = calloc((size_t)bench.n_steps, sizeof *bench.step_s);
        bench.optimizer_s = calloc((size_t)bench.n_steps, sizeof *bench.optimizer_s);
        if (!bench.step_s || !bench.optimizer_s)
                return error_set(err, -ENOMEM, "out of memory");
        rng_init(&rng, 1, 0);
        int r = lengths ? read_batches(&bench, lengths, &rng, err) : draw_batches(&bench, &rng, err);
        if (r == 0)
                r = make_model(&bench, &rng, err);
        if (r < 0)
                return r;
        run(&bench);
        bench.peak_rss_mib = peak_rss_mib();
        r = bench.limit ? measure_limit(&bench, err) : 0;
        return r < 0 ? r : print(&bench, shape);
}

static int check(const struct config *config, struct error *err) {
        const char *shape = config_text(config, "shape"), *precision = config_text(config, "precision");
        bool known = false;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
                known = known || strcmp(shapes[i].name, shape) == 0;
        if (!known)
                return error_set(err, -EINVAL, "shape: distilbert-base or minilm-l6, not '%s'", shape);
        if (strcmp(precision, "bf16") != 0 && strcmp(precision, "f32") != 0)
                return error_set(err, -EINVAL, "precision: f32 or bf16, not '%s'", precision);
        return 0;
}

int bench_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return 0;
        if (r == 0)
                r = check(config, &err);
        if (r < 0) {
                fprintf(stderr, "sweep-trainer bench: %s\n", err.text);
                return 2;
        }
        if (bench_run(config, &err) < 0) {
                fprintf(stderr, "sweep-trainer bench: %s\n", err.text);
                return 1;
        }
        return 0;
}
