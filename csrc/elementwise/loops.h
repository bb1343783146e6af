/* The inner loops of elementwise operators, over contiguous memory. loops_body.h
 * defines them once; portable.c, avx2.c and avx512vnni.c compile it for their instruction sets. */
#ifndef SPARING_LOOPS_H
#define SPARING_LOOPS_H

#include "internal.h"

struct sp_loops {
    void (*quantize)(const sp_quantize *p, const float *x, uint8_t *y, int64_t n);
    void (*dequantize)(const sp_dequantize *p, const uint8_t *x, float *y, int64_t n);
    void (*add)(const sp_add_s8 *p, const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n);
    /* b advances with a, or stays at one value. */
    void (*mul)(const sp_mul_s8 *p, const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n);
    void (*mul_by_one)(const sp_mul_s8 *p, const uint8_t *a, const uint8_t *b, uint8_t *y,
                       int64_t n);
    void (*rescale)(int x_zero_point, float multiplier, sp_range output, const uint8_t *x,
                    uint8_t *y, int64_t n);
    /* y = the rule applied to (sum - offset) * multiplier. */
    void (*requantize_sums)(uint32_t offset, float multiplier, sp_range output, const uint32_t *sum,
                            uint8_t *y, int64_t n);
};

/* Of the instruction set in use. */
const struct sp_loops *sp_loops_in_use(void);

extern const struct sp_loops sp_loops_portable, sp_loops_avx2, sp_loops_avx512vnni;

/* Calls fn(params, context, first, last) on ranges that cover [0, count), in parallel where the
 * work is worth it: `grain` is how much of `count` is worth a task. */
typedef void sp_range_fn(const void *params, const sp_context *context, int64_t first,
                         int64_t last);
void sp_for_ranges(const void *params, const sp_context *context, int64_t count, int64_t grain,
                   sp_range_fn *fn);

enum { SP_GRAIN_BYTES = 16384 };

#endif
