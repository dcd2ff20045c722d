#include "model/hfnames.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* BERT's modules inside a block and DistilBERT's names for them. */
static const struct {
        const char *bert, *distilbert;
} modules[] = {
        {"attention.self.query.", "attention.q_lin."},
        {"attention.self.key.", "attention.k_lin."},
        {"attention.self.value.", "attention.v_lin."},
        {"attention.output.dense.", "attention.out_lin."},
        {"attention.output.LayerNorm.", "sa_layer_norm."},
        {"intermediate.dense.", "ffn.lin1."},
        {"output.dense.", "ffn.lin2."},
        {"output.LayerNorm.", "output_layer_norm."},
};

static const char *const ignored[] = {"vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "cls.", "pooler."};

/* Moves *text behind prefix if it starts with it. */
static bool skip(const char **text, const char *prefix) {
        size_t len = strlen(prefix);
        if (strncmp(*text, prefix, len) != 0)
                return false;
        *text += len;
        return true;
}

static bool ends_with(const char *text, const char *suffix) {
        size_t len = strlen(text), suffix_len = strlen(suffix);
        return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

/* "3.output.dense.bias" → layer "3.", prefix "ffn.lin2.", rest "bias". */
static void rename_block(const char *block, char ret[static HFNAMES_SIZE]) {
        size_t digits = strspn(block, "0123456789");
        const char *rest = block + digits + (block[digits] == '.');
        for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
                if (!skip(&rest, modules[i].bert))
                        continue;
                snprintf(ret, HFNAMES_SIZE, "distilbert.transformer.layer.%.*s.%s%s", (int)digits, block, modules[i].distilbert, rest);
                return;
        }
        snprintf(ret, HFNAMES_SIZE, "encoder.layer.%s", block);
}

/* Checkpoints converted from TensorFlow call a LayerNorm's weight gamma and its bias beta. */
static void rename_layer_norm(char name[static HFNAMES_SIZE]) {
        size_t len = strlen(name);
        if (ends_with(name, "LayerNorm.gamma") || ends_with(name, "layer_norm.gamma"))
                snprintf(name + len - 5, HFNAMES_SIZE - (len - 5), "weight");
        else if (ends_with(name, "LayerNorm.beta") || ends_with(name, "layer_norm.beta"))
                snprintf(name + len - 4, HFNAMES_SIZE - (len - 4), "bias");
}

enum hfname hfname_classify(const char *name, char ret[static HFNAMES_SIZE]) {
        const char *rest = name;
        bool prefixed = skip(&rest, "distilbert.") || skip(&rest, "bert.");
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
                if (strncmp(rest, ignored[i], strlen(ignored[i])) == 0)
                        return HFNAME_IGNORED;
        if (strcmp(rest, "embeddings.position_ids") == 0)
                return HFNAME_IGNORED;
        if (strcmp(rest, "embeddings.token_type_embeddings.weight") == 0)
                return HFNAME_TOKEN_TYPES;
        const char *block = rest;
        if (skip(&block, "encoder.layer."))
                rename_block(block, ret);
        else if (prefixed || strncmp(rest, "embeddings.", 11) == 0 || strncmp(rest, "transformer.", 12) == 0)
                snprintf(ret, HFNAMES_SIZE, "distilbert.%s", rest);
        else
                snprintf(ret, HFNAMES_SIZE, "%s", rest);
        rename_layer_norm(ret);
        return HFNAME_PARAMETER;
}
