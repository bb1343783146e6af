/* What the parts of the dense int8 convolution share. */
#ifndef SPARING_CONV_S8_H
#define SPARING_CONV_S8_H

#include "epilogue/epilogue.h"
#include "gemm_s8/outliers.h"

/* Copies the patches of output pixels [first, first + rows) of one group, in the order (kernel_h,
 * kernel_w, channel), to y: `stride` bytes between patches, activations of `bytes` bytes. Pixels
 * count through all images. SP_PATCH_SLACK bytes behind the patches may be written. */
enum { SP_PATCH_SLACK = 32 };
void sp_gather_s8(const sp_conv_s8 *p, const uint8_t *x, int group, int first, int rows, void *y,
                  size_t stride, int bytes);

/* A micro-kernel with the epilogue on sums that never leave the registers, where the epilogue's
 * values fit int32: the first for panels of 16, 32 or 64 columns; the second for panels of 16, 24
 * or 32 columns in windows, of one chunk, and at least SP_FUSED_ROWS_AVX2 rows. Results go to
 * rows->y, rows->sum is unused. outliers: of the rows, not many, or NULL. */
enum { SP_FUSED_ROWS_AVX2 = 4 };
typedef void sp_conv_s8_fused_fn(const sp_epilogue *e, const struct sp_rows *rows, const void *a,
                                 size_t a_stride, struct sp_panel panel, int k,
                                 const struct sp_outliers *outliers);
sp_conv_s8_fused_fn sp_conv_s8_fused_avx512vnni, sp_conv_s8_fused_avx2;

#endif
