/* AMX in plain C: eight tiles of each thread, shaped by what was loaded last. A product of tiles
 * whose shapes do not fit, or beyond what a tile holds, is an error, as on the CPU. */
#ifndef SPARING_EMULATE_AMX_H
#define SPARING_EMULATE_AMX_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sp_tile {
    int rows, row_bytes;
    uint8_t bytes[16][64];
};

static _Thread_local struct sp_tile sp_tiles[8];

static inline void sp_tile_demand(int holds)
{
    if (!holds)
        abort();
}

static inline struct sp_tile *sp_tile_of(int i)
{
    sp_tile_demand(sp_tiles[i].rows > 0 && sp_tiles[i].row_bytes > 0);
    return &sp_tiles[i];
}

static inline void _tile_loadconfig(const void *config)
{
    const uint8_t *bytes = config;
    sp_tile_demand(bytes[0] == 1);
    memset(sp_tiles, 0, sizeof sp_tiles);
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
        sp_tile_demand(bytes[48 + i] <= 16 && row_bytes <= 64);
        sp_tile_demand((bytes[48 + i] == 0) == (row_bytes == 0));
        sp_tiles[i].rows = bytes[48 + i], sp_tiles[i].row_bytes = row_bytes;
    }
}

static inline void _tile_release(void) { memset(sp_tiles, 0, sizeof sp_tiles); }

static inline void _tile_zero(int i)
{
    struct sp_tile *tile = sp_tile_of(i);
    memset(tile->bytes, 0, sizeof tile->bytes);
}

static inline void _tile_loadd(int to, const void *from, size_t stride)
{
    struct sp_tile *tile = sp_tile_of(to);
    for (int i = 0; i < tile->rows; i++)
        memcpy(tile->bytes[i], (const char *)from + (size_t)i * stride, (size_t)tile->row_bytes);
}

static inline void _tile_stored(int from, void *to, size_t stride)
{
    const struct sp_tile *tile = sp_tile_of(from);
    for (int i = 0; i < tile->rows; i++)
        memcpy((char *)to + (size_t)i * stride, tile->bytes[i], (size_t)tile->row_bytes);
}

static inline int32_t sp_dot_quad(const uint8_t *a, const uint8_t *b)
{
    int32_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += a[i] * (int8_t)b[i];
    return sum;
}

/* sum[i][j] += a[i][quad] * b[quad][j] */
static inline void _tile_dpbusd(int sums, int a_tile, int b_tile)
{
    struct sp_tile *sum = sp_tile_of(sums);
    const struct sp_tile *a = sp_tile_of(a_tile), *b = sp_tile_of(b_tile);
    sp_tile_demand(sum->rows == a->rows && sum->row_bytes == b->row_bytes);
    sp_tile_demand(a->row_bytes == 4 * b->rows);
    for (int i = 0; i < sum->rows; i++)
        for (int j = 0; j < sum->row_bytes; j += 4) {
            uint32_t total;
            memcpy(&total, sum->bytes[i] + j, 4);
            for (int quad = 0; quad < b->rows; quad++)
                total += (uint32_t)sp_dot_quad(a->bytes[i] + 4 * quad, b->bytes[quad] + j);
            memcpy(sum->bytes[i] + j, &total, 4);
        }
}

#endif
