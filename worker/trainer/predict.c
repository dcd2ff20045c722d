#include "trainer/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/fs.h"
#include "common/log.h"
#include "model/folder.h"
#include "token/token.h"
#include "trainer/answer.h"

static const struct config_option options[] = {
        {.name = "model", .type = CONFIG_TEXT, .argument = "DIR", .help = "folder of the finished model", .command_line_only = true},
        {.name = "threads",
         .type = CONFIG_INTEGER,
         .argument = "N",
         .fallback = "1",
         .low = 1,
         .high = 1024,
         .help = "threads to compute with",
         .command_line_only = true},
        {0},
};

static const struct config_program program = {
        .name = "sweep-trainer predict",
        .usage = "--model DIR < pairs.jsonl",
        .summary = "Reads lines {\"a\":\"…\",\"b\":\"…\"} and answers each with {\"label\",\"logits\",\"probability\"}:\n"
                   "the label, and the probability that the model gives it.",
        .options = options,
};

struct predictor {
        struct tokenizer *tokenizer;
        struct model *model;
        int32_t *ids;
        float *logits;
        size_t max_length;
};

static void predictor_fini(struct predictor *predictor) {
        tokenizer_free(predictor->tokenizer);
        model_free(predictor->model);
        free(predictor->ids);
        free(predictor->logits);
}

static int open_model(struct predictor *predictor, const char *folder, int threads, struct error *err) {
        struct model_shape shape;
        bool drew_head = false;
        int r = model_folder_read_shape(folder, &shape, err);
        if (r < 0)
                return r;
        predictor->max_length = (size_t)shape.max_positions;
        struct model_limits limits = {
                .max_sequences = 1, .max_tokens = shape.max_positions, .max_length = shape.max_positions, .threads = threads};
        r = model_new(&shape, &limits, &predictor->model, err);
        if (r == 0)
                r = model_folder_read_weights(folder, predictor->model, 0, &drew_head, err);
        if (r == 0 && drew_head)
                log_warning("the model has no classifier: a random one is used", log_s("model", folder));
        return r;
}

static int open_all(struct predictor *predictor, const char *folder, int threads, struct error *err) {
        _cleanup_free_ char *vocab = fs_join(folder, "vocab.txt");
        if (!vocab)
                return error_set(err, -ENOMEM, "out of memory");
        int r = tokenizer_open(vocab, &predictor->tokenizer, err);
        if (r == 0)
                r = open_model(predictor, folder, threads, err);
        if (r < 0)
                return r;
        if (tokenizer_vocab_size(predictor->tokenizer) > (size_t)model_shape(predictor->model)->vocab_size)
                return error_set(err, -EINVAL, "%s has more tokens than the model", vocab);
        predictor->ids = calloc(predictor->max_length, sizeof *predictor->ids);
        predictor->logits = calloc((size_t)model_shape(predictor->model)->n_labels, sizeof *predictor->logits);
        return predictor->ids && predictor->logits ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* Label, logits and the label's probability (softmax in double). New reference; NULL when a logit is not finite. */
static json_t *describe(const float *logits, int n) {
        int label = 0;
        double sum = 0;
        json_t *list = json_array();
        for (int i = 0; i < n; i++) {
                if (logits[i] > logits[label])
                        label = i;
        }
        for (int i = 0; i < n; i++) {
                sum += exp((double)logits[i] - logits[label]);
                if (json_array_append_new(list, json_real(logits[i])) < 0)
                        return json_decref(list), NULL;
        }
        return json_pack("{s:i, s:o, s:f}", "label", label, "logits", list, "probability", 1.0 / sum);
}

static json_t *answer(void *user, const char *a, size_t a_len, const char *b, size_t b_len, struct error *err) {
        struct predictor *predictor = user;
        size_t n;
        if (tokenizer_encode_pair(predictor->tokenizer, TRUNCATION_HF_FAST, a, a_len, b, b_len, predictor->max_length, predictor->ids, &n,
                                  err) < 0)
                return NULL;
        struct batch batch = {.n_sequences = 1, .n_tokens = (int)n, .ids = predictor->ids, .offsets = (int32_t[]){0, (int32_t)n}};
        model_forward(predictor->model, &batch, predictor->logits);
        json_t *found = describe(predictor->logits, model_shape(predictor->model)->n_labels);
        if (!found)
                error_set(err, -ERANGE, "the model answers with numbers that are not finite");
        return found;
}

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

int predict_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r == 0 && !config_text(config, "model"))
                r = error_set(&err, -EINVAL, "--model is missing");
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", program.name, err.text);
                return 2;
        }
        _cleanup_(predictor_fini) struct predictor predictor = {0};
        r = open_all(&predictor, config_text(config, "model"), (int)config_integer(config, "threads"), &err);
        if (r == 0)
                r = answer_pairs(STDIN_FILENO, STDOUT_FILENO, answer, &predictor, &err);
        if (r < 0)
                log_error("cannot predict", log_s("detail", err.text));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
