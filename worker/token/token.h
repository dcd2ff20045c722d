/* BERT uncased WordPiece, bit-exact with Hugging Face: strings carry a length, since U+0000 is legal text. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum truncation { TRUNCATION_HF_FAST, TRUNCATION_HF_SLOW };

struct tokenizer;

/* Reads vocab.txt (one token a line). -EINVAL names what is wrong ([CLS], [SEP], [UNK], [PAD] or [MASK] missing, …). */
int tokenizer_open(const char *vocab_path, struct tokenizer **ret, struct error *err);
void tokenizer_free(struct tokenizer *tokenizer);
size_t tokenizer_vocab_size(const struct tokenizer *tokenizer);

/* [CLS] a [SEP] b [SEP], truncated longest_first to max_length. mode selects all of Hugging Face's fast or slow rules.
 * ret_ids holds max_length ids; *ret_n is how many. In hf_fast an empty b gives [CLS] a [SEP], as b NULL does in both. Linear in the text's
 * length. -EILSEQ for malformed UTF-8, -EINVAL for a max_length below 3, -ENOMEM. Thread-safe. */
int tokenizer_encode_pair(const struct tokenizer *tokenizer, enum truncation mode, const char *a, size_t a_len, const char *b, size_t b_len,
                          size_t max_length, int32_t *ret_ids, size_t *ret_n, struct error *err);

/* "hf_fast", "hf_slow" → mode; -EINVAL. */
int truncation_parse(const char *text, enum truncation *ret);
