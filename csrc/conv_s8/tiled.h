/* Convolution by tile registers: the driver of its tasks (tiled.c) and the kernel (tiled_amx.c). */
#ifndef SPARING_TILED_H
#define SPARING_TILED_H

#include "conv_s8.h"
#include "gemm_s8/gemm_s8.h"

/* Where a block's activations are: those of tap (i, j) of pixel (y, x) are `tap_bytes` bytes at
 * first + y * row_pitch + x * pixel_pitch + i * tap_row_pitch + j * tap_pitch. The order of the
 * taps is that of K. tap_bytes: a multiple of 4. */
struct sp_tiled_block {
    const uint8_t *first;
    int rows, width; /* of output pixels */
    size_t row_pitch, pixel_pitch;
    int tap_rows, taps, tap_bytes; /* taps: of a row */
    size_t tap_row_pitch, tap_pitch;
};

/* The panels from `begin` to the one before `end`. results: of the first of all panels; its sums
 * are unused. The epilogue's values must fit int32. */
typedef void sp_tiled_fn(const sp_epilogue *e, const struct sp_rows *results,
                         const struct sp_tiled_block *block, const struct sp_panels *panels,
                         int begin, int end);
sp_tiled_fn sp_tiled_amx;

/* Whether tile registers serve this convolution, which then runs by these. */
int sp_tiled_serves(const sp_conv_s8 *p);
void sp_tiled_conv_s8(const sp_conv_s8 *p, const sp_context *context);
size_t sp_scratch_tiled(const sp_conv_s8 *p);

#endif
