/* Words → WordPiece ids → pair. Of each sentence only the first max_length ids are kept, since truncation drops ids at
 * the end; all are counted, since its rules look at both lengths. */
#include "token/token.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "token/vocab.h"
#include "token/words.h"

struct tokenizer {
        struct vocab *vocab;
};

int tokenizer_open(const char *vocab_path, struct tokenizer **ret, struct error *err) {
        struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
        int r = tokenizer ? vocab_open(vocab_path, &tokenizer->vocab, err) : error_set(err, -ENOMEM, "out of memory");
        if (r < 0) {
                free(tokenizer);
                return r;
        }
        *ret = tokenizer;
        return 0;
}

void tokenizer_free(struct tokenizer *tokenizer) {
        if (!tokenizer)
                return;
        vocab_close(tokenizer->vocab);
        free(tokenizer);
}

size_t tokenizer_vocab_size(const struct tokenizer *tokenizer) {
        return vocab_size(tokenizer->vocab);
}

/* The ids of one sentence: all are counted, the first `max` are kept. */
struct ids {
        int32_t *items;
        size_t n, max;
};

static void ids_add(struct ids *ids, int32_t id) {
        if (ids->n < ids->max)
                ids->items[ids->n] = id;
        ids->n++;
}

/* Greedy longest match, "##" tokens after the first; a word with any rest that no token starts is unknown as a whole. */
static void add_word(const struct vocab *vocab, const struct word *word, struct ids *ids) {
        size_t before = ids->n;
        for (size_t at = 0; word->n <= WORD_MAX_POINTS;) {
                int32_t id;
                size_t n = vocab_match(vocab, word->points + at, word->n - at, at > 0, &id);
                if (n == 0)
                        break;
                ids_add(ids, id);
                at += n;
                if (at == word->n)
                        return;
        }
        ids->n = before;
        ids_add(ids, vocab_special(vocab, SPECIAL_UNK));
}

static int add_sentence(const struct vocab *vocab, enum truncation mode, const char *text, size_t len, struct ids *ids, struct error *err) {
        struct words words = {.text = text, .len = len, .mode = mode};
        struct word word;
        int r;
        while ((r = words_next(&words, &word)) > 0) {
                if (word.special != SPECIAL_NONE)
                        ids_add(ids, vocab_special(vocab, word.special));
                else
                        add_word(vocab, &word, ids);
        }
        return r < 0 ? error_set(err, r, "not valid UTF-8 at byte %zu", words.at) : 0;
}

static size_t smaller(size_t a, size_t b) {
        return a < b ? a : b;
}

static size_t larger(size_t a, size_t b) {
        return a > b ? a : b;
}

/* longest_first to `budget` ids in all, when n1 + n2 is more. The slow tokenizer drops one id after the other, from the
 * first sentence if it is strictly longer, else from the second: cut both and the first gets the odd id. */
static void truncate_slow(size_t budget, size_t *n1, size_t *n2) {
        size_t rest = budget > *n2 ? budget - *n2 : 0;
        *n1 = smaller(*n1, larger(budget - budget / 2, rest));
        *n2 = budget - *n1;
}

/* The fast one computes both lengths (tokenizers, utils/truncation.rs): the odd id goes to the longer sentence, to the
 * second when they are equal. */
static void truncate_fast(size_t budget, size_t *ret_n1, size_t *ret_n2) {
        bool swap = *ret_n1 > *ret_n2;
        size_t n1 = swap ? *ret_n2 : *ret_n1, n2;
        n2 = n1 > budget ? n1 : larger(n1, budget - n1);
        if (n1 + n2 > budget) {
                n1 = budget / 2;
                n2 = n1 + budget % 2;
        }
        *ret_n1 = swap ? n2 : n1;
        *ret_n2 = swap ? n1 : n2;
}

int tokenizer_encode_pair(const struct tokenizer *tokenizer, enum truncation mode, const char *a, size_t a_len, const char *b, size_t b_len,
                          size_t max_length, int32_t *ret_ids, size_t *ret_n, struct error *err) {
        const struct vocab *vocab = tokenizer->vocab;
        /* To the fast tokenizer an empty second sentence is none at all. */
        bool single = !b || (mode == TRUNCATION_HF_FAST && b_len == 0);
        size_t n_fixed = single ? 2 : 3;
        if (max_length < 3)
                return error_set(err, -EINVAL, "max_length %zu is too small for a pair", max_length);
        size_t budget = max_length - n_fixed;
        _cleanup_free_ int32_t *space = malloc((2 * budget + 1) * sizeof *space);
        if (!space)
                return error_set(err, -ENOMEM, "out of memory");
        struct ids first = {.items = space, .max = budget}, second = {.items = space + budget, .max = budget};
        int r = add_sentence(vocab, mode, a, a_len, &first, err);
        if (r == 0 && !single)
                r = add_sentence(vocab, mode, b, b_len, &second, err);
        if (r < 0)
                return r;
        if (single)
                first.n = smaller(first.n, budget);
        else if (first.n + second.n > budget)
                (mode == TRUNCATION_HF_FAST ? truncate_fast : truncate_slow)(budget, &first.n, &second.n);
        struct ids out = {.items = ret_ids, .max = max_length};
        ids_add(&out, vocab_special(vocab, SPECIAL_CLS));
        for (size_t i = 0; i < first.n; i++)
                ids_add(&out, first.items[i]);
        ids_add(&out, vocab_special(vocab, SPECIAL_SEP));
        for (size_t i = 0; i < second.n; i++)
                ids_add(&out, second.items[i]);
        if (!single)
                ids_add(&out, vocab_special(vocab, SPECIAL_SEP));
        *ret_n = out.n;
        return 0;
}

int truncation_parse(const char *text, enum truncation *ret) {
        if (strcmp(text, "hf_fast") == 0)
                *ret = TRUNCATION_HF_FAST;
        else if (strcmp(text, "hf_slow") == 0)
                *ret = TRUNCATION_HF_SLOW;
        else
                return -EINVAL;
        return 0;
}
