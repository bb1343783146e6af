/* Transposition in tiles: what all instruction sets share, and the tiles of 16-byte vectors. */
#include "pixels.h"

#include "vector16.h"

enum { TILE = 16 };

/* Interleaving row i with row i + 8, four times, transposes a tile. */
void sp_tiles_portable(const uint8_t *x, size_t x_stride, uint8_t *y, size_t y_stride, int columns)
{
    for (int c = 0; c < columns; c += TILE) {
        sp_u8x16 a[TILE], b[TILE];
        SP_UNROLL for (int i = 0; i < TILE; i++) a[i] = sp_load_u8(x + (size_t)i * x_stride + c);
        SP_UNROLL for (int round = 0; round < 4; round++)
        {
            SP_UNROLL for (int i = 0; i < TILE / 2; i++)
            {
                b[2 * i] = sp_zip_low_u8(a[i], a[i + TILE / 2]);
                b[2 * i + 1] = sp_zip_high_u8(a[i], a[i + TILE / 2]);
            }
            SP_UNROLL for (int i = 0; i < TILE; i++) a[i] = b[i];
        }
        SP_UNROLL for (int i = 0; i < TILE; i++)
            memcpy(y + (size_t)(c + i) * y_stride, &a[i], TILE);
    }
}

sp_tiles_fn *sp_tiles_of(enum sp_isa_id isa)
{
#ifdef SP_X86
    if (isa == SP_ISA_AVX2 || isa == SP_ISA_AVXVNNI || isa == SP_ISA_AVX512VNNI)
        return sp_tiles_avx2;
#endif
    (void)isa;
    return sp_tiles_portable;
}

/* A tile cut off by the matrix's border goes by way of a whole one. */
static void transpose_edge(sp_tiles_fn *tiles, const uint8_t *x, size_t x_stride, uint8_t *y,
                           size_t y_stride, int rows, int columns)
{
    uint8_t from[TILE][TILE] = {0}, to[TILE][TILE];
    for (int r = 0; r < rows; r++)
        memcpy(from[r], x + (size_t)r * x_stride, (size_t)columns);
    tiles(from[0], TILE, to[0], TILE, TILE);
    for (int c = 0; c < columns; c++)
        memcpy(y + (size_t)c * y_stride, to[c], (size_t)rows);
}

void sp_transpose_tiles(sp_tiles_fn *tiles, const uint8_t *x, size_t x_stride, uint8_t *y,
                        size_t y_stride, int rows, int columns)
{
    const int whole = columns - columns % TILE;
    for (int r = 0; r < rows; r += TILE) {
        const uint8_t *from = x + (size_t)r * x_stride;
        const int count = SP_MIN(TILE, rows - r);
        int first = 0;
        if (count == TILE) {
            tiles(from, x_stride, y + r, y_stride, whole);
            first = whole;
        }
        for (int c = first; c < columns; c += TILE)
            transpose_edge(tiles, from + c, x_stride, y + (size_t)c * y_stride + r, y_stride, count,
                           SP_MIN(TILE, columns - c));
    }
}
