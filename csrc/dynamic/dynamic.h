/* What the operators of dynamic quantization share: ranges, and the way from sums to floats. */
#ifndef SPARING_DYNAMIC_H
#define SPARING_DYNAMIC_H

#include "internal.h"

/* A range as other operators read it. */
struct sp_dynamic_unit {
    float scale;
    int zero_point;
};

/* Any two floats give a zero point within a byte. */
SP_INLINE struct sp_dynamic_unit sp_read_range(const float *range)
{
    const float zero = range[1] >= 0.0F ? SP_MIN(range[1], 255.0F) : 0.0F;
    return (struct sp_dynamic_unit){range[0], (int)zero};
}

/* A block of pixels and of neighbouring output channels:
 * y = clamp((float)(sum - correction) * multiplier + bias). NaN passes. */
struct sp_real_rows {
    const int32_t *sum; /* [rows][sum_stride] */
    size_t sum_stride;
    int rows, count;           /* pixels, channels */
    const int32_t *correction; /* [count], as the next two */
    const float *multiplier, *bias;
    float lo, hi;
    float *y; /* of the first pixel and channel */
    size_t stride;
};

/* Of neighbouring channels: what the zero point adds to sums, and the product of both scales. */
SP_INLINE void sp_prepare_channels(const sp_dynamic_real *real, struct sp_dynamic_unit unit,
                                   int first, int count, int32_t *correction, float *multiplier)
{
    for (int i = 0; i < count; i++) {
        const uint32_t sum = (uint32_t)real->weight_sum[first + i];
        correction[i] = (int32_t)((uint32_t)unit.zero_point * sum);
        multiplier[i] = unit.scale * real->weight_scale[first + i];
    }
}

/* loops_body.h defines them once; portable.c, avx2.c and avx512vnni.c compile it for their
 * instruction sets. */
struct sp_dynamic_loops {
    /* The least and the largest of n values and 0; both NaN where a value is. */
    void (*extremes)(const float *x, int64_t n, float *low, float *high);
    void (*sums_to_reals)(const struct sp_real_rows *r);
    /* The sums, exact in float, stand in y; sum and correction are unused. */
    void (*floats_to_reals)(const struct sp_real_rows *r);
};

/* Of the instruction set in use. */
const struct sp_dynamic_loops *sp_dynamic_loops_in_use(void);

extern const struct sp_dynamic_loops sp_dynamic_loops_portable, sp_dynamic_loops_avx2,
    sp_dynamic_loops_avx512vnni;

#endif
