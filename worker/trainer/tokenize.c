#include "trainer/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/log.h"
#include "token/token.h"
#include "trainer/answer.h"

static const struct config_option options[] = {
        {.name = "vocab", .type = CONFIG_TEXT, .argument = "FILE", .help = "vocab.txt of a BERT uncased model", .command_line_only = true},
        {.name = "max-length",
         .type = CONFIG_INTEGER,
         .argument = "N",
         .fallback = "128",
         .low = 3,
         .high = 1000000,
         .help = "longest pair, special tokens included",
         .command_line_only = true},
        {.name = "truncation",
         .type = CONFIG_TEXT,
         .argument = "hf_fast|hf_slow",
         .fallback = "hf_fast",
         .help = "whose rules: Hugging Face's fast or slow tokenizer",
         .command_line_only = true},
        {0},
};

static const struct config_program program = {
        .name = "sweep-trainer tokenize",
        .usage = "--vocab FILE [--max-length N] [--truncation hf_fast|hf_slow] < pairs.jsonl",
        .summary = "Reads lines {\"a\":\"…\",\"b\":\"…\"} and answers each with {\"input_ids\":[…]}, a bad one with {\"error\":\"…\"}.",
        .options = options,
};

struct encoder {
        struct tokenizer *tokenizer;
        enum truncation mode;
        size_t max_length;
        int32_t *ids; /* [max_length] */
};

static json_t *answer(void *user, const char *a, size_t a_len, const char *b, size_t b_len, struct error *err) {
        struct encoder *encoder = user;
        size_t n;
        if (tokenizer_encode_pair(encoder->tokenizer, encoder->mode, a, a_len, b, b_len, encoder->max_length, encoder->ids, &n, err) < 0)
                return NULL;
        json_t *ids = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(ids, json_integer(encoder->ids[i]));
        return json_pack("{s:o}", "input_ids", ids);
}

static int run(const struct config *config, enum truncation mode, struct error *err) {
        struct encoder encoder = {.mode = mode, .max_length = (size_t)config_integer(config, "max-length")};
        int r = tokenizer_open(config_text(config, "vocab"), &encoder.tokenizer, err);
        encoder.ids = calloc(encoder.max_length, sizeof *encoder.ids);
        if (r == 0 && !encoder.ids)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = answer_pairs(STDIN_FILENO, STDOUT_FILENO, answer, &encoder, err);
        tokenizer_free(encoder.tokenizer);
        free(encoder.ids);
        return r;
}

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

int tokenize_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        enum truncation mode;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r == 0 && !config_text(config, "vocab"))
                r = error_set(&err, -EINVAL, "--vocab is missing");
        if (r == 0 && truncation_parse(config_text(config, "truncation"), &mode) < 0)
                r = error_set(&err, -EINVAL, "--truncation: expected hf_fast or hf_slow, got '%s'", config_text(config, "truncation"));
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", program.name, err.text);
                return 2;
        }
        r = run(config, mode, &err);
        if (r < 0)
                log_error("cannot tokenize", log_s("detail", err.text));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
