/* What the drivers and the micro-kernels of the dense float32 convolution share. */
#ifndef SPARING_CONV_F32_H
#define SPARING_CONV_F32_H

#include "internal.h"

/* Last touch of finished sums: y = clamp(sum + residual). residual may be NULL. */
struct sp_finish_f32 {
    float lo, hi;
    const float *residual;
    float *y;
    size_t stride; /* floats between rows (pixels) of residual and y */
};

/* One tile, of a panel or of several beside each other: for i < rows <= mr and j < panels * nr,
 * sum[i][j] = start[j] + sum_k a[i * lda + k] * w[j / nr * panel + k * nr + j % nr].
 * Where start is NULL the sums go on from `sums` [mr][panels * nr]. They end in `sums`, or, with
 * `finish`, in finish->y. Nothing beyond `rows` rows is read or written. */
struct sp_tile_f32 {
    const float *a;
    size_t lda; /* floats */
    int rows, k;
    int panels;   /* 1, or 2 or 4 with rows * panels <= SP_FEW_F32 */
    size_t panel; /* floats from a panel's weights to the next one's */
    const float *w, *start;
    float *sums;
    const struct sp_finish_f32 *finish;
};
/* One or two rows have too few sums in a panel to keep a core busy, and one stream of weights
 * draws half of what memory gives: as many rows times panels go together. */
enum { SP_FEW_F32 = 4 };
typedef void sp_gemm_f32_fn(const struct sp_tile_f32 *tile);

/* `count` output pixels in a row of a depthwise convolution, which all see the same taps:
 * rows x columns of them. Strides in floats; a pixel's channels are contiguous everywhere, and
 * output pixels are `channels` apart. */
struct sp_depthwise_row_f32 {
    const float *x, *w, *bias;
    struct sp_finish_f32 finish;
    int channels, count, rows, columns;
    size_t x_pixel, x_row, x_column; /* from one output pixel, tap row, tap column to the next */
    size_t w_row, w_column;
};
typedef void sp_depthwise_f32_fn(const struct sp_depthwise_row_f32 *row);

/* Copies the K range [k_first, k_last) of the patches of output pixels [first, first + rows) of
 * one group, in the order (kernel_h, kernel_w, channel), to y with `stride` floats between
 * patches. Pixels count through all images. Padding gives zeros. */
void sp_gather_f32(const sp_conv_shape *s, const float *x, int group, int64_t first, int rows,
                   int k_first, int k_last, float *y, size_t stride);

void sp_depthwise_conv_f32(const sp_conv_f32 *p, const sp_context *context);

#endif
