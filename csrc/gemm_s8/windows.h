/* Weights for products by vpmaddubsw, which multiplies uint8 by int8 and adds pairs of products in
 * int16, saturating. A window of R quads (four neighbouring k) is summed in int16 before it is
 * widened; windows.c chooses windows whose sums provably stay within int16, and quads that no
 * window can hold are multiplied in int16 and summed in int32 instead.
 *
 * A panel of up to 32 columns, rounded up to SP_COLUMN_GROUP, is a row of chunks. The weights of a
 * chunk stay in the L1 cache while all rows pass by. */
#ifndef SPARING_WINDOWS_H
#define SPARING_WINDOWS_H

#include "gemm_s8.h"

enum {
    SP_WINDOW_COLUMNS = 32,
    SP_CHUNK_QUADS = 160, /* of a chunk at most: 20 KB of weights */
    SP_EXACT = 0          /* the size of a run of quads in int16 */
};

/* `count` windows of `size` quads, or `count` single quads where size is SP_EXACT. */
struct sp_window_run {
    uint8_t size, count;
};

/* Followed, at `weights`, by the quads in the order of the runs: of a window int8 [columns][4]; of
 * an exact quad int16 [2][columns][2], weights 0 and 2, then 1 and 3. */
struct sp_window_chunk {
    int32_t weights; /* bytes from here to the weights, a multiple of 64 */
    int32_t next;    /* bytes from here to the next chunk, 0 in the last one */
    int16_t quads, runs;
    struct sp_window_run run[];
};

#endif
