/* A few optimizer steps of a small model on weights and ids that are the same everywhere: every kernel, the products, dropout,
 * clipping and AdamW take part, in float32 and in bfloat16. Only numbers are told here. What they should be is known to sweep-worker
 * (worker/agent/selftest.c), so that a trainer of another build cannot vouch for itself.
 *
 * The first step is done twice: other bits the second time mean a memory or a processor that cannot be trusted. */
#include "trainer/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/json.h"
#include "common/log.h"
#include "common/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "model/model.h"

#define STEPS 4
#define SEQUENCES 6
#define TOKENS 171

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)
CLEANUP_DEFINE(struct model *, cleanup_model, model_free)

static const struct config_option options[] = {
        {.name = "threads", .type = CONFIG_INTEGER, .argument = "N", .fallback = "1", .low = 1, .high = 1024, .help = "of kernels and BLAS", .command_line_only = true},
        {0},
};

static const struct config_program program = {
        .name = "sweep-trainer selftest",
        .usage = "[OPTION…]",
        .summary = "Trains a small fixed model for a moment and prints the numbers as one JSON object. sweep-worker compares them\n"
                   "with what they should be before it takes trials.",
        .options = options,
};

static const struct model_shape shape = {.dim = 96, .heads = 4, .hidden_dim = 384, .layers = 3, .vocab_size = 211, .max_positions = 64, .n_labels = 2};
static const int32_t offsets[SEQUENCES + 1] = {0, 64, 65, 82, 113, 128, TOKENS};
static const int32_t labels[SEQUENCES] = {1, 0, 1, 1, 0, 1};

/* Uniform draws are exact on every machine; those of a normal distribution would depend on the mathematics library. */
static void draw_weights(struct model *model) {
        struct rng rng;
        rng_init(&rng, 7, 0);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                float *weights = model_weights(model) + p->offset;
                bool is_norm = strstr(p->name, "norm") != NULL || strstr(p->name, "Norm") != NULL, is_gain = is_norm && p->n_dims == 1 && strstr(p->name, "weight");
                for (size_t k = 0; k < p->size; k++)
                        weights[k] = (is_gain ? 1.0f : 0.0f) + (float)(0.2 * (rng_uniform(&rng) - 0.5));
        }
}

static int add(json_t *numbers, const char *precision, const char *name, int step, double value) {
        char key[64];
        snprintf(key, sizeof key, "%s %s %d", precision, name, step);
        return json_object_set_new(numbers, key, json_real(value));
}

static int train(struct model *model, const char *precision, const struct batch *batch, json_t *numbers, bool *ret_is_same) {
        const struct adamw adamw = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .max_grad_norm = 1, .layerwise_lr_decay = 1};
        struct dropout dropout = {.hidden = 0.1f, .attention = 0.1f, .classifier = 0.2f, .seed = 11};
        float logits[SEQUENCES * 2];
        size_t n = model_n_floats(model);
        _cleanup_free_ float *first = malloc(n * sizeof *first);
        if (!first)
                return -ENOMEM;
        double loss = model_forward_backward(model, batch, &dropout, 1, NULL);
        memcpy(first, model_gradients(model), n * sizeof *first);
        memset(model_gradients(model), 0, n * sizeof *first);
        int r = 0;
        for (uint64_t step = 1; step <= STEPS && r == 0; step++) {
                dropout.step = step - 1;
                double again = model_forward_backward(model, batch, &dropout, 1, NULL);
                if (step == 1)
                        *ret_is_same = memcmp(&loss, &again, sizeof loss) == 0 && memcmp(first, model_gradients(model), n * sizeof *first) == 0;
                double norm = model_gradient_norm(model);
                r = add(numbers, precision, "loss", (int)step, again) | add(numbers, precision, "gradient norm", (int)step, norm);
                model_adamw_step(model, &adamw, 1e-3, step, model_clip_coefficient(&adamw, norm));
        }
        model_forward(model, batch, logits);
        for (int i = 0; i < SEQUENCES && r == 0; i++)
                r = add(numbers, precision, "logit", i, logits[2 * i]);
        return r < 0 ? -ENOMEM : 0;
}

static int test(bool bf16, int threads, json_t *numbers, bool *ret_is_same, char ret_way[static 80], struct error *err) {
        const struct model_limits limits = {
                .max_sequences = SEQUENCES, .max_tokens = TOKENS, .max_length = 64, .training = true, .threads = threads, .bf16 = bf16};
        int32_t ids[TOKENS];
        const struct batch batch = {.n_sequences = SEQUENCES, .n_tokens = TOKENS, .ids = ids, .offsets = offsets, .labels = labels};
        _cleanup_(cleanup_model) struct model *model = NULL;
        struct rng rng;
        rng_init(&rng, 7, 1);
        for (size_t i = 0; i < TOKENS; i++)
                ids[i] = (int32_t)(1 + rng_below(&rng, (uint64_t)shape.vocab_size - 1));
        int r = model_new(&shape, &limits, &model, err);
        if (r < 0)
                return r;
        draw_weights(model);
        r = train(model, bf16 ? "bf16" : "f32", &batch, numbers, ret_is_same);
        snprintf(ret_way, 80, "%s", model_products(model));
        return r < 0 ? error_set(err, r, "out of memory") : 0;
}

static int run(int threads, struct error *err) {
        _cleanup_json_ json_t *numbers = json_object(), *line = NULL;
        bool is_same_f32 = false, is_same_bf16 = false;
        char f32[80], bf16[80];
        int r = numbers ? test(false, threads, numbers, &is_same_f32, f32, err) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = test(true, threads, numbers, &is_same_bf16, bf16, err);
        if (r < 0)
                return r;
        line = json_pack("{s:s, s:s, s:O, s:b, s:s, s:s, s:s, s:s, s:s}", "event", "selftest", "version", SWEEPD_VERSION, "numbers", numbers, "repeats",
                         is_same_f32 && is_same_bf16, "kernels", kernels_best()->name, "f32", f32, "bf16", bf16, "blas", gemm_library(), "core", gemm_core());
        _cleanup_free_ char *text = line ? json_text(line) : NULL;
        if (!text)
                return error_set(err, -ENOMEM, "out of memory");
        return puts(text) >= 0 && fflush(stdout) == 0 ? 0 : error_set(err, -EIO, "the numbers cannot be written");
}

int selftest_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        int status = 2;
        if (r == 0) {
                log_set_level(LOG_ERROR);
                status = EXIT_FAILURE;
                r = run((int)config_integer(config, "threads"), &err);
        }
        if (r < 0)
                fprintf(stderr, "%s: %s\n", program.name, err.text);
        return r < 0 ? status : EXIT_SUCCESS;
}
