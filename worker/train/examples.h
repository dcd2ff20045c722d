/* Sentence pairs as token ids, encoded once at start, and the batches made of them: packed, without padding. The order
 * of an epoch is a function of seed and epoch alone, so that a resumed training sees the same batches. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "data/data.h"
#include "model/model.h"
#include "token/token.h"

struct examples {
        size_t n;
        int32_t *ids;    /* all sequences one after the other */
        size_t *starts;  /* [n + 1] into ids */
        int32_t *labels; /* [n] */
};

/* The first `limit` pairs (0: all). -EILSEQ names the pair, -ENOMEM. */
int examples_encode(const struct pairs *pairs, size_t limit, const struct tokenizer *tokenizer, enum truncation mode, size_t max_length,
                    struct examples *ret, struct error *err);
void examples_fini(struct examples *examples);

static inline size_t examples_length(const struct examples *examples, size_t i) {
        return examples->starts[i + 1] - examples->starts[i];
}

size_t examples_longest(const struct examples *examples);

/* Most tokens that any batch of n examples can have. 0 when out of memory. */
size_t examples_most_tokens(const struct examples *examples, size_t n);

/* order: [n], a permutation drawn from seed and epoch (Fisher and Yates). */
void examples_shuffle(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch);

/* order: [examples->n], by length, equal ones in file order. */
void examples_sort(const struct examples *examples, uint32_t *order);

/* Room for one batch. */
struct pack {
        int32_t *ids, *offsets, *labels;
        size_t max_sequences, max_tokens;
};

int pack_init(struct pack *pack, size_t max_sequences, size_t max_tokens); /* -ENOMEM */
void pack_fini(struct pack *pack);

/* The examples order[0 … n-1] as one batch that points into pack. They fit, by the sizes given to pack_init. */
struct batch pack_fill(struct pack *pack, const struct examples *examples, const uint32_t *order, size_t n);
