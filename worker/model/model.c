/* The model's parameters and its arena. One function lays out all tensors; it runs twice, first without memory to count,
 * then over the mapping, so size and layout cannot disagree. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"

#define CHUNK_FLOATS 32768
#define CHUNK_ROWS 64 /* of the word embeddings */
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* Cuts all parameters into chunks; called with chunks NULL to count. */
static size_t cut_chunks(const struct model *model, struct chunk *chunks) {
        size_t n = 0;
        for (size_t i = 0; i < model->n_parameters; i++) {
                const struct model_parameter *p = &model->parameters[i];
                size_t step = i == WORDS ? CHUNK_ROWS * (size_t)p->cols : CHUNK_FLOATS;
                for (size_t begin = 0; begin < p->size; begin += step, n++)
                        if (chunks)
                                chunks[n] = (struct chunk){.parameter = (uint32_t)i,
                                                           .first_row = i == WORDS ? (int)(begin / (size_t)p->cols) : -1,
                                                           .offset = p->offset + begin,
                                                           .size = p->size - begin < step ? p->size - begin : step};
        }
        return n;
}

/* --- arena ------------------------------------------------------------------------------------------ */
struct arena {
        float *base; /* NULL: only counts */
        size_t used;
};

static float *take(struct arena *arena, size_t rows, size_t cols) {
        float *p = arena->base ? arena->base + arena->used : NULL;
        arena->used += model_align_16(rows * cols);
        return p;
}

/* Room for a matrix as products take it. x: where the matrix itself lies. only: nothing else reads it, it may be overwritten. */
static struct operand take_factor(const struct model *model, struct arena *arena, float *x, bool only, size_t rows, size_t cols) {
        if (!model->limits.bf16 || (only && gemm_makes_in_place(&model->gemm)))
                return (struct operand){x};
        return (struct operand){take(arena, 1, (rows * cols * gemm_operand_bytes(&model->gemm) + sizeof(float) - 1) / sizeof(float))};
}

static struct block lay_out_block(const struct model *model, struct arena *arena, bool last) {
        const size_t dim = (size_t)model->shape.dim, tokens = (size_t)model->limits.max_tokens;
        const size_t rows = last ? (size_t)model->limits.max_sequences : tokens;
        const bool training = model->limits.training;
        const size_t heads = (size_t)model->shape.heads;
        struct block b = {0};
        b.q = take(arena, rows, last ? dim : 3 * dim);
        b.cls = last ? take(arena, rows, dim) : NULL;
        b.u = last ? take(arena, rows * heads, dim) : NULL;
        b.mixed = last && training ? take(arena, rows * heads, dim) : NULL;
        b.sums = last ? take(arena, rows, heads) : NULL;
        b.probabilities = take(arena, rows, kernels_score_floats(model->shape.heads, 1, model->limits.max_length));
        b.context = take(arena, rows, dim);
        b.context_factor = take_factor(model, arena, b.context, true, rows, dim);
        b.x_factor = last ? (struct operand){0} : take_factor(model, arena, NULL, false, tokens, dim);
        b.cls_factor = last ? take_factor(model, arena, NULL, false, rows, dim) : (struct operand){0};
        b.normal1 = training ? take(arena, rows, dim) : NULL;
        b.rstd1 = take(arena, rows, 1);
        b.y1 = take(arena, rows, dim);
        b.y1_factor = take_factor(model, arena, NULL, false, rows, dim);
        b.pre = take(arena, rows, (size_t)model->shape.hidden_dim);
        b.normal2 = training ? take(arena, rows, dim) : NULL;
        b.rstd2 = take(arena, rows, 1);
        return b;
}

static void lay_out_blocks(struct model *model, struct arena *arena) {
        const size_t dim = (size_t)model->shape.dim, tokens = (size_t)model->limits.max_tokens;
        const int layers = model->shape.layers;
        for (int l = 0; l < layers; l++) {
                bool shared = !model->limits.training; /* without backward, two outputs take turns and blocks share the rest */
                model->x[l] = shared && l >= 2 ? model->x[l - 2] : take(arena, tokens, dim);
                if (l < layers - 1)
                        model->blocks[l] = shared && l >= 1 ? model->blocks[0] : lay_out_block(model, arena, false);
        }
        model->blocks[layers - 1] = lay_out_block(model, arena, true);
        model->x[layers] = take(arena, (size_t)model->limits.max_sequences, dim);
}

static void lay_out(struct model *model, struct arena *arena) {
        const struct model_shape *shape = &model->shape;
        const struct model_limits *limits = &model->limits;
        const size_t dim = (size_t)shape->dim, hidden = (size_t)shape->hidden_dim, tokens = (size_t)limits->max_tokens;
        const size_t sequences = (size_t)limits->max_sequences, labels = (size_t)shape->n_labels;
        model->weights = take(arena, 1, model->n_floats);
        model->first_factor = model->parameters[parameter_index(shape, 0, Q_W)].offset;
        model->weight_factors = take_factor(model, arena, arena->base ? model->weights + model->first_factor : NULL, false, 1,
                                            model->n_floats - model->first_factor);
        lay_out_blocks(model, arena);
        model->embed_normal = limits->training ? take(arena, tokens, dim) : NULL;
        model->embed_rstd = take(arena, tokens, 1);
        model->h = limits->training ? take(arena, tokens, hidden) : model->blocks[0].pre;
        model->h_factor = take_factor(model, arena, model->h, true, tokens, hidden);
        model->head_pre = take(arena, sequences, dim);
        model->head_h = take(arena, sequences, dim);
        model->head_factor = take_factor(model, arena, NULL, false, sequences, dim);
        model->head_h_factor = take_factor(model, arena, model->head_h, true, sequences, dim);
        model->logits = take(arena, sequences, labels);
        model->scratch.floats_per_thread =
                kernels_scratch_floats(shape->hidden_dim > shape->dim ? shape->hidden_dim : shape->dim, shape->dim / shape->heads, limits->max_length);
        model->scratch.floats_per_thread = model_align_16(model->scratch.floats_per_thread);
        model->scratch.base = take(arena, (size_t)limits->threads, model->scratch.floats_per_thread);
        if (!limits->training)
                return;
        model->gradients = take(arena, 1, model->n_floats);
        model->moment1 = take(arena, 1, model->n_floats);
        model->moment2 = take(arena, 1, model->n_floats);
        model->d = take(arena, tokens, dim);
        model->d_branch = take(arena, tokens, dim);
        model->d_factor = take_factor(model, arena, NULL, false, tokens, dim);
        model->d_wide = take(arena, tokens, hidden > 3 * dim ? hidden : 3 * dim);
        model->wide_factor = take_factor(model, arena, model->d_wide, true, tokens, hidden > 3 * dim ? hidden : 3 * dim);
        model->d_query = take(arena, sequences, dim);
        model->d_u = take(arena, sequences * (size_t)shape->heads, dim);
        model->d_mixed = take(arena, sequences * (size_t)shape->heads, dim);
        model->d_sums = take(arena, sequences, (size_t)shape->heads);
        model->query_factor = take_factor(model, arena, model->d_query, true, sequences, dim);
        model->d_logits = take(arena, sequences, labels);
        model->logits_factor = take_factor(model, arena, model->d_logits, true, sequences, labels);
        model->head_d_factor = take_factor(model, arena, NULL, false, sequences, dim);
}

/* Maps the arena: zero until touched, in huge pages where the system has them. */
static int map_arena(struct model *model) {
        struct arena arena = {0};
        lay_out(model, &arena);
        model->arena_floats = arena.used;
        size_t bytes = arena.used * sizeof(float) + HUGE_PAGE_BYTES;
        float *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
                return -ENOMEM;
        madvise(base, bytes, MADV_HUGEPAGE);
        model->arena = base;
        arena = (struct arena){.base = (float *)(((uintptr_t)base + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1))};
        lay_out(model, &arena);
        return 0;
}

/* --- lifecycle -------------------------------------------------------------------------------------- */
static int check(const struct model_shape *shape, const struct model_limits *limits, struct error *err) {
        if (shape->dim < 1 || shape->heads < 1 || shape->hidden_dim < 1 || shape->layers < 1 || shape->layers > 1000 ||
            shape->vocab_size < 1 || shape->max_positions < 1 || shape->n_labels < 1)
                return error_set(err, -EINVAL, "model shape: every size must be positive");
        if (shape->dim % shape->heads != 0)
                return error_set(err, -EINVAL, "model shape: dim %d is not a multiple of heads %d", shape->dim, shape->heads);
        if (limits->max_sequences < 1 || limits->max_length < 1 || limits->max_tokens < 1 || limits->threads < 1)
                return error_set(err, -EINVAL, "model limits: every limit must be positive");
        if (limits->max_length > shape->max_positions)
                return error_set(err, -EINVAL, "max_length %d exceeds the model's %d positions", limits->max_length, shape->max_positions);
        return 0;
}

static int allocate(struct model *model) {
        const struct model_shape *shape = &model->shape;
        const size_t layers = (size_t)shape->layers, sequences = (size_t)model->limits.max_sequences;
        model->n_parameters = model_count_parameters(shape);
        model->parameters = calloc(model->n_parameters, sizeof *model->parameters);
        model->x = calloc(layers + 1, sizeof *model->x);
        model->blocks = calloc(layers, sizeof *model->blocks);
        model->word_states = calloc((size_t)shape->vocab_size, 1);
        model->score_offsets = calloc(sequences, sizeof *model->score_offsets);
        model->cls_score_offsets = calloc(sequences, sizeof *model->cls_score_offsets);
        if (!model->parameters || !model->x || !model->blocks || !model->word_states || !model->score_offsets || !model->cls_score_offsets)
                return -ENOMEM;
        model->n_floats = model_describe_parameters(shape, model->parameters);
        model->n_chunks = cut_chunks(model, NULL);
        model->chunks = calloc(model->n_chunks, sizeof *model->chunks);
        model->chunk_sums = calloc(model->n_chunks, sizeof *model->chunk_sums);
        if (!model->chunks || !model->chunk_sums)
                return -ENOMEM;
        cut_chunks(model, model->chunks);
        return model_name_parameters(model);
}

static void release(struct model *model) {
        gemm_fini(&model->gemm);
        if (model->arena)
                munmap(model->arena, model->arena_floats * sizeof(float) + HUGE_PAGE_BYTES);
        for (size_t i = 0; model->parameters && i < model->n_parameters; i++)
                free((char *)model->parameters[i].name);
        free(model->parameters);
        free(model->chunks);
        free(model->chunk_sums);
        free(model->x);
        free(model->blocks);
        free(model->word_states);
        free(model->class_weights);
        free(model->score_offsets);
        free(model->cls_score_offsets);
}

void model_free(struct model *model) {
        if (!model)
                return;
        release(model);
        free(model);
}

/* Every linear layer's products. */
static void prepare_products(struct model *model) {
        const int dim = model->shape.dim, hidden = model->shape.hidden_dim;
        kernels_set_threads(model->limits.threads); /* oneDNN makes its code for a number of threads */
        const struct gemm_layer layers[] = {{3 * dim, dim}, {dim, dim}, {hidden, dim}, {dim, hidden}, {model->shape.n_labels, dim}};
        gemm_init(&model->gemm, gemm_way(model->limits.bf16));
        if (!gemm_prepare(&model->gemm, layers, sizeof layers / sizeof *layers))
                log_warning("oneDNN refuses a matrix product of this model: BLAS computes them", log_s("products", gemm_way_name(model->gemm.way)));
}

int model_new(const struct model_shape *shape, const struct model_limits *limits, struct model **ret, struct error *err) {
        int r = check(shape, limits, err);
        if (r < 0)
                return r;
        struct model *model = calloc(1, sizeof *model);
        if (!model)
                return error_set(err, -ENOMEM, "no memory for a model");
        model->shape = *shape;
        model->limits = *limits;
        model->kernels = kernels_best();
        model->weights_changed = true;
        prepare_products(model);
        r = allocate(model);
        if (r == 0)
                r = map_arena(model);
        if (r < 0) {
                model_free(model);
                return error_set(err, r, "no memory for a model of %zu bytes", model_arena_bytes(shape, limits));
        }
        *ret = model;
        return 0;
}

size_t model_arena_bytes(const struct model_shape *shape, const struct model_limits *limits) {
        struct model model = {.shape = *shape, .limits = *limits};
        struct arena arena = {0};
        size_t n = 0;
        gemm_init(&model.gemm, gemm_way(limits->bf16));
        if (check(shape, limits, NULL) == 0 && allocate(&model) == 0) {
                lay_out(&model, &arena);
                n = arena.used * sizeof(float) + HUGE_PAGE_BYTES;
        }
        release(&model);
        return n;
}

/* --- queries ---------------------------------------------------------------------------------------- */
const struct model_shape *model_shape(const struct model *model) {
        return &model->shape;
}

int model_set_loss(struct model *model, const float *class_weights, double label_smoothing) {
        const size_t bytes = (size_t)model->shape.n_labels * sizeof *class_weights;
        float *copy = class_weights ? malloc(bytes) : NULL;
        if (class_weights && !copy)
                return -ENOMEM;
        if (copy)
                memcpy(copy, class_weights, bytes);
        free(model->class_weights);
        model->class_weights = copy;
        model->loss = (struct loss){.class_weights = copy, .label_smoothing = label_smoothing};
        return 0;
}

size_t model_n_parameters(const struct model *model) {
        return model->n_parameters;
}

const struct model_parameter *model_parameter(const struct model *model, size_t i) {
        return &model->parameters[i];
}

size_t model_n_floats(const struct model *model) {
        return model->n_floats;
}

float *model_weights(struct model *model) {
        model->weights_changed = true;
        return model->weights;
}

const float *model_weights_read(const struct model *model) {
        return model->weights;
}

void model_set_stop(struct model *model, const volatile sig_atomic_t *stop) {
        model->stop = stop;
}

float *model_gradients(struct model *model) {
        return model->gradients;
}

float *model_moment1(struct model *model) {
        return model->moment1;
}

float *model_moment2(struct model *model) {
        return model->moment2;
}

const float *model_hidden(const struct model *model, int i) {
        return model->limits.training || i == model->shape.layers ? model->x[i] : NULL;
}

const struct gemm_meter *model_gemm_meter(const struct model *model) {
        return &model->gemm.meter;
}

void model_gemm_work(const struct model *model, double *ret_seconds, double *ret_flops) {
        const struct gemm_meter *meter = model_gemm_meter(model);
        *ret_seconds = meter->seconds;
        *ret_flops = meter->flops;
}

const char *model_products(const struct model *model) {
        return gemm_way_name(model->gemm.way);
}
