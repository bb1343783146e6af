/* Between pixels of neighbouring channels (nhwc) and lanes: transposition in tiles of 16 rows. */
#ifndef SPARING_CSR_PIXELS_H
#define SPARING_CSR_PIXELS_H

#include "internal.h"

/* y[c][r] = x[r][c] for 16 rows of `columns` bytes, a multiple of 16; strides in bytes. */
typedef void sp_tiles_fn(const uint8_t *x, size_t x_stride, uint8_t *y, size_t y_stride,
                         int columns);
sp_tiles_fn sp_tiles_portable, sp_tiles_avx2;

sp_tiles_fn *sp_tiles_of(enum sp_isa_id isa);

/* The same for any number of rows and columns. */
void sp_transpose_tiles(sp_tiles_fn *tiles, const uint8_t *x, size_t x_stride, uint8_t *y,
                        size_t y_stride, int rows, int columns);

#endif
