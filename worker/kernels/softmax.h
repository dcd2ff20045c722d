/* Softmax and dropout over one row of attention's scores, padded to 16 columns. */
#pragma once
#include <math.h>

#include "kernels/philox.h"
#include "kernels/simd.h"

#define ROUND_UP_16(x) (((x) + 15) & ~15)

/* In place over one padded row. */
INLINE void softmax_row(float *x, int n, int width) {
        for (int c = n; c < width; c++)
                x[c] = -INFINITY;
        vf highest = v_load(x);
        for (int c = LANES; c < width; c += LANES)
                highest = v_max(highest, v_load(x + c));
        const vf top = v_set(v_highest(highest));
        vf sum = {0};
        for (int c = 0; c < width; c += LANES) {
                vf e = v_first(v_exp(v_load(x + c) - top), n - c > 0 ? n - c : 0);
                v_store(x + c, e);
                sum += e;
        }
        const vf inverse = v_set(1.0f / v_sum(sum));
        for (int c = 0; c < width; c += LANES)
                v_store(x + c, v_load(x + c) * inverse);
}

/* to = x·mask over one padded row */
INLINE void drop_row(float *to, const float *x, const struct mask *mask, uint64_t row, int width) {
        for (int group = 0; group * MASK_GROUP < width; group++) {
                float factors[MASK_GROUP];
                mask_group(factors, mask, row, group);
                for (int c = group * MASK_GROUP, i = 0; i < MASK_GROUP && c < width; c += LANES, i += LANES)
                        v_store(to + c, v_load(x + c) * v_load(factors + i));
        }
}
