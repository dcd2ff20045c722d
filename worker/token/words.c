/* Hugging Face normalises whole strings in passes (clean, lowercase, NFD, drop marks, split). Every pass but one looks
 * at one code point at a time, so their composition is a table (unicode.h). The exception is the canonical ordering of
 * NFD: marks that survive are sorted by combining class, stably, within each run of marks; that is done while the word
 * grows. A run lies inside one word, and words past 100 code points are not looked at, so a run costs at most 100². */
#include "token/words.h"

#include <errno.h>
#include <string.h>

#include "common/utf8.h"
#include "token/unicode.h"

const char *const special_names[N_SPECIALS] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};

static unsigned kind_of(uint32_t point, enum truncation mode) {
        if (point < 128)
                return unicode_ascii[point];
        size_t low = 0, high = unicode_n_ranges;
        while (high - low > 1) {
                size_t middle = (low + high) / 2;
                if (unicode_ranges[middle].first <= point)
                        low = middle;
                else
                        high = middle;
        }
        return unicode_ranges[low].kind[mode];
}

static unsigned combining_class(uint32_t point, enum truncation mode) {
        if (point < unicode_marks[0].point)
                return 0;
        size_t low = 0, high = unicode_n_marks;
        while (high - low > 1) {
                size_t middle = (low + high) / 2;
                if (unicode_marks[middle].point <= point)
                        low = middle;
                else
                        high = middle;
        }
        return unicode_marks[low].point == point ? unicode_marks[low].combining_class[mode] : 0;
}

static void push(struct word *word, uint32_t point, enum truncation mode) {
        if (word->n >= WORD_MAX_POINTS) {
                word->n = WORD_MAX_POINTS + 1;
                return;
        }
        unsigned class = combining_class(point, mode);
        size_t to = word->n++;
        if (class == 0)
                word->run = word->n;
        for (; class > 0 && to > word->run && combining_class(word->points[to - 1], mode) > class; to--)
                word->points[to] = word->points[to - 1];
        word->points[to] = point;
}

/* The Unicode Standard 14.0, section 3.12: a syllable is leading consonant, vowel and perhaps a trailing consonant. */
static void push_hangul(struct word *word, uint32_t syllable, enum truncation mode) {
        uint32_t index = syllable - 0xac00;
        push(word, 0x1100 + index / 588, mode);
        push(word, 0x1161 + index % 588 / 28, mode);
        if (index % 28 > 0)
                push(word, 0x11a7 + index % 28, mode);
}

static enum special special_at(const char *text, size_t len) {
        for (int i = 0; i < N_SPECIALS; i++) {
                size_t n = strlen(special_names[i]);
                if (len >= n && memcmp(text, special_names[i], n) == 0)
                        return (enum special)i;
        }
        return SPECIAL_NONE;
}

int words_next(struct words *words, struct word *word) {
        word->special = SPECIAL_NONE;
        word->n = word->run = 0;
        while (words->at < words->len) {
                uint32_t point;
                int size = utf8_decode(words->text + words->at, words->len - words->at, &point);
                if (size < 0)
                        return size;
                unsigned kind = kind_of(point, words->mode);
                const uint32_t *map = kind >= UNICODE_MAP ? &unicode_maps[kind - UNICODE_MAP] : NULL;
                bool alone = kind == UNICODE_ISOLATE || (map && map[0] & UNICODE_MAP_ISOLATED);
                if ((alone || kind == UNICODE_SPACE) && word->n > 0)
                        return 1; /* this code point is looked at again */
                if (point == '[')
                        word->special = special_at(words->text + words->at, words->len - words->at);
                words->at += word->special == SPECIAL_NONE ? (size_t)size : strlen(special_names[word->special]);
                if (word->special != SPECIAL_NONE)
                        return 1;
                if (kind == UNICODE_KEEP || kind == UNICODE_ISOLATE)
                        push(word, point, words->mode);
                else if (kind == UNICODE_HANGUL)
                        push_hangul(word, point, words->mode);
                else if (kind == UNICODE_BARRIER)
                        word->run = word->n;
                for (uint32_t i = 1; map && i <= (map[0] & ~UNICODE_MAP_ISOLATED); i++)
                        push(word, map[i], words->mode);
                if (alone)
                        return 1;
        }
        return word->n > 0;
}
