/* The demo's little English: senses of a few roles, each with three words that mean the same. Everything else
 * (vocabulary, sentences, embeddings) is made from this table. Lives for the program's lifetime; all const. */
#pragma once
#include <stddef.h>

enum role { AGENT, VERB, OBJECT, PLACE, TIME, ADJECTIVE, ADVERB, N_ROLES };

#define N_SYNONYMS 3

struct sense {
        enum role role;
        const char *words[N_SYNONYMS];
};

extern const struct sense senses[];
extern const size_t n_senses;

/* Words without a sense ("the", "was", …) and the single characters that let any text be split into known pieces. */
extern const char *const function_words[];
extern const size_t n_function_words;

/* First sense of a role, and how many follow each other there. */
size_t senses_first(enum role role);
size_t senses_count(enum role role);
