/* The inner loops of float32 operators without weights. float_loops_body.h defines them once;
 * float_portable.c, float_avx2.c and float_avx512vnni.c compile it for their instruction sets. All
 * give the same bits: the order of operations is fixed, and nothing is contracted. */
#ifndef SPARING_FLOAT_LOOPS_H
#define SPARING_FLOAT_LOOPS_H

#include "pool_s8/taps.h"

/* y = clamp(a + b) or clamp(a * b); b advances with a, or stays at one value. NaN passes. */
typedef void sp_binary_loop(const float *a, const float *b, float *y, int64_t n, float lo,
                            float hi);
typedef void sp_activation_loop(const float *x, float *y, int64_t n, float a, float b);

struct sp_float_loops {
    sp_binary_loop *add, *add_one, *mul, *mul_one;
    sp_activation_loop *activation[SP_ACTIVATION_COUNT];
    /* Of n neighbouring channels, from the byte `at` of each tap on. */
    void (*max_taps)(struct sp_taps t, size_t at, int64_t n, float *y);
    /* Sums of rows, then of those, divided. row: room for n floats. */
    void (*mean_taps)(struct sp_taps t, size_t at, int64_t n, float divisor, float *row, float *y);
};

/* Of the instruction set in use. */
const struct sp_float_loops *sp_float_loops_in_use(void);

extern const struct sp_float_loops sp_float_loops_portable, sp_float_loops_avx2,
    sp_float_loops_avx512vnni;

#endif
