/* Each opener below maps what can go wrong in it to one reason of the contract; the first that fails ends the training
 * with that outcome. */
#include "train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/memory.h"
#include "data/data.h"
#include "model/folder.h"
#include "train/loop.h"

#define BLAS_BUFFER_BYTES ((size_t)128 << 20) /* of OpenBLAS on x86-64, a thread */
#define TOUCHED_BYTES ((size_t)48 << 20)      /* of them and of oneDNN's, as seen */

/* What is only needed until the examples are encoded. */
struct sources {
        struct tokenizer *tokenizer;
        struct dataset *dataset;
        char data_sha256[DIGEST_HEX_SIZE];
};

static int open_folders(const struct job *job, struct outcome *outcome) {
        const char *const folders[] = {job->checkpoint_dir, job->output_dir};
        for (size_t i = 0; i < 2; i++) {
                struct error err = {0};
                int r = folders[i] ? fs_make_dirs(folders[i], 0755, &err) : 0;
                if (r < 0)
                        return loop_fail(outcome, "io", r, "%s: %s", i == 0 ? "checkpoint_dir" : "output_dir", err.text);
        }
        return 0;
}

static int open_shape(const struct job *job, struct model_shape *ret, struct settings *settings, struct outcome *outcome) {
        struct error err = {0};
        int r = model_folder_read_shape(job->model, ret, &err);
        if (r < 0)
                return loop_fail(outcome, "bad_model", r, "%s", err.text);
        ret->n_labels = settings_task(settings)->n_labels;
        r = settings_fit_model(settings, ret, &err);
        return r < 0 ? loop_fail(outcome, "bad_config", r, "%s", err.text) : 0;
}

static int open_tokenizer(const struct job *job, const struct model_shape *shape, struct tokenizer **ret, struct outcome *outcome) {
        struct error err = {0};
        _cleanup_free_ char *path = fs_join(job->model, "vocab.txt");
        if (!path)
                return loop_fail(outcome, "bad_model", -ENOMEM, "out of memory");
        int r = tokenizer_open(path, ret, &err);
        if (r < 0)
                return loop_fail(outcome, "bad_model", r, "%s", err.text);
        size_t n = tokenizer_vocab_size(*ret);
        if (n > (size_t)shape->vocab_size)
                return loop_fail(outcome, "bad_model", 0, "%s has %zu tokens, but vocab_size of config.json is %d", path, n,
                                 shape->vocab_size);
        return 0;
}

static int open_dataset(const struct job *job, struct dataset **ret, struct outcome *outcome) {
        struct error err = {0};
        int r = dataset_open(job->data, settings_task(&job->settings), ret, &err);
        if (r < 0)
                return loop_fail(outcome, "bad_data", r, "%s", err.text);
        if ((*ret)->train.n == 0 || (*ret)->dev.n == 0)
                return loop_fail(outcome, "bad_data", 0, "%s has no %s rows", job->data, (*ret)->train.n == 0 ? "training" : "dev");
        return 0;
}

static int encode(struct training *t, const struct settings *settings, const struct sources *sources) {
        struct error err = {0};
        enum truncation mode = (enum truncation)settings->truncation;
        size_t length = (size_t)settings->max_seq_length;
        int r = examples_encode(&sources->dataset->train, (size_t)settings->limit_train, sources->tokenizer, mode, length, &t->train, &err);
        if (r < 0)
                return loop_fail(t->outcome, "bad_data", r, "training data, %s", err.text);
        r = examples_encode(&sources->dataset->dev, (size_t)settings->limit_eval, sources->tokenizer, mode, length, &t->eval, &err);
        return r < 0 ? loop_fail(t->outcome, "bad_data", r, "dev data, %s", err.text) : 0;
}

static int open_sources(struct training *t, struct job *job, struct model_shape *shape, struct sources *sources) {
        int r = open_folders(job, t->outcome);
        if (r == 0)
                r = open_shape(job, shape, &job->settings, t->outcome);
        if (r == 0)
                r = open_tokenizer(job, shape, &sources->tokenizer, t->outcome);
        if (r == 0)
                r = open_dataset(job, &sources->dataset, t->outcome);
        if (r == 0)
                r = encode(t, &job->settings, sources);
        if (r == 0)
                memcpy(sources->data_sha256, sources->dataset->sha256, sizeof sources->data_sha256);
        return r;
}

static size_t least(size_t a, size_t b) {
        return a < b ? a : b;
}

static size_t most(size_t a, size_t b) {
        return a > b ? a : b;
}

static unsigned long long mib(uint64_t bytes) {
        return (unsigned long long)(bytes >> 20);
}

struct train_need train_need(const struct model_shape *shape, const struct model_limits *limits) {
        uint64_t threads = (uint64_t)limits->threads, arena = model_arena_bytes(shape, limits);
        return (struct train_need){arena, arena + threads * TOUCHED_BYTES, arena + threads * BLAS_BUFFER_BYTES};
}

/* Too little memory is found out here, with the sizes, and not by the kernel in the middle of a trial. OpenBLAS would even
 * wait for ever for buffers that there is no address space for. */
static int check_room(struct training *t, const struct model_shape *shape, const struct model_limits *limits) {
        struct memory_room room;
        const struct train_need need = train_need(shape, limits);
        memory_look("", &room);
        if (need.resident_bytes <= room.resident_bytes && need.address_bytes <= room.address_bytes)
                return 0;
        bool is_resident = need.resident_bytes > room.resident_bytes;
        uint64_t bytes = is_resident ? need.resident_bytes : need.address_bytes;
        return loop_fail(t->outcome, "out_of_memory", 0,
                         "needs %llu MiB%s, %llu MiB available by the %s: %llu MiB of model, %d tokens a batch, %llu MiB of buffers for %d threads",
                         mib(bytes), is_resident ? "" : " of address space", mib(is_resident ? room.resident_bytes : room.address_bytes),
                         is_resident ? room.resident_from : "process limit", mib(need.arena_bytes), limits->max_tokens, mib(bytes - need.arena_bytes),
                         limits->threads);
}

static int make_model(struct training *t, const struct model_shape *shape) {
        const struct settings *settings = &t->job->settings;
        size_t train_size = least(t->train.n, (size_t)settings->train_batch_size),
               eval_size = least(t->eval.n, (size_t)settings->eval_batch_size);
        size_t tokens = most(examples_most_tokens(&t->train, train_size), examples_most_tokens(&t->eval, eval_size));
        size_t sequences = most(train_size, eval_size);
        if (tokens == 0 || tokens > INT32_MAX || pack_init(&t->pack, sequences, tokens) < 0)
                return loop_fail(t->outcome, "out_of_memory", 0, "a batch of %zu sequences and %zu tokens is too large", sequences, tokens);
        struct model_limits limits = {.max_sequences = (int)sequences,
                                      .max_tokens = (int)tokens,
                                      .max_length = (int)most(examples_longest(&t->train), examples_longest(&t->eval)),
                                      .training = true,
                                      .threads = t->job->threads,
                                      .bf16 = settings->precision == PRECISION_BF16};
        struct error err = {0};
        int r = check_room(t, shape, &limits);
        if (r != 0)
                return r;
        r = model_new(shape, &limits, &t->model, &err);
        return r < 0 ? loop_fail(t->outcome, "bad_model", r, "%s", err.text) : 0;
}

static int make_arrays(struct training *t) {
        size_t rows = t->eval.n + least(t->eval.n, (size_t)t->job->settings.eval_batch_size);
        t->order = calloc(t->train.n, sizeof *t->order);
        t->eval_order = calloc(t->eval.n, sizeof *t->eval_order);
        t->eval_predictions = calloc(t->eval.n, sizeof *t->eval_predictions);
        t->eval_logits = calloc(rows * (size_t)model_shape(t->model)->n_labels, sizeof *t->eval_logits);
        if (!t->order || !t->eval_order || !t->eval_predictions || !t->eval_logits)
                return loop_fail(t->outcome, "out_of_memory", -ENOMEM, "out of memory for the evaluation");
        examples_sort(&t->eval, t->eval_order);
        return 0;
}

/* Step counts, schedule and optimizer from the settings. */
static void make_plan(struct training *t) {
        const struct settings *settings = &t->job->settings;
        size_t size = (size_t)settings->train_batch_size;
        t->batches_per_epoch = (t->train.n + size - 1) / size;
        uint64_t per_epoch = schedule_steps_per_epoch(t->batches_per_epoch, (uint64_t)settings->gradient_accumulation_steps);
        t->total_steps = schedule_total_steps(per_epoch, settings->epochs);
        t->schedule = (struct schedule){.kind = (enum schedule_kind)settings->lr_scheduler_type,
                                        .warmup_steps = settings->warmup_steps >= 0
                                                                ? (uint64_t)settings->warmup_steps
                                                                : schedule_warmup_from_ratio(t->total_steps, settings->warmup_ratio),
                                        .total_steps = t->total_steps,
                                        .learning_rate = settings->learning_rate};
        t->adamw = (struct adamw){.beta1 = settings->adam_beta1,
                                  .beta2 = settings->adam_beta2,
                                  .epsilon = settings->adam_epsilon,
                                  .weight_decay = settings->weight_decay,
                                  .max_grad_norm = settings->max_grad_norm,
                                  .layerwise_lr_decay = settings->layerwise_lr_decay};
        model_freeze(t->model, (int)settings->freeze_layers, settings->freeze_embeddings);
        t->folders = (struct best_folders){.output = t->job->output_dir, .checkpoint = t->job->checkpoint_dir, .source = t->job->model};
}

/* All that a checkpoint depends on, as one flat object. When checkpoints are written does not change what is in them,
 * and what the outcome's value is taken from does not either. */
static json_t *describe(const struct training *t, const struct sources *sources, const char *model_sha256, const struct train_build *build) {
        json_t *identity = settings_to_json(&t->job->settings);
        const struct model_shape *shape = model_shape(t->model);
        json_t *more =
                json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:[i,i,i,i,i,i], s:f}", "model", model_sha256, "data", sources->data_sha256,
                          "threads", t->job->threads, "kernels", build->kernels, "blas_core", build->blas_core, "blas", build->blas,
                          "build", build->program, "products", model_products(t->model), "metric", metric_name(t->job->metric), "maximize",
                          t->job->maximize, "keeps_best", t->job->output_dir != NULL, "shape", shape->dim, shape->heads, shape->hidden_dim, shape->layers,
                          shape->vocab_size, shape->max_positions, "initializer_range", (double)shape->initializer_range);
        bool ok = identity && more && json_object_update(identity, more) == 0;
        json_decref(more);
        if (!ok) {
                json_decref(identity);
                return NULL;
        }
        json_object_del(identity, "checkpoint_s");
        json_object_del(identity, "report");
        return identity;
}

static int make_identity(struct training *t, const struct sources *sources, const struct train_build *build, json_t **ret) {
        char model_sha256[DIGEST_HEX_SIZE], vocab_sha256[DIGEST_HEX_SIZE];
        struct error err = {0};
        _cleanup_free_ char *vocab = fs_join(t->job->model, "vocab.txt");
        int r = vocab ? model_folder_sha256(t->job->model, model_sha256, &err) : error_set(&err, -ENOMEM, "out of memory");
        if (r == 0)
                r = digest_file(vocab, vocab_sha256, &err);
        if (r < 0)
                return loop_fail(t->outcome, "bad_model", r, "%s", err.text);
        json_t *identity = describe(t, sources, model_sha256, build);
        if (!identity || json_object_set_new(identity, "vocabulary", json_string(vocab_sha256)) < 0) {
                json_decref(identity);
                return loop_fail(t->outcome, "out_of_memory", -ENOMEM, "out of memory");
        }
        t->identity = *ret = identity;
        return 0;
}

static int start(struct training *t) {
        bool resumed, drew_head = false;
        struct error err = {0};
        int r = loop_resume(t, &resumed);
        if (r != 0 || resumed)
                return r;
        r = model_folder_read_weights(t->job->model, t->model, (uint64_t)t->job->settings.seed, &drew_head, &err);
        if (r < 0)
                return loop_fail(t->outcome, "bad_model", r, "%s", err.text);
        log_info("model read", log_s("folder", t->job->model), log_s("head", drew_head ? "drawn" : "from the file"));
        return 0;
}

/* The loss of the settings. A class that no example has weighs nothing: it is in no sum. */
static int set_loss(struct training *t) {
        const struct settings *settings = &t->job->settings;
        const struct class_weights *given = &settings->class_weights;
        const int n_labels = model_shape(t->model)->n_labels;
        float weights[SETTINGS_MAX_LABELS];
        size_t counts[SETTINGS_MAX_LABELS] = {0};
        for (size_t i = 0; given->balanced && i < t->train.n; i++)
                counts[t->train.labels[i]]++;
        for (int c = 0; c < n_labels; c++)
                weights[c] = given->balanced ? (counts[c] ? (float)((double)t->train.n / ((double)n_labels * (double)counts[c])) : 0)
                                             : (float)given->values[c];
        bool weighs = given->balanced || given->n > 0;
        return model_set_loss(t->model, weighs ? weights : NULL, settings->label_smoothing) == 0
                       ? 0
                       : loop_fail(t->outcome, "out_of_memory", -ENOMEM, "out of memory");
}

static int make_saver(struct training *t) {
        struct error err = {0};
        int r = saver_new(&t->saver, &err);
        return r < 0 ? loop_fail(t->outcome, "out_of_memory", r, "%s", err.text) : 0;
}

static void log_plan(const struct training *t) {
        log_info("training", log_i("examples", t->train.n), log_i("eval_examples", t->eval.n), log_i("steps", t->total_steps),
                 log_i("warmup_steps", t->schedule.warmup_steps), log_i("batch_tokens_max", t->pack.max_tokens),
                 log_s("products", model_products(t->model)), log_i("threads", t->job->threads), log_i("seed", t->job->settings.seed));
}

static int complete(struct training *t) {
        const struct point *last = &t->state.last[t->job->metric];
        double value = t->job->settings.report == REPORT_BEST ? t->state.best : last->value;
        *t->outcome = (struct outcome){.state = OUTCOME_COMPLETED, .value = value};
        return 0;
}

static int run(struct training *t, struct job *job, struct sources *sources, const struct train_build *build, json_t **ret_identity) {
        struct model_shape shape;
        int r = open_sources(t, job, &shape, sources);
        if (r == 0)
                r = make_model(t, &shape);
        if (r == 0)
                r = make_arrays(t);
        if (r == 0)
                r = make_identity(t, sources, build, ret_identity);
        if (r != 0)
                return r;
        make_plan(t);
        log_plan(t);
        r = set_loss(t);
        if (r == 0)
                r = start(t);
        if (r == 0)
                r = make_saver(t);
        if (r == 0)
                r = loop_run(t);
        return r == 0 ? complete(t) : r;
}

static void training_fini(struct training *t) {
        saver_free(t->saver); /* first: it reads the model */
        model_free(t->model);
        examples_fini(&t->train);
        examples_fini(&t->eval);
        pack_fini(&t->pack);
        free(t->order);
        free(t->eval_order);
        free(t->eval_logits);
        free(t->eval_predictions);
}

void train_run(const struct job *given, const struct train_build *build, struct events *events, const volatile sig_atomic_t *stop, struct outcome *ret) {
        struct job job = *given; /* its settings take what the model decides */
        struct sources sources = {0};
        json_t *identity = NULL;
        struct training training = {.job = &job, .events = events, .stop = stop, .outcome = ret};
        int r = run(&training, &job, &sources, build, &identity);
        if (r == LOOP_RELEASED)
                *ret = (struct outcome){.state = OUTCOME_RELEASED};
        training_fini(&training);
        tokenizer_free(sources.tokenizer);
        dataset_free(sources.dataset);
        json_decref(identity);
}
