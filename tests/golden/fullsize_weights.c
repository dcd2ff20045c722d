/* Writes a model folder of DistilBERT-base's size whose weights follow a formula over tensor name and index (FNV-1a 64 of
 * the name seeds splitmix64; see the golden data's README), so that 268 MB need not be kept anywhere. Every value is exact
 * in float32. */
#include <stdio.h>
#include <string.h>

#include "model/folder.h"

static uint64_t hash_name(const char *name) {
        uint64_t h = 0xcbf29ce484222325u;
        for (; *name; name++)
                h = (h ^ (unsigned char)*name) * 0x100000001b3u;
        return h;
}

static bool ends_with(const char *text, const char *end) {
        size_t n = strlen(text), m = strlen(end);
        return n >= m && strcmp(text + n - m, end) == 0;
}

static void fill(const char *name, float *weights, size_t n) {
        const uint64_t seed = hash_name(name);
        const bool norm = ends_with(name, "LayerNorm.weight") || ends_with(name, "layer_norm.weight");
        const float unit = ends_with(name, "position_embeddings.weight") || ends_with(name, ".bias") ? 0x1p-29f : 0x1p-28f;
        for (size_t i = 0; i < n; i++) {
                uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
                z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
                z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
                z ^= z >> 31;
                int64_t odd = 2 * (int64_t)(z >> 40) + 1 - (1 << 24);
                weights[i] = norm ? 1 + (float)((int)(z >> 56) - 128) * 0x1p-10f : (float)odd * unit;
        }
}

int main(int argc, char **argv) {
        const struct model_shape shape = {.dim = 768, .heads = 12, .hidden_dim = 3072, .layers = 6, .vocab_size = 30522, .max_positions = 512,
                                          .n_labels = 2, .dropout = 0.1f, .attention_dropout = 0.1f, .seq_classif_dropout = 0.2f,
                                          .initializer_range = 0.02f};
        const struct model_limits limits = {.max_sequences = 1, .max_tokens = 1, .max_length = 1, .threads = 1};
        struct model *model = NULL;
        struct error err = {0};
        if (argc != 2) {
                fputs("usage: fullsize_weights FOLDER\n", stderr);
                return 2;
        }
        int r = model_new(&shape, &limits, &model, &err);
        for (size_t i = 0; r == 0 && i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                fill(p->name, model_weights(model) + p->offset, p->size);
        }
        if (r == 0)
                r = model_folder_write(argv[1], model, argv[1], &err);
        model_free(model);
        if (r < 0)
                fprintf(stderr, "fullsize_weights: %s\n", err.text);
        return r < 0;
}
