#include "sweep/order.h"

#include <stdlib.h>

static int compare(const void *left, const void *right) {
        const struct candidate *a = left, *b = right;
        if (a->priority != b->priority)
                return a->priority > b->priority ? -1 : 1;
        if (a->n_running != b->n_running)
                return a->n_running < b->n_running ? -1 : 1;
        if (a->n_served != b->n_served)
                return a->n_served < b->n_served ? -1 : 1;
        return a->sweep < b->sweep ? -1 : a->sweep > b->sweep;
}

void order_candidates(struct candidate *candidates, size_t n) {
        qsort(candidates, n, sizeof *candidates, compare);
}

bool order_has_room(unsigned parallelism, uint64_t n_running) {
        return parallelism == 0 || n_running < parallelism;
}
