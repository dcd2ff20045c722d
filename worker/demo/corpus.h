/* Sentence pairs about who did what to what, where: half-believable news. A pair is a paraphrase when agent, verb, object
 * and place agree, whatever the words, their order and the modifiers; some labels are wrong, as people's are. */
#pragma once
#include <stdint.h>

#include "common/error.h"

/* Writes n pairs as a GLUE MRPC file (byte-order mark, header, five TAB columns). Same seed and stream, same bytes. */
int corpus_write(const char *path, int n, uint64_t seed, uint64_t stream, struct error *err);
