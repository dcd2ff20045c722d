/* What BERT's uncased normalisation makes of a code point, for both sets of Hugging Face's tables (index: enum
 * truncation). The slow one is Unicode 14; the fast one mixes versions 8, 9 and later, so no Unicode library has it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum unicode_kind {
        UNICODE_KEEP,
        UNICODE_REMOVE,
        UNICODE_BARRIER, /* removed, and combining marks do not sort across it */
        UNICODE_SPACE,
        UNICODE_ISOLATE, /* a word of its own: punctuation, CJK */
        UNICODE_HANGUL,  /* a syllable: decomposes by arithmetic */
        UNICODE_MAP,     /* this and above, less UNICODE_MAP: where its replacement lies in unicode_maps */
};

#define UNICODE_MAP_ISOLATED 256u /* flag of a replacement's first word, which is its length */

struct unicode_range {
        uint32_t first; /* up to the next entry's */
        uint16_t kind[2];
};

struct unicode_mark {
        uint32_t point;
        uint8_t combining_class[2];
};

extern const uint16_t unicode_ascii[128]; /* kinds, the same in both */
extern const struct unicode_range unicode_ranges[];
extern const size_t unicode_n_ranges;
extern const uint32_t unicode_maps[];
extern const struct unicode_mark unicode_marks[]; /* sorted; all others that can be output are of class 0 */
extern const size_t unicode_n_marks;
