/* Same tokens, batches and figures as a training's own evaluation, on any labelled file: the score on rows that chose
 * nothing. */
#include "trainer/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "data/data.h"
#include "model/folder.h"
#include "train/examples.h"
#include "train/metrics.h"
#include "train/settings.h"

#define BATCH_SIZE 32

static const struct config_option options[] = {
        {.name = "model", .type = CONFIG_TEXT, .argument = "DIR", .help = "folder of the finished model", .command_line_only = true},
        {.name = "data",
         .type = CONFIG_TEXT,
         .argument = "FILE|DIR",
         .help = "labelled rows: a file in the task's form, or a data folder, whose dev rows are taken",
         .command_line_only = true},
        {.name = "settings",
         .type = CONFIG_TEXT,
         .argument = "JSON",
         .fallback = "{}",
         .help = "settings that the training had: task, text_a, …, max_seq_length, truncation, precision, limit_eval",
         .command_line_only = true},
        {.name = "threads", .type = CONFIG_INTEGER, .argument = "N", .fallback = "1", .low = 1, .high = 1024, .help = "threads to compute with", .command_line_only = true},
        {0},
};

static const struct config_program program = {
        .name = "sweep-trainer evaluate",
        .usage = "--model DIR --data FILE|DIR [OPTION…]",
        .summary = "Scores a finished model on labelled rows and prints one JSON object: examples, loss, accuracy, f1,\n"
                   "precision, recall, and mcc where the task has it. The best of many trials was chosen by its dev score,\n"
                   "which is therefore too good; rows that chose nothing give an honest one.",
        .options = options,
};

struct examination {
        struct settings settings;
        struct tokenizer *tokenizer;
        struct dataset *dataset; /* of a folder */
        struct pairs pairs;      /* of a file */
        struct examples examples;
        struct model *model;
        struct pack pack;
        uint32_t *order;
        float *logits;        /* [BATCH_SIZE, n_labels] */
        int32_t *predictions; /* [examples.n] */
};

static void examination_fini(struct examination *e) {
        tokenizer_free(e->tokenizer);
        dataset_free(e->dataset);
        pairs_fini(&e->pairs);
        examples_fini(&e->examples);
        model_free(e->model);
        pack_fini(&e->pack);
        free(e->order);
        free(e->logits);
        free(e->predictions);
}

static int read_rows(struct examination *e, const char *path, const struct pairs **ret, struct error *err) {
        struct stat st;
        const struct task *task = settings_task(&e->settings);
        bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        *ret = &e->pairs;
        if (!is_folder)
                return pairs_read(path, task, &e->pairs, err);
        int r = dataset_open(path, task, &e->dataset, err);
        if (r == 0)
                *ret = &e->dataset->dev;
        return r;
}

static int open_examples(struct examination *e, const char *model, const char *data, struct error *err) {
        _cleanup_free_ char *vocab = fs_join(model, "vocab.txt");
        const struct pairs *pairs;
        if (!vocab)
                return error_set(err, -ENOMEM, "out of memory");
        int r = tokenizer_open(vocab, &e->tokenizer, err);
        if (r == 0)
                r = read_rows(e, data, &pairs, err);
        if (r == 0)
                r = examples_encode(pairs, (size_t)e->settings.limit_eval, e->tokenizer, (enum truncation)e->settings.truncation,
                                    (size_t)e->settings.max_seq_length, &e->examples, err);
        return r;
}

static int open_model(struct examination *e, const struct model_shape *shape, const char *folder, int threads, struct error *err) {
        size_t tokens = examples_most_tokens(&e->examples, BATCH_SIZE);
        struct model_limits limits = {.max_sequences = BATCH_SIZE,
                                      .max_tokens = (int)tokens,
                                      .max_length = (int)examples_longest(&e->examples),
                                      .threads = threads,
                                      .bf16 = e->settings.precision == PRECISION_BF16};
        bool drew_head = false;
        e->order = calloc(e->examples.n + 1, sizeof *e->order);
        e->predictions = calloc(e->examples.n + 1, sizeof *e->predictions);
        e->logits = calloc(BATCH_SIZE * (size_t)shape->n_labels, sizeof *e->logits);
        if (tokens == 0 || !e->order || !e->predictions || !e->logits || pack_init(&e->pack, BATCH_SIZE, tokens) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        examples_sort(&e->examples, e->order);
        int r = model_new(shape, &limits, &e->model, err);
        if (r == 0)
                r = model_folder_read_weights(folder, e->model, 0, &drew_head, err);
        if (r == 0 && drew_head)
                return error_set(err, -EINVAL, "%s has no classifier: it was never trained", folder);
        return r;
}

static void run(struct examination *e, struct evaluation *ret) {
        const int n_labels = model_shape(e->model)->n_labels;
        const size_t n = e->examples.n;
        double sum = 0;
        for (size_t first = 0; first < n; first += BATCH_SIZE) {
                size_t size = n - first < BATCH_SIZE ? n - first : BATCH_SIZE;
                struct batch batch = pack_fill(&e->pack, &e->examples, e->order + first, size);
                model_forward(e->model, &batch, e->logits);
                for (size_t i = 0; i < size; i++) {
                        const float *row = e->logits + i * (size_t)n_labels;
                        uint32_t example = e->order[first + i];
                        sum += metrics_cross_entropy(row, n_labels, e->examples.labels[example]);
                        e->predictions[example] = metrics_argmax(row, n_labels);
                }
        }
        metrics_count(e->examples.labels, e->predictions, n, n_labels, ret);
        ret->loss = sum / (double)n;
}

static int print(const struct examination *e, const struct evaluation *found, struct error *err) {
        if (!isfinite(found->loss))
                return error_set(err, -ERANGE, "the model answers with numbers that are not finite");
        _cleanup_json_ json_t *object =
                json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "examples", (json_int_t)e->examples.n, "loss", found->loss, "accuracy",
                          found->accuracy, "f1", found->f1, "precision", found->precision, "recall", found->recall);
        if (object && settings_task(&e->settings)->reports_mcc)
                json_object_set_new(object, "mcc", json_real(found->mcc));
        _cleanup_free_ char *text = object ? json_text(object) : NULL;
        if (!text)
                return error_set(err, -ENOMEM, "out of memory");
        return puts(text) < 0 || fflush(stdout) != 0 ? error_set(err, -EIO, "cannot write the result") : 0;
}

static int examine(struct examination *e, const char *model, const char *data, int threads, struct error *err) {
        struct model_shape shape;
        struct evaluation found = {0};
        int r = model_folder_read_shape(model, &shape, err);
        if (r == 0 && shape.n_labels != settings_task(&e->settings)->n_labels)
                r = error_set(err, -EINVAL, "%s tells %d labels apart, the task has %d", model, shape.n_labels, settings_task(&e->settings)->n_labels);
        if (r == 0)
                r = settings_fit_model(&e->settings, &shape, err);
        if (r == 0)
                r = open_examples(e, model, data, err);
        if (r == 0)
                r = open_model(e, &shape, model, threads, err);
        if (r < 0)
                return r;
        run(e, &found);
        return print(e, &found, err);
}

/* The JSON is kept: an own task's texts belong to it. */
static int read_settings(const char *text, json_t **ret, struct settings *settings, struct error *err) {
        _cleanup_json_ json_t *given = json_object();
        int r = json_read(text, strlen(text), ret, err);
        if (r < 0)
                return error_prefix(err, "--settings");
        settings_defaults(settings);
        r = settings_read(settings, *ret, "--settings", given, err);
        return r < 0 ? r : settings_check(settings, given, err);
}

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

int evaluate_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_json_ json_t *json = NULL;
        _cleanup_(examination_fini) struct examination e = {0};
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r == 0 && (!config_text(config, "model") || !config_text(config, "data")))
                r = error_set(&err, -EINVAL, "--%s is missing", config_text(config, "model") ? "data" : "model");
        if (r == 0)
                r = read_settings(config_text(config, "settings"), &json, &e.settings, &err);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", program.name, err.text);
                return 2;
        }
        r = examine(&e, config_text(config, "model"), config_text(config, "data"), (int)config_integer(config, "threads"), &err);
        if (r < 0)
                log_error("cannot evaluate", log_s("detail", err.text));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
