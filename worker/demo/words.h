/* The demo's little English: concepts of a few word classes, each with three words that mean the same. Everything else
 * (vocabulary, sentences, embeddings) is made from this table. Lives for the program's lifetime; all const. */
#pragma once
#include <stddef.h>

enum word_class { AGENT, VERB, OBJECT, PLACE, TIME, ADJECTIVE, ADVERB, N_CLASSES };

#define N_SYNONYMS 3

struct concept {
        enum word_class class;
        const char *words[N_SYNONYMS];
};

extern const struct concept concepts[];
extern const size_t n_concepts;

/* Words without a concept ("the", "was", …) and the single characters that let any text be split into known pieces. */
extern const char *const function_words[];
extern const size_t n_function_words;

/* First concept of a class, and how many follow each other there. */
size_t concepts_first(enum word_class class);
size_t concepts_count(enum word_class class);
