/* Which input pixels a pooling window sees, nhwc. */
#ifndef SPARING_TAPS_H
#define SPARING_TAPS_H

#include "internal.h"

/* Along one axis: where the first tap inside the input is, and how many there are. */
struct sp_span {
    int at, count;
};

SP_INLINE struct sp_span sp_find_span(int start, int step, int taps, int size)
{
    if (start >= 0 && start + (taps - 1) * step < size)
        return (struct sp_span){start, taps};
    int skipped = start < 0 ? (-start + step - 1) / step : 0;
    int end = start >= size ? 0 : (size - start + step - 1) / step; /* taps before `size` */
    return (struct sp_span){start + skipped * step, SP_MAX(SP_MIN(taps, end) - skipped, 0)};
}

/* The taps of one output pixel that lie inside the input. x is the first one; the steps lead to
 * the next row and column. */
struct sp_taps {
    const uint8_t *x;
    int rows, columns;
    size_t row_step, column_step;
};

/* row: span of the output row; image: its input image; ox: output column. */
SP_INLINE struct sp_taps sp_find_taps(const sp_conv_shape *s, const uint8_t *image,
                                      struct sp_span row, int ox)
{
    const size_t channels = (size_t)s->in_c;
    struct sp_span column =
        sp_find_span(ox * s->stride_w - s->pad_left, s->dilation_w, s->kernel_w, s->in_w);
    struct sp_taps t = {image, row.count, column.count,
                        (size_t)s->dilation_h * (size_t)s->in_w * channels,
                        (size_t)s->dilation_w * channels};
    if (t.rows > 0 && t.columns > 0)
        t.x += ((size_t)row.at * (size_t)s->in_w + (size_t)column.at) * channels;
    else
        t.rows = 0;
    return t;
}

SP_INLINE struct sp_span sp_find_rows(const sp_conv_shape *s, int oy)
{
    return sp_find_span(oy * s->stride_h - s->pad_top, s->dilation_h, s->kernel_h, s->in_h);
}

SP_INLINE size_t sp_image_bytes(const sp_conv_shape *s)
{
    return (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
}

#endif
