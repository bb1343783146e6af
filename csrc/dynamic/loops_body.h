/* Definitions of the loops, for the instruction set of the file that includes this and defines
 * SP_DYNAMIC_LOOPS as the table's name. Plain C: the compiler vectorizes every loop here. */
#include <math.h>

#include "dynamic.h"

enum { LANES = 32 };

struct lanes {
    float low[LANES], high[LANES], nan[LANES];
};

SP_INLINE void look_at(struct lanes *l, const float *restrict x, int n)
{
    for (int j = 0; j < n; j++) {
        l->low[j] = x[j] < l->low[j] ? x[j] : l->low[j];
        l->high[j] = x[j] > l->high[j] ? x[j] : l->high[j];
        l->nan[j] = x[j] != x[j] ? x[j] : l->nan[j];
    }
}

static void extremes(const float *restrict x, int64_t n, float *low, float *high)
{
    struct lanes l = {{0}, {0}, {0}};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        look_at(&l, x + i, LANES);
    look_at(&l, x + i, (int)(n - i));
    *low = *high = 0.0F;
    float nan = 0.0F;
    for (int j = 0; j < LANES; j++) {
        *low = SP_MIN(*low, l.low[j]);
        *high = SP_MAX(*high, l.high[j]);
        nan = l.nan[j] != l.nan[j] ? l.nan[j] : nan;
    }
    if (nan != nan)
        *low = *high = nan;
}

SP_INLINE float finish(const struct sp_real_rows *r, float sum, float multiplier, float bias)
{
    float real = sum * multiplier + bias;
    real = real < r->lo ? r->lo : real;
    return real > r->hi ? r->hi : real;
}

static void sums_to_reals(const struct sp_real_rows *r)
{
    const int32_t *restrict correction = r->correction;
    const float *restrict multiplier = r->multiplier, *restrict bias = r->bias;
    for (int row = 0; row < r->rows; row++) {
        const int32_t *restrict sum = r->sum + (size_t)row * r->sum_stride;
        float *restrict y = r->y + (size_t)row * r->stride;
        for (int j = 0; j < r->count; j++) {
            const int32_t exact = (int32_t)((uint32_t)sum[j] - (uint32_t)correction[j]);
            y[j] = finish(r, (float)exact, multiplier[j], bias[j]);
        }
    }
}

static void floats_to_reals(const struct sp_real_rows *r)
{
    const float *restrict multiplier = r->multiplier, *restrict bias = r->bias;
    for (int row = 0; row < r->rows; row++) {
        float *restrict y = r->y + (size_t)row * r->stride;
        for (int j = 0; j < r->count; j++)
            y[j] = finish(r, y[j], multiplier[j], bias[j]);
    }
}

const struct sp_dynamic_loops SP_DYNAMIC_LOOPS = {extremes, sums_to_reals, floats_to_reals};
