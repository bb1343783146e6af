/* What the drivers and micro-kernels of sparse int8 convolutions share.
 *
 * Pixels are lanes: a micro-kernel takes a block of neighbouring lanes and walks the non-zeros of
 * one output channel after another; each non-zero is a weight and the offset from the block's first
 * lane to the pixels it multiplies.
 *
 * Convolutions by 1x4 blocks (csrc/conv_block) are the same with lanes of four bytes: a pixel's
 * word of four channels, of which a non-zero block multiplies all. Their micro-kernels write each
 * output channel's bytes apart; the driver joins these to words. */
#ifndef SPARING_CSR_H
#define SPARING_CSR_H

#include <string.h>

#include "internal.h"

enum { SP_CSR_WIDTH = 64 };    /* int8: lanes of a block; the last one may have 32 or 16 */
enum { SP_CSR_TOGETHER = 16 }; /* matrix products, nhwc: channels that are in one panel  */

/* Bytes ahead of what is multiplied that entries are fetched: many streams of input keep the
 * hardware from noticing that entries follow each other. */
enum { SP_CSR_AHEAD = 1536 };

/* Entries of a packed row: k_group non-zeros, with a 32-bit word of weights. */
struct sp_csr_single {
    uint32_t offset;
    int32_t weight;
};
struct sp_csr_pair { /* weights: int8 a, b, a, b */
    uint32_t offset[2];
    int32_t weights;
};
struct sp_csr_quad { /* weights: int8 a, b, c, d */
    uint32_t offset[4];
    int32_t weights;
};

/* Neighbouring lanes of a block that are neighbouring pixels of the output. The other lanes hold
 * nothing of use: they stand for the padding between rows and between images. */
struct sp_csr_piece {
    int lane, length;
    int64_t output; /* elements from the pass' first output pixel */
    int64_t input;  /* SP_CSR_GATHERED: elements from the pass' first input pixel */
};

/* One call of a micro-kernel: all rows of a panel for one block of lanes. It writes all `width`
 * lanes of the output, the useless ones too. */
struct sp_csr_work {
    const void *params; /* sp_conv_csr_s8, of blocks too */
    const void *x;      /* the block's first lane            */
    int width;          /* lanes to compute                  */
    const sp_csr_segment *segment;
    int segments;
    const void *entries; /* of the first segment; the others' follow */
    void *partial;       /* [O][SP_CSR_WIDTH] int32: rows that consist of several segments */
    void *y;             /* the block's first lane in channel 0 */
    const void *residual;
    int64_t channel_step; /* elements from one channel to the next, of y and residual */
    int32_t *sums;        /* a matrix product: [out_c][64], where sums go as they are; or NULL */
    int used;             /* a matrix product: lanes that are rows of the input */
};
typedef void sp_csr_fn(const struct sp_csr_work *work);

/* ---- the driver (driver.c) ---- */

struct sp_csr_operator {
    const sp_conv_shape *shape;
    const sp_csr_lanes *lanes;
    const sp_csr_matrix *matrix;
    const void *params;
    int ukernel, element_bytes, has_residual;
    uint8_t fill;      /* every byte of a padded tap */
    int lane_channels; /* 4 in nc4hw4, where an element is a word of channels; else 1 */
    int is_product;    /* a matrix product: int32 sums, [lanes][out_c] */
    int nhwc;
};
void sp_csr_run(const struct sp_csr_operator *op, const sp_context *context);
size_t sp_csr_scratch(const struct sp_csr_operator *op);

/* ---- bringing pixels into lanes (planes.c) ---- */

/* All planes of one channel for `images` images at x: padded, one plane for each phase of the
 * stride, so that every tap of every output row is a run of neighbouring lanes. */
void sp_csr_fill_planes(const struct sp_csr_operator *op, const char *x, int images, int channel,
                        char *planes);
/* The lanes of one block, for some channels, as [channels][block]. fetch: whether the next block's
 * pixels will be wanted soon. */
void sp_csr_gather(const struct sp_csr_operator *op, const char *x, int pieces,
                   const struct sp_csr_piece *piece, int channel, int channels, int fetch,
                   char *slab);
/* Every `step`-th of n elements, in each of some rows. Steps between rows in bytes. */
struct sp_csr_copy {
    char *to;
    const char *from;
    int64_t to_row, from_row;
    int rows, n, step;
    /* bytes ahead of a row's first byte, and how many, that will be wanted soon: too few for the
     * hardware to foresee */
    int64_t fetch, fetch_bytes;
};
typedef void sp_csr_copy_fn(const struct sp_csr_copy *copy);

SP_INLINE void sp_fetch_ahead(const struct sp_csr_copy *copy, const char *from)
{
    for (int64_t at = 0; at < copy->fetch_bytes; at += 64)
        __builtin_prefetch(from + copy->fetch + at, 0, 2);
}

/* memcpy of at least one byte without a call, for few bytes: the last parts overlap. */
SP_INLINE void sp_copy_lanes(void *to, const void *from, int n)
{
    char *t = to;
    const char *f = from;
    for (; n > 64; n -= 32, t += 32, f += 32)
        memcpy(t, f, 32);
#define SP_COPY(size)                                                                              \
    if (n >= (size)) {                                                                             \
        memcpy(t, f, size);                                                                        \
        memcpy(t + n - (size), f + n - (size), size);                                              \
        return;                                                                                    \
    }
    SP_COPY(32)
    SP_COPY(16)
    SP_COPY(8)
    SP_COPY(4)
    SP_COPY(2)
#undef SP_COPY
    *t = *f;
}

#endif
