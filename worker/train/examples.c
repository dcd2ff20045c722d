#include "train/examples.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"

/* Room for at least `more` ids after the first `used`; doubles. */
static int reserve(int32_t **ids, size_t *capacity, size_t used, size_t more) {
        if (used + more <= *capacity)
                return 0;
        size_t wanted = 2 * *capacity + more;
        int32_t *grown = realloc(*ids, wanted * sizeof **ids);
        if (!grown)
                return -ENOMEM;
        *ids = grown;
        *capacity = wanted;
        return 0;
}

static int encode_all(const struct pairs *pairs, const struct tokenizer *tokenizer, enum truncation mode, size_t max_length,
                      struct examples *examples, struct error *err) {
        size_t capacity = 0;
        for (size_t i = 0; i < examples->n; i++) {
                const struct pair *pair = &pairs->items[i];
                size_t used = examples->starts[i], n = 0;
                if (reserve(&examples->ids, &capacity, used, max_length) < 0)
                        return error_set(err, -ENOMEM, "out of memory for the token ids");
                int r = tokenizer_encode_pair(tokenizer, mode, pair->a, pair->a_len, pair->b, pair->b_len, max_length, examples->ids + used,
                                              &n, err);
                if (r < 0)
                        return error_prefix(err, "sentence pair %zu", i + 1);
                examples->starts[i + 1] = used + n;
                examples->labels[i] = pair->label;
        }
        return 0;
}

int examples_encode(const struct pairs *pairs, size_t limit, const struct tokenizer *tokenizer, enum truncation mode, size_t max_length,
                    struct examples *ret, struct error *err) {
        struct examples examples = {.n = limit > 0 && limit < pairs->n ? limit : pairs->n};
        examples.starts = calloc(examples.n + 1, sizeof *examples.starts);
        examples.labels = calloc(examples.n + 1, sizeof *examples.labels);
        int r = examples.starts && examples.labels ? 0 : error_set(err, -ENOMEM, "out of memory for the examples");
        if (r == 0)
                r = encode_all(pairs, tokenizer, mode, max_length, &examples, err);
        if (r < 0)
                return examples_fini(&examples), r;
        *ret = examples;
        return 0;
}

void examples_fini(struct examples *examples) {
        free(examples->ids);
        free(examples->starts);
        free(examples->labels);
        *examples = (struct examples){0};
}

size_t examples_longest(const struct examples *examples) {
        size_t longest = 0;
        for (size_t i = 0; i < examples->n; i++) {
                if (examples_length(examples, i) > longest)
                        longest = examples_length(examples, i);
        }
        return longest;
}

size_t examples_most_tokens(const struct examples *examples, size_t n) {
        uint32_t *order = calloc(examples->n + 1, sizeof *order);
        if (!order)
                return 0;
        examples_sort(examples, order);
        size_t total = 0;
        for (size_t i = 0; i < n && i < examples->n; i++)
                total += examples_length(examples, order[examples->n - 1 - i]);
        free(order);
        return total;
}

void examples_shuffle(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch) {
        struct rng rng;
        rng_init(&rng, seed, epoch);
        for (size_t i = 0; i < n; i++)
                order[i] = (uint32_t)i;
        for (size_t i = n; i > 1; i--) {
                size_t j = rng_below(&rng, i);
                uint32_t kept = order[i - 1];
                order[i - 1] = order[j];
                order[j] = kept;
        }
}

static int compare_lengths(const void *a, const void *b, void *user) {
        uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
        size_t length_i = examples_length(user, i), length_j = examples_length(user, j);
        if (length_i != length_j)
                return length_i < length_j ? -1 : 1;
        return i < j ? -1 : i > j;
}

void examples_sort(const struct examples *examples, uint32_t *order) {
        for (size_t i = 0; i < examples->n; i++)
                order[i] = (uint32_t)i;
        qsort_r(order, examples->n, sizeof *order, compare_lengths, (void *)examples);
}

int pack_init(struct pack *pack, size_t max_sequences, size_t max_tokens) {
        *pack = (struct pack){.max_sequences = max_sequences, .max_tokens = max_tokens};
        pack->ids = calloc(max_tokens + 1, sizeof *pack->ids);
        pack->offsets = calloc(max_sequences + 1, sizeof *pack->offsets);
        pack->labels = calloc(max_sequences + 1, sizeof *pack->labels);
        return pack->ids && pack->offsets && pack->labels ? 0 : -ENOMEM;
}

void pack_fini(struct pack *pack) {
        free(pack->ids);
        free(pack->offsets);
        free(pack->labels);
        *pack = (struct pack){0};
}

struct batch pack_fill(struct pack *pack, const struct examples *examples, const uint32_t *order, size_t n) {
        size_t used = 0;
        assert(n <= pack->max_sequences);
        for (size_t i = 0; i < n; i++) {
                size_t length = examples_length(examples, order[i]);
                assert(used + length <= pack->max_tokens);
                memcpy(pack->ids + used, examples->ids + examples->starts[order[i]], length * sizeof *pack->ids);
                pack->offsets[i] = (int32_t)used;
                pack->labels[i] = examples->labels[order[i]];
                used += length;
        }
        pack->offsets[n] = (int32_t)used;
        return (struct batch){
                .n_sequences = (int)n, .n_tokens = (int)used, .ids = pack->ids, .offsets = pack->offsets, .labels = pack->labels};
}
