/* Sentence pairs as JSON lines in, one JSON line out for each, in order, whatever the line holds: a bad one is answered
 * with {"error": …}. Answers are written before the program waits for more input, so that a caller can converse. */
#pragma once
#include <jansson.h>
#include <stddef.h>

#include "common/error.h"

#define ANSWER_MAX_LINE_BYTES (16u << 20) /* a longer line is a bad line */

/* The answer to one pair: a new reference, or NULL with err filled. The texts may hold NUL. */
typedef json_t *answer_fn(void *user, const char *a, size_t a_len, const char *b, size_t b_len, struct error *err);

/* Until the end of input. Negative errno of reading or writing, with a text. */
int answer_pairs(int in, int out, answer_fn *answer, void *user, struct error *err);
