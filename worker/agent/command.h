/* How a trainer is called: arguments and environment. Nothing passes through a shell. */
#pragma once
#include <jansson.h>
#include <stddef.h>

/* A NULL-ended array of strings that owns them. */
struct words {
        char **items;
        size_t n;
};

void words_fini(struct words *words);
int words_add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define _cleanup_words_ __attribute__((cleanup(words_fini)))

/* What every trainer's command line begins with: this program, which stays behind it (launch.h). 0, -ENOMEM. */
int command_add_launcher(struct words *words, const char *launcher);

/* "--name=value" for every parameter: booleans true|false, nested ones dotted, strings as they are, numbers as JSON
 * writes them, arrays as JSON. 0, -ENOMEM, -E2BIG. */
int command_add_parameters(struct words *words, const json_t *params);

/* The clean environment of a trainer: what a program needs to run and nothing that could hold a secret. */
int command_add_environment(struct words *words, unsigned threads);
