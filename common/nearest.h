/* "Did you mean": of the names offered the one that a mistyped word is nearest to. */
#pragma once
#include <stddef.h>

struct nearest {
        const char *word; /* borrowed, as the names are */
        const char *name; /* the nearest so far, NULL while none is near: at most a third of the word is wrong */
        size_t distance;
};

void nearest_offer(struct nearest *nearest, const char *name);

/* Of a list that ends with NULL; NULL when none is near. */
const char *nearest_of(const char *word, const char *const *names);
