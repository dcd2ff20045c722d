#include "common/nearest.h"

#include <string.h>

#define CHARS_MAX 64 /* longer words have no nearest name */

static size_t least(size_t a, size_t b, size_t c) {
        size_t min = a < b ? a : b;
        return min < c ? min : c;
}

/* Letters to put in, take out, change, or swap with the next one (optimal string alignment), row by row. */
static size_t distance_of(const char *a, size_t n_a, const char *b, size_t n_b) {
        size_t rows[3][CHARS_MAX + 1];
        for (size_t j = 0; j <= n_b; j++)
                rows[0][j] = j;
        for (size_t i = 1; i <= n_a; i++) {
                size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
                row[0] = i;
                for (size_t j = 1; j <= n_b; j++) {
                        row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = least(row[j], two_above[j - 2] + 1, row[j]);
                }
        }
        return rows[n_a % 3][n_b];
}

void nearest_offer(struct nearest *nearest, const char *name) {
        size_t n_word = strlen(nearest->word), n_name = strlen(name), allowed = (n_word + 1) / 3;
        if (n_word > CHARS_MAX || n_name > CHARS_MAX)
                return;
        size_t distance = distance_of(nearest->word, n_word, name, n_name);
        if (distance > allowed || distance == n_name || (nearest->name && distance >= nearest->distance))
                return;
        nearest->name = name;
        nearest->distance = distance;
}

const char *nearest_of(const char *word, const char *const *names) {
        struct nearest nearest = {.word = word};
        for (; *names; names++)
                nearest_offer(&nearest, *names);
        return nearest.name;
}
