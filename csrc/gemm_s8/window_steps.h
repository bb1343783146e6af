/* A chunk of windows while windows.c packs it, and the steps that take most of the time. */
#ifndef SPARING_WINDOW_STEPS_H
#define SPARING_WINDOW_STEPS_H

#include "windows.h"

enum {
    SP_WINDOW_LANES = 2 * SP_WINDOW_COLUMNS,
    SP_WINDOW_VECTORS = SP_WINDOW_COLUMNS / SP_VECTOR_COLUMNS,
    SP_VECTOR_LANES = SP_WINDOW_LANES / SP_WINDOW_VECTORS,
    SP_QUAD_BYTES = 4 * SP_WINDOW_COLUMNS,
    SP_LARGEST_LANE = 2 * 128, /* of a lane of one quad */
    SP_LARGEST_BYTE = 255
};

/* Of each lane the sum of its positive weights, and of its negated negative ones: at most 2 * 8 *
 * 128 in a window. */
typedef int16_t sp_lane_sums[2 * SP_WINDOW_LANES];
typedef uint8_t sp_lane_bytes[2 * SP_WINDOW_LANES]; /* the same, where bytes hold them */

struct sp_window {
    int kind, quads; /* kind: of struct sp_window_run */
    uint8_t place[SP_LARGEST_WINDOW];
};

/* Part of a panel while it is packed. */
struct sp_chunk {
    int quads, width; /* width: of the panel, in columns */
    int windows, time;
    int open;                        /* windows that take more quads */
    uint8_t opened[SP_CHUNK_QUADS];  /* their numbers, rising */
    uint8_t order[SP_CHUNK_QUADS];   /* quads, those with the largest sums first */
    int16_t largest[SP_CHUNK_QUADS]; /* sum of any lane of each quad */
    struct sp_window window[SP_CHUNK_QUADS];
    _Alignas(64) int8_t weights[SP_CHUNK_QUADS][SP_QUAD_BYTES];
    _Alignas(64) sp_lane_sums sums[SP_CHUNK_QUADS]; /* of each quad */
    union {
        _Alignas(64) sp_lane_sums total[SP_CHUNK_QUADS]; /* of each open window */
        struct {
            _Alignas(64) sp_lane_bytes sums[SP_CHUNK_QUADS];
            _Alignas(64) sp_lane_bytes total[SP_CHUNK_QUADS];
        } bytes;
    };
};

/* Where most of the time of packing goes. */
struct sp_window_steps {
    /* w: the panel's first row, at the chunk's first quad; k: what is left of a row from there. */
    void (*load)(struct sp_chunk *c, const int8_t *w, size_t row_bytes, int columns, int k);
    void (*sum)(struct sp_chunk *c);
    /* The vectors of a quad that must be multiplied in int16. */
    int (*mask)(const int16_t *quad, int16_t limit);
    /* The first open window that has room for one more quad, by its place in c->opened; c->open if
     * none has. */
    int (*find)(const struct sp_chunk *c, int quad, int16_t limit);
    /* Adds a quad to an open window's total; begin: whether the window is new. */
    void (*add)(struct sp_chunk *c, int window, int quad, int begin);
};

/* Those for the instruction set that is in use, for totals up to the limit. */
const struct sp_window_steps *sp_choose_window_steps(int16_t limit);

#endif
