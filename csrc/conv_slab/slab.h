/* What the driver and micro-kernels of sparse float32 convolutions share.
 *
 * Activations are slabs: SP_SLAB_WIDTH neighbouring pixels of the whole batch, channel after
 * channel. Pixels are lanes: a micro-kernel takes one slab and walks the non-zeros of one output
 * channel after another; each multiplies a row of lanes, which is aligned and, since a slab is one
 * piece of memory, costs no more than its cache lines. */
#ifndef SPARING_SLAB_H
#define SPARING_SLAB_H

#include "internal.h"

/* One call of a micro-kernel: all rows of a panel for one slab and one part of its channels. A
 * whole slab may have a narrow one, its tail, for company: one pass over the entries serves both.
 */
struct sp_slab_work {
    const sp_conv_csr_f32 *params;
    const float *x; /* what the part's entries count from */
    int width;      /* lanes to compute: whole vectors of eight */
    const sp_csr_segment *segment;
    int segments;
    const void *entries; /* of the first segment; the others' follow */
    float *partial;      /* [out_c][SP_SLAB_WIDTH]: rows that consist of several segments */
    float *y;            /* the slab, [out_c][SP_SLAB_WIDTH] */
    const float *residual;
    /* The tail: its lanes, 0 for none, at most SP_SLAB_TAIL; what they read, with rows of so many
     * lanes; and floats from what partial, y and residual point to, to its own. */
    int tail_width;
    const float *tail_x;
    int64_t tail_y;
};
enum { SP_SLAB_TAIL = 16 };
typedef void sp_slab_fn(const struct sp_slab_work *work);

/* A non-zero: the lane it reads, and its weight. */
struct sp_slab_entry {
    uint32_t lane;
    float weight;
};

SP_INLINE int64_t sp_slab_row(int row) { return (int64_t)row * SP_SLAB_WIDTH; }

/* ---- bringing taps into lanes (gather.c) ---- */

/* Lanes that neighbouring pixels of one slab fill, every stride_w-th of them. lane: of the tap;
 * from: elements from the input to the first pixel, in channel 0. */
struct sp_slab_run {
    int64_t from;
    int lane, length;
};

/* For vectors of eight lanes: so many neighbouring ones, as they are; or one, of which `lanes` has
 * a bit for each lane that is wanted, and some pieces after it add others. from: elements from the
 * input to lane 0, wherever that lies; to: lanes of the channel's taps. */
struct sp_slab_piece {
    int64_t from;
    int to;
    uint8_t vectors, lanes, others;
};

/* What one slab's taps read. Runs may fill lanes that are padding: these become zero afterwards. */
struct sp_slab_gather {
    const sp_conv_shape *shape;
    int width;                   /* lanes, whole vectors of eight */
    int row;                     /* lanes from a tap to the next  */
    struct sp_slab_run *run;     /* at most taps * SP_SLAB_WIDTH */
    int *first_run;              /* [taps + 1] */
    uint64_t *inside;            /* [taps]: a bit for each lane that is no padding */
    struct sp_slab_piece *piece; /* at most taps * SP_SLAB_WIDTH: instead of runs */
    int pieces;
};

/* For the output pixels from `first` on, of which `pixels` exist. */
void sp_slab_find_runs(int64_t first, int pixels, struct sp_slab_gather *gather);
void sp_slab_find_pieces(struct sp_slab_gather *gather);
/* Some channels' taps: lanes[channels][taps][row]. x: the first of the channels, in the first slab.
 * The second takes pieces, which are for a stride_w of 1. */
typedef void sp_slab_gather_fn(const struct sp_slab_gather *gather, const float *x, int channels,
                               float *lanes);
sp_slab_gather_fn sp_slab_gather_runs, sp_slab_gather_pieces_avx2;

#endif
