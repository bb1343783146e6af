/* Integer products in tile registers, by AMX: tdpbusd multiplies rows of uint8 quads by columns of
 * int8 quads and adds the products to int32, without saturation: exact for all values. Include
 * inside SP_TARGET_AMX.
 *
 * Tiles 0 to 3 hold sums, 4 and 6 activations and weights of 16 quads. 5 and 7 hold two more of
 * these, or where rows do not end with whole tiles those of the quads that are left; then weights
 * are loaded anew more often. */
#ifndef SPARING_TILE_AMX_H
#define SPARING_TILE_AMX_H

#include "target.h"

enum { TILE = 16 /* rows, columns, quads */, TILE_BYTES = 4 * TILE, PANEL_COLUMNS = 4 * TILE };

/* What ldtilecfg reads. */
struct tile_shapes {
    _Alignas(64) uint8_t palette;
    uint8_t start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles of so many rows of activations, of so many quads. */
SP_INLINE void shape_tiles(int rows, int quads)
{
    struct tile_shapes shapes = {.palette = 1};
    const int rest = quads % TILE;
    for (int i = 0; i < 8; i++) {
        const int tile_quads = i % 2 && rest ? rest : TILE;
        shapes.rows[i] = (uint8_t)(i < 6 ? rows : tile_quads);
        shapes.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * tile_quads : TILE_BYTES);
    }
    SP_PIN_MEMORY; /* the compiler does not know that all of it is read */
    _tile_loadconfig(&shapes);
}

/* How `rows` rows are divided among tiles of equal height, the last of which may overlap. */
SP_INLINE int tiles_of(int rows) { return (rows + TILE - 1) / TILE; }
SP_INLINE int tile_height(int rows) { return (rows + tiles_of(rows) - 1) / tiles_of(rows); }

/* Two tiles of activations by one or two of weights: lower, right say whether there are two, which
 * are loaded to the same register or to another. next_w: bytes from one tile of weights to the
 * other.
 */
#define SP_ADD_SQUARE(a_tile, lower_tile, w_tile, right_tile, upper_a, lower_a, a_stride, w,       \
                      next_w)                                                                      \
    do {                                                                                           \
        _tile_loadd(w_tile, w, TILE_BYTES);                                                        \
        _tile_loadd(a_tile, upper_a, a_stride);                                                    \
        _tile_dpbusd(0, a_tile, w_tile);                                                           \
        if (right) {                                                                               \
            _tile_loadd(right_tile, (w) + (next_w), TILE_BYTES);                                   \
            _tile_dpbusd(1, a_tile, right_tile);                                                   \
        }                                                                                          \
        if (lower) {                                                                               \
            _tile_loadd(lower_tile, lower_a, a_stride);                                            \
            if (right) {                                                                           \
                _tile_dpbusd(3, lower_tile, right_tile);                                           \
                if (right_tile == w_tile)                                                          \
                    _tile_loadd(w_tile, w, TILE_BYTES);                                            \
            }                                                                                      \
            _tile_dpbusd(2, lower_tile, w_tile);                                                   \
        }                                                                                          \
    } while (0)

/* One tile of weights by three or four of activations. */
#define SP_ADD_COLUMN(a_tile, w_tile, a, a_stride, w, count)                                       \
    do {                                                                                           \
        _tile_loadd(w_tile, w, TILE_BYTES);                                                        \
        _tile_loadd(a_tile, (a)[0], a_stride);                                                     \
        _tile_dpbusd(0, a_tile, w_tile);                                                           \
        _tile_loadd(a_tile, (a)[1], a_stride);                                                     \
        _tile_dpbusd(1, a_tile, w_tile);                                                           \
        _tile_loadd(a_tile, (a)[2], a_stride);                                                     \
        _tile_dpbusd(2, a_tile, w_tile);                                                           \
        if ((count) > 3) {                                                                         \
            _tile_loadd(a_tile, (a)[3], a_stride);                                                 \
            _tile_dpbusd(3, a_tile, w_tile);                                                       \
        }                                                                                          \
    } while (0)

SP_INLINE void clear_square(int lower, int right)
{
    _tile_zero(0);
    if (right)
        _tile_zero(1);
    if (lower)
        _tile_zero(2);
    if (lower && right)
        _tile_zero(3);
}

/* From where store_square put them. */
SP_INLINE void load_square(int lower, int right, const int32_t *upper_sum, const int32_t *lower_sum)
{
    const size_t stride = PANEL_COLUMNS * sizeof *upper_sum;
    _tile_loadd(0, upper_sum, stride);
    if (right)
        _tile_loadd(1, upper_sum + TILE, stride);
    if (lower)
        _tile_loadd(2, lower_sum, stride);
    if (lower && right)
        _tile_loadd(3, lower_sum + TILE, stride);
}

/* To rows of PANEL_COLUMNS sums; lower_sum: of the second tile of rows. */
SP_INLINE void store_square(int lower, int right, int32_t *upper_sum, int32_t *lower_sum)
{
    const size_t stride = PANEL_COLUMNS * sizeof *upper_sum;
    _tile_stored(0, upper_sum, stride);
    if (right)
        _tile_stored(1, upper_sum + TILE, stride);
    if (lower)
        _tile_stored(2, lower_sum, stride);
    if (lower && right)
        _tile_stored(3, lower_sum + TILE, stride);
}

#endif
