/* A WordPiece vocabulary: vocab.txt read into a trie over code points, so that the longest token that starts somewhere is
 * found in one walk. Immutable once open. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "token/words.h"

struct vocab;

/* One token a line, its id the line's number from 0. -EINVAL with file and line: empty file, not UTF-8, a token twice,
 * a special token missing. */
int vocab_open(const char *path, struct vocab **ret, struct error *err);
void vocab_close(struct vocab *vocab);
size_t vocab_size(const struct vocab *vocab);
int32_t vocab_special(const struct vocab *vocab, enum special special);

/* The longest token that is a prefix of points (a "##" token when continuation): its length in code points and *ret_id,
 * or 0 when there is none. */
size_t vocab_match(const struct vocab *vocab, const uint32_t *points, size_t n, bool continuation, int32_t *ret_id);
