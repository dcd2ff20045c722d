/* BERT's basic tokenizer as an iterator: text → words, lowercased, stripped of accents, split at white space and around
 * punctuation and CJK characters; special-token literals come out whole. One pass, constant memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "token/token.h"

#define WORD_MAX_POINTS 100 /* a longer word is unknown, whatever it holds */

enum special { SPECIAL_NONE = -1, SPECIAL_UNK, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_CLS, SPECIAL_MASK, N_SPECIALS };

extern const char *const special_names[N_SPECIALS];

struct word {
        enum special special; /* SPECIAL_NONE: the points count */
        size_t n;             /* WORD_MAX_POINTS + 1 for every longer word, of which points holds nothing useful */
        uint32_t points[WORD_MAX_POINTS];
        size_t run; /* where the combining marks at the end of the word begin */
};

struct words {
        const char *text; /* not owned, UTF-8 */
        size_t len, at;
        enum truncation mode;
};

/* The next word: 1 and *word · 0 at the end · -EILSEQ at words->at, which is then the offset of the malformed byte. */
int words_next(struct words *words, struct word *word);
