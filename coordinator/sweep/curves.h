/* The learning curves of a sweep's trials: what the stopping rules see. In memory only, made again from the stored
 * points. Values are turned so that smaller is better. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURVE_MAX_POINTS 65536 /* of one trial; later ones are not looked at */

struct curve_point {
        int64_t step;
        double value;
        double best, sum; /* of this and all points before it */
};

struct curve {
        struct curve_point *points; /* owned, in order of step: iteration k is points[k - 1] */
        size_t n, cap;
        bool is_complete; /* the trial ran to its own end */
};

struct curve_table {
        struct curve *items; /* owned; trial number k is items[k - 1]; trials without a point are empty */
        size_t n, cap;
        bool maximize;
};

void curve_table_fini(struct curve_table *table);

/* A point of a trial (numbers count from 1); one of the same step is replaced. 0 or -ENOMEM. */
int curve_table_put(struct curve_table *table, uint64_t number, int64_t step, double value);

/* It ended by itself, or (a retry) has not any more. Nothing when it has no curve. */
void curve_table_set_complete(struct curve_table *table, uint64_t number, bool is_complete);

/* The curve of a trial; an empty one when there is none. Valid until the next put. */
const struct curve *curve_table_get(const struct curve_table *table, uint64_t number);
