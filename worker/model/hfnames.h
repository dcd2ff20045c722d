/* Names of tensors in files → names of the model's parameters ("distilbert.…", "pre_classifier.…", "classifier.…").
 * Understood: DistilBERT with and without its prefix, BERT's encoder, LayerNorm gamma/beta. */
#pragma once
#include <stddef.h>

#define HFNAMES_SIZE 256

enum hfname {
        HFNAME_PARAMETER,   /* the canonical name is in ret; a model may still not have it */
        HFNAME_TOKEN_TYPES, /* BERT's token type embeddings: row 0 goes onto every position */
        HFNAME_IGNORED,     /* pretraining heads, BERT's pooler, position_ids */
};

enum hfname hfname_classify(const char *name, char ret[static HFNAMES_SIZE]);
