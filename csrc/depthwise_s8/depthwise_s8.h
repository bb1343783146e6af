/* What the driver and the micro-kernels of the depthwise int8 convolution share.
 *
 * Bytes of several input rows are interleaved, so that one instruction multiplies and adds a
 * channel's taps of k_group rows at once. The interleaved columns serve every output pixel that
 * sees them, in `rows` output rows: as many as fit in the rows that are interleaved anyway. */
#ifndef SPARING_DEPTHWISE_S8_H
#define SPARING_DEPTHWISE_S8_H

#include "internal.h"

/* How output rows share input rows. Output row r of a band starts r * stride_h rows below the
 * first; its weights are shifted as far, between zeros. */
struct sp_band {
    int groups; /* of k_group input rows */
    int rows;   /* output rows */
};

SP_INLINE struct sp_band sp_find_band(const sp_conv_shape *s, int k_group)
{
    struct sp_band band = {(s->kernel_h + k_group - 1) / k_group, 1};
    if (s->dilation_h == 1)
        band.rows = (band.groups * k_group - s->kernel_h) / s->stride_h + 1;
    return band;
}

/* Channels that are computed together: nr, or half or a quarter as many (not below 16), of two or
 * four neighbouring pixels. The last chunk ends with the last channel, so that it may overlap its
 * neighbour. Fewer than 16 channels are one chunk of 16. */
struct sp_chunk {
    int first, width;
};

/* The chunk that begins at channel `at`, or before it at the end. The widest that is more than
 * three quarters full. */
SP_INLINE struct sp_chunk sp_find_chunk(int at, int channels, int nr)
{
    int width = nr;
    while (width > 16 && (width > channels || 4 * (channels - at) <= 3 * width))
        width /= 2;
    return (struct sp_chunk){SP_MAX(SP_MIN(at, channels - width), 0), width};
}

/* One chunk of a strip: pixels that lie side by side in the rows of some bands.
 *
 * weights: [rows][kernel_w][groups] vectors of [nr][k_group], packing_depthwise.py has the order
 * of the channels. row[i]: column 0 of the i-th input row of the first band; where the row lies
 * outside the image, `outside`. The next band's rows follow. */
struct sp_depthwise_run {
    const sp_depthwise_s8 *p;
    struct sp_band band;
    struct sp_chunk chunk;
    const void *weights;
    const uint8_t *const *row;
    const uint8_t *outside;  /* x_zero_point: as many bytes as a row, and 64 */
    int rows;                /* output rows of all bands */
    int first, pixels;       /* of each row */
    uint8_t *y;              /* the chunk's first channel in the first band's first pixel */
    const uint8_t *residual; /* likewise, or NULL */
    uint8_t *columns;        /* room for the interleaved columns of a band */
};
typedef void sp_depthwise_s8_fn(const struct sp_depthwise_run *run);

/* Moves on by a band of `input_rows`; returns the output rows that are left. */
SP_INLINE int sp_next_band(struct sp_depthwise_run *run, int input_rows)
{
    const sp_conv_shape *s = &run->p->shape;
    const size_t bytes = (size_t)run->band.rows * (size_t)s->out_w * (size_t)s->in_c;
    run->row += input_rows;
    run->y += bytes;
    if (run->residual)
        run->residual += bytes;
    run->rows -= run->band.rows;
    return run->rows;
}

/* Columns between the first and the last tap of an output. */
SP_INLINE int sp_reach(const sp_conv_shape *s) { return (s->kernel_w - 1) * s->dilation_w; }

/* The input of the chunk's first channel, or the padding. */
SP_INLINE const uint8_t *sp_input_at(const struct sp_depthwise_run *run, int row, int column)
{
    if (column < 0 || column >= run->p->shape.in_w)
        return run->outside;
    return run->row[row] + (size_t)column * (size_t)run->p->shape.in_c + run->chunk.first;
}

#endif
