#include "plan/axes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define COUNT_MAX 0x1p62 /* of one axis; nobody sees its end */

void axis_from_levels(const struct level_set *levels, struct axis *ret) {
        *ret = (struct axis){.name = levels->name, .values = levels->values, .count = json_array_size(levels->values)};
}

void axis_from_parameter(const struct parameter *p, struct axis *ret) {
        struct axis axis = {.name = p->name, .first = p->min, .step = 1, .integer = p->integer};
        switch (p->distribution) {
        case DIST_CATEGORICAL:
                axis.values = p->values;
                axis.count = json_array_size(p->values);
                break;
        case DIST_INT_UNIFORM:
                axis.integer = true;
                axis.count = (uint64_t)(p->max - p->min) + 1;
                break;
        case DIST_Q_UNIFORM: /* numpy's arange(min, max, q) */
                axis.step = p->q;
                axis.integer = p->integer && p->min == floor(p->min);
                axis.count = (uint64_t)fmin(fmax(0, ceil((p->max - p->min) / p->q)), COUNT_MAX);
                break;
        default: /* the spec parser lets nothing else into a grid; a constant is no axis */
                axis.count = 0;
        }
        *ret = axis;
}

static int by_name(const void *a, const void *b) {
        return strcmp(((const struct axis *)a)->name, ((const struct axis *)b)->name);
}

void axes_sort(struct axis *axes, size_t n) {
        if (n > 1)
                qsort(axes, n, sizeof *axes, by_name);
}

uint64_t axes_count(const struct axis *axes, size_t n) {
        uint64_t total = 1;
        for (size_t i = 0; i < n; i++)
                if (__builtin_mul_overflow(total, axes[i].count, &total))
                        return UINT64_MAX;
        return total;
}

static json_t *axis_value(const struct axis *axis, uint64_t index) {
        if (axis->values)
                return json_incref(json_array_get(axis->values, (size_t)index));
        return json_number(axis->first + (double)index * axis->step, axis->integer);
}

int axes_apply(const struct axis *axes, size_t n, uint64_t index, json_t *params) {
        for (size_t i = n; i-- > 0;) {
                int r = json_set_dotted(params, axes[i].name, axis_value(&axes[i], index % axes[i].count));
                if (r < 0)
                        return r;
                index /= axes[i].count;
        }
        return 0;
}
