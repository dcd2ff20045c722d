#include "sweep/curves.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void curve_table_fini(struct curve_table *table) {
        for (size_t i = 0; i < table->n; i++)
                free(table->items[i].points);
        free(table->items);
        *table = (struct curve_table){.maximize = table->maximize};
}

static int reserve_curves(struct curve_table *table, size_t n) {
        if (n > table->cap) {
                size_t cap = table->cap * 2 > n ? table->cap * 2 : n + 64;
                struct curve *items = realloc(table->items, cap * sizeof *items);
                if (!items)
                        return -ENOMEM;
                table->items = items;
                table->cap = cap;
        }
        if (n > table->n) {
                memset(table->items + table->n, 0, (n - table->n) * sizeof *table->items);
                table->n = n;
        }
        return 0;
}

static int reserve_point(struct curve *curve) {
        if (curve->n < curve->cap)
                return 0;
        size_t cap = curve->cap ? curve->cap * 2 : 8;
        struct curve_point *points = realloc(curve->points, cap * sizeof *points);
        if (!points)
                return -ENOMEM;
        curve->points = points;
        curve->cap = cap;
        return 0;
}

/* The running best and sum from point `at` on. */
static void add_up(struct curve *curve, size_t at) {
        double best = at > 0 ? curve->points[at - 1].best : INFINITY, sum = at > 0 ? curve->points[at - 1].sum : 0;
        for (size_t i = at; i < curve->n; i++) {
                struct curve_point *point = &curve->points[i];
                point->best = best = fmin(best, point->value);
                point->sum = sum = sum + point->value;
        }
}

int curve_table_put(struct curve_table *table, uint64_t number, int64_t step, double value) {
        int r = number > table->n ? reserve_curves(table, number) : 0;
        if (r < 0)
                return r;
        struct curve *curve = &table->items[number - 1];
        size_t at = curve->n; /* points mostly come in order */
        while (at > 0 && curve->points[at - 1].step >= step)
                at--;
        if (at == curve->n || curve->points[at].step != step) {
                if (curve->n == CURVE_MAX_POINTS)
                        return 0;
                r = reserve_point(curve);
                if (r < 0)
                        return r;
                memmove(curve->points + at + 1, curve->points + at, (curve->n - at) * sizeof *curve->points);
                curve->n++;
        }
        curve->points[at] = (struct curve_point){.step = step, .value = table->maximize ? -value : value};
        add_up(curve, at);
        return 0;
}

void curve_table_set_complete(struct curve_table *table, uint64_t number, bool is_complete) {
        if (number <= table->n)
                table->items[number - 1].is_complete = is_complete;
}

const struct curve *curve_table_get(const struct curve_table *table, uint64_t number) {
        static const struct curve none;
        return number <= table->n ? &table->items[number - 1] : &none;
}
