/* Slots × threads: in which ways the cores can be divided, which way is best, and what was measured before. Pure but for
 * the file. */
#pragma once
#include <jansson.h>
#include <stdint.h>

#include "common/error.h"

#define DIVISION_MAX 16

struct division {
        unsigned slots, threads; /* threads of each slot */
        double tokens_per_s;     /* of all slots together, trained side by side; 0: not measured */
        double memory_mib;       /* of one slot; 0: not known */
};

/* The ways to divide the cores: threads are halved until one is left, and there are as many slots as that gives. What is
 * asked for (0: nothing) stays as it is. Returns how many, at least 1; fewest slots first. */
size_t division_list(unsigned cores, unsigned slots, unsigned threads, struct division ret[static DIVISION_MAX]);

/* What all its slots need, with room to grow; 0 when not known. */
double division_needs_mib(const struct division *division);

/* The one of the measured that fit which trains most tokens a second; of those within 3 % of it the one with the fewest
 * slots, whose trials end soonest. NULL: none. */
const struct division *division_best(const struct division *divisions, size_t n, double room_mib);

/* The file of what was measured: an array of {"key","splits"}, newest first. key: the machine, model and program it holds for. */
void division_recall(const char *path, const json_t *key, struct division *divisions, size_t n); /* fills what it knows */
int division_remember(const char *path, const json_t *key, const struct division *divisions, size_t n, struct error *err);

/* [{"slots","threads","tokens_per_s","memory_mib"}, …] of those measured. New reference. */
json_t *division_to_json(const struct division *divisions, size_t n);
