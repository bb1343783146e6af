/* Weights for products by vpmaddubsw, which multiplies uint8 by int8 and adds pairs of products in
 * int16, saturating. A window of quads (four neighbouring k each, from anywhere in k) is summed in
 * int16 before it is widened; windows.c chooses windows whose sums provably stay within int16. What
 * not even a window of one quad can hold is multiplied in int16 and summed in int32 instead, 8
 * columns at a time.
 *
 * A panel of up to 32 columns, rounded up to SP_VECTOR_COLUMNS, is a row of chunks. The weights of
 * a chunk stay in the L1 cache while all rows pass by.
 *
 * Four vectors hold their columns in the order that packing to bytes undoes, which works within
 * lanes of 128 bits: vector v has columns 4 v to 4 v + 3, then 16 + 4 v to 16 + 4 v + 3. The place
 * of a column in this order is its slot. */
#ifndef SPARING_WINDOWS_H
#define SPARING_WINDOWS_H

#include "gemm_s8.h"

enum {
    SP_WINDOW_COLUMNS = 32,
    SP_VECTOR_COLUMNS = 8,
    SP_CHUNK_QUADS = 160, /* of a chunk at most: 20 KB of weights */
    SP_LARGEST_WINDOW = 8,
    SP_SINGLE = 16 /* of a run's kind: windows of one quad */
};

/* `count` windows of `kind` quads; or where kind is SP_SINGLE + mask, `count` quads of which the
 * vectors of 8 columns in the mask are multiplied in int16. */
struct sp_window_run {
    uint8_t kind, count;
};

/* width: of the panel, in columns. */
SP_INLINE int sp_window_slot(int column, int width)
{
    return width < SP_WINDOW_COLUMNS ? column : column % 16 / 4 * 8 + column / 16 * 4 + column % 4;
}

SP_INLINE int sp_window_quads(int kind) { return kind < SP_SINGLE ? kind : 1; }

/* Followed by the quads of all windows, uint8, counted from the chunk's first. Then, at `weights`,
 * the quads in the same order: int8 [slots][4]; of a single quad for each vector int8 [8][4], or,
 * for one of the mask, int16 [2][8][2], k 0 and 2, then 1 and 3. */
struct sp_window_chunk {
    int32_t weights; /* bytes from here to the weights, a multiple of 64 */
    int32_t next;    /* bytes from here to the next chunk, 0 in the last one */
    int16_t quads, runs;
    struct sp_window_run run[];
};

SP_INLINE const uint8_t *sp_window_places(const struct sp_window_chunk *chunk)
{
    return (const uint8_t *)(chunk->run + chunk->runs);
}

#endif
