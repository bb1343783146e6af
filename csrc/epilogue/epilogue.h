/* From int32 sums to uint8 activations, nhwc: bias, requantization, residual, clamp, table.
 * requantize.h has the rounding rule; avx2.c and avx512vnni.c compute the same in vectors. */
#ifndef SPARING_EPILOGUE_H
#define SPARING_EPILOGUE_H

#include "internal.h"

/* Values behind the last one that vectors may read (and ignore): of sums, biases, multipliers. */
enum { SP_EPILOGUE_SLACK = 64 };

/* How values of an output fit, beside sp_epilogue.fits: they do, and it has zero point 0 and all of
 * 0 to 255, to which packing saturates. */
enum { SP_WHOLE_RANGE = 2 };
SP_INLINE int sp_is_whole_range(sp_range r)
{
    return r.zero_point == 0 && r.lo == 0 && r.hi == UINT8_MAX;
}

/* A block of pixels and of neighbouring output channels. */
struct sp_rows {
    const int32_t *sum; /* [rows][sum_stride] and the slack, without the bias */
    size_t sum_stride;
    int rows, first, count;  /* pixels; channels first ... first + count - 1 */
    const uint8_t *residual; /* of the first pixel and channel, or NULL */
    uint8_t *y;              /* of the first pixel and channel */
    size_t stride;           /* bytes from pixel to pixel in residual and y */
};
typedef void sp_epilogue_fn(const sp_epilogue *e, const struct sp_rows *r);

sp_epilogue_fn sp_epilogue_rows_portable, sp_epilogue_rows_avx2, sp_epilogue_rows_avx512vnni;

/* The last part of it: y = table[y], where there is a table. */
void sp_epilogue_table(const sp_epilogue *e, const struct sp_rows *r);

/* The one that a micro-kernel's instruction set allows. */
sp_epilogue_fn *sp_epilogue_of(enum sp_isa_id isa);

#endif
