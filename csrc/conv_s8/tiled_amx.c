/* Convolution by AMX. The epilogue works on the sums of a block after the instructions for the next
 * one's products, which are still under way. (Mixed more finely, the two wait for each other.) */
#include "target.h"
#include "tiled.h"

#ifdef SP_X86
SP_TARGET_AMX
#include "epilogue/vectors_avx512.h"
#include "gemm_s8/tile_amx.h"

enum { SQUARE = 2, TALL = 4 }; /* tiles of rows in a block */
enum {
    GROUP = 4 /* blocks */,
    PIECE_BYTES = 40 * 1024 /* weights of 32 channels: of an L1 cache */
};

/* Tiles of sums [tile][TILE][PANEL_COLUMNS], and which pixels they are. */
struct sums_of_block {
    int32_t *sum;
    int tiles, pixel[TALL];
};

struct panel;

/* Requantizes `rows` pixels, at least one, from the one numbered `pixel` on. sum: rows of
 * PANEL_COLUMNS. */
typedef void finish_fn(const struct panel *p, const int32_t *sum, int pixel, int rows);

/* A panel, and two blocks of its sums: one that is multiplied, and one that is finished. */
struct panel {
    struct constants constants;
    struct channels channels;
    const struct sp_tiled_block *block;
    struct sp_rows results;
    finish_fn *finish;
    const int8_t *w;
    int whole_range; /* of the output */
    int k;
    int tiles;      /* of columns */
    int height;     /* of a tile of rows */
    int row_tiles;  /* of a row of pixels */
    int tile_total; /* of all rows */
    _Alignas(64) int32_t sums[SP_MAX(2 * TALL, GROUP *SQUARE) * TILE * PANEL_COLUMNS];
};

/* Pixels that share the epilogue's four vectors. */
SP_INLINE int pixels_of(int tiles) { return tiles == 1 ? 4 : tiles == 2 ? 2 : 1; }

SP_INLINE void finish_group(const struct constants *k, const struct channels *c,
                            const struct sp_rows *results, const int32_t *sum, int pixel,
                            int pixels, int left, int mode, int fits)
{
    const int each = VECTORS / pixels;
    const struct place place = find_pixels(results, c, pixel, pixels, left);
    sums four[VECTORS]; /* rows that do not exist repeat the last one that does */
    SP_UNROLL for (int j = 0; j < VECTORS; j++) four[j] =
        load_sums(sum + SP_MIN(j / each, left - 1) * PANEL_COLUMNS + j % each * LANES);
    finish_totals(k, c, place, pixels, mode, fits, four);
}

/* count: of the panel's channels, or 0 where they do not fill whole vectors. */
SP_INLINE void finish_pixels_as(const struct panel *p, const int32_t *sum, int pixel, int rows,
                                int tiles, int count, int mode, int fits)
{
    const int pixels = pixels_of(tiles);
    /* Copies, since what is stored may be anywhere as far as the compiler knows. */
    const struct constants constants = p->constants;
    const struct sp_rows results = p->results;
    struct channels channels = p->channels;
    if (count)
        channels.count = count; /* known here, so that no code for fewer stands between */
    for (; rows >= pixels; rows -= pixels, pixel += pixels, sum += pixels * PANEL_COLUMNS)
        finish_group(&constants, &channels, &results, sum, pixel, pixels, pixels, mode, fits);
    if (rows > 0)
        finish_group(&constants, &channels, &results, sum, pixel, pixels, rows, mode, fits);
}

SP_INLINE void finish_pixels(const struct panel *p, const int32_t *sum, int pixel, int rows,
                             int tiles, int count, int mode)
{
    if (p->whole_range)
        finish_pixels_as(p, sum, pixel, rows, tiles, count, mode, SP_WHOLE_RANGE);
    else
        finish_pixels_as(p, sum, pixel, rows, tiles, count, mode, 1);
}

/* One function for each width and mode: compiled apart, the epilogue has all registers. */
#define DEFINE_FINISH(name, tiles, count, mode)                                                    \
    static void name(const struct panel *p, const int32_t *sum, int pixel, int rows)               \
    {                                                                                              \
        finish_pixels(p, sum, pixel, rows, tiles, count, mode);                                    \
    }
#define DEFINE_WIDTHS(name, mode)                                                                  \
    DEFINE_FINISH(name##_16, 1, 16, mode)                                                          \
    DEFINE_FINISH(name##_32, 2, 32, mode)                                                          \
    DEFINE_FINISH(name##_64, 4, 64, mode)                                                          \
    DEFINE_FINISH(name##_below_16, 1, 0, mode)                                                     \
    DEFINE_FINISH(name##_below_32, 2, 0, mode)                                                     \
    DEFINE_FINISH(name##_below_64, 4, 0, mode)
DEFINE_WIDTHS(plain, SP_RESIDUAL_NONE)
DEFINE_WIDTHS(add_to_sum, SP_RESIDUAL_ACCUMULATOR)
DEFINE_WIDTHS(add_to_quantized, SP_RESIDUAL_QUANTIZED)

#define WIDTHS(name)                                                                               \
    {                                                                                              \
        {name##_below_16, name##_16}, {name##_below_32, name##_32}, { name##_below_64, name##_64 } \
    }

static finish_fn *find_finish(int mode, int count)
{
    static finish_fn *const all[][3][2] = {
        [SP_RESIDUAL_NONE] = WIDTHS(plain),
        [SP_RESIDUAL_ACCUMULATOR] = WIDTHS(add_to_sum),
        [SP_RESIDUAL_QUANTIZED] = WIDTHS(add_to_quantized),
    };
    const int width = count <= 16 ? 0 : count <= 32 ? 1 : 2;
    return all[mode][width][count == 16 << width];
}

static void finish_tiles(const struct panel *p, const struct sums_of_block *block)
{
    for (int tile = 0; tile < block->tiles; tile++)
        p->finish(p, block->sum + tile * TILE * PANEL_COLUMNS, block->pixel[tile], p->height);
}

SP_INLINE size_t find_tap(const struct sp_tiled_block *b, int i)
{
    return (size_t)(i / b->taps) * b->tap_row_pitch + (size_t)(i % b->taps) * b->tap_pitch;
}

/* The first pixel of a tile. */
SP_INLINE int find_tile(const struct panel *p, int i, const uint8_t **a)
{
    const struct sp_tiled_block *b = p->block;
    const int y = i / p->row_tiles, x = SP_MIN(i % p->row_tiles * p->height, b->width - p->height);
    *a = b->first + (size_t)y * b->row_pitch + (size_t)x * b->pixel_pitch;
    return y * b->width + x;
}

/* Taps of K: from `begin` to the one before `end`. */
struct piece {
    int begin, end;
};

/* What some taps give to two tiles of pixels and up to 32 channels, added to what is there but for
 * the first. w: of the first tap. */
SP_INLINE void sum_square(const struct panel *p, int right, const uint8_t *const *a,
                          const int8_t *w, int first_column, struct piece piece,
                          struct sums_of_block *to)
{
    const struct sp_tiled_block *b = p->block;
    const size_t next_w = (size_t)p->k * TILE, a_stride = b->pixel_pitch;
    const int lower = to->tiles > 1, whole = b->tap_bytes % TILE_BYTES == 0;
    int32_t *upper_sum = to->sum + first_column, *lower_sum = upper_sum + TILE * PANEL_COLUMNS;
    if (piece.begin == 0)
        clear_square(lower, right);
    else
        load_square(lower, right, upper_sum, lower_sum);
    w += piece.begin * b->tap_bytes * TILE;
    for (int i = piece.begin; i < piece.end; i++) {
        const size_t tap = find_tap(b, i);
        const uint8_t *upper_a = a[0] + tap, *lower_a = a[1] + tap;
        int left = b->tap_bytes;
        for (; left >= TILE_BYTES; left -= TILE_BYTES) {
            if (whole)
                SP_ADD_SQUARE(4, 5, 6, 7, upper_a, lower_a, a_stride, w, next_w);
            else
                SP_ADD_SQUARE(4, 4, 6, 6, upper_a, lower_a, a_stride, w, next_w);
            upper_a += TILE_BYTES, lower_a += TILE_BYTES, w += TILE * TILE_BYTES;
        }
        if (left > 0) {
            SP_ADD_SQUARE(5, 5, 7, 7, upper_a, lower_a, a_stride, w, next_w);
            w += left / 4 * TILE_BYTES;
        }
    }
    store_square(lower, right, upper_sum, lower_sum);
}

/* Three or four tiles of pixels by 16 channels. */
SP_INLINE void sum_tall(const struct panel *p, const uint8_t *const *a, const int8_t *w,
                        int first_column, struct sums_of_block *to)
{
    const struct sp_tiled_block *b = p->block;
    const size_t a_stride = b->pixel_pitch, stride = PANEL_COLUMNS * sizeof *to->sum;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < b->tap_rows * b->taps; i++) {
        const size_t tap = find_tap(b, i);
        const uint8_t *at[TALL] = {a[0] + tap, a[1] + tap, a[2] + tap, a[3] + tap};
        int left = b->tap_bytes;
        for (; left >= TILE_BYTES; left -= TILE_BYTES) {
            SP_ADD_COLUMN(4, 6, at, a_stride, w, to->tiles);
            at[0] += TILE_BYTES, at[1] += TILE_BYTES, at[2] += TILE_BYTES, at[3] += TILE_BYTES;
            w += TILE * TILE_BYTES;
        }
        if (left > 0) {
            SP_ADD_COLUMN(5, 7, at, a_stride, w, to->tiles);
            w += left / 4 * TILE_BYTES;
        }
    }
    int32_t *sum = to->sum + first_column;
    _tile_stored(0, sum, stride);
    _tile_stored(1, sum + TILE * PANEL_COLUMNS, stride);
    _tile_stored(2, sum + 2 * TILE * PANEL_COLUMNS, stride);
    _tile_stored(3, sum + 3 * TILE * PANEL_COLUMNS, stride);
}

/* `most` tiles from `first` on, the last one again where there are fewer. */
static void find_tiles(const struct panel *p, int first, int most, struct sums_of_block *to,
                       const uint8_t **a)
{
    to->tiles = SP_MIN(most, p->tile_total - first);
    for (int i = 0; i < most; i++)
        to->pixel[i] = find_tile(p, SP_MIN(first + i, p->tile_total - 1), &a[i]);
}

/* A tile of columns, or where there are two, both; returns how many. */
static int sum_columns(const struct panel *p, int tile, const uint8_t *const *a, struct piece piece,
                       struct sums_of_block *to)
{
    const int8_t *w = p->w + tile * TILE * p->k;
    if (tile + 1 == p->tiles) {
        sum_square(p, 0, a, w, tile * TILE, piece, to);
        return 1;
    }
    sum_square(p, 1, a, w, tile * TILE, piece, to);
    return 2;
}

/* All columns of the tiles from `first` on. */
static void sum_block(const struct panel *p, int first, int most, struct sums_of_block *to)
{
    const struct piece all = {0, p->block->tap_rows * p->block->taps};
    const uint8_t *a[TALL];
    find_tiles(p, first, most, to, a);
    for (int tile = 0; tile < p->tiles;)
        if (most == TALL) {
            sum_tall(p, a, p->w + tile * TILE * p->k, tile * TILE, to);
            tile++;
        } else {
            tile += sum_columns(p, tile, a, all, to);
        }
}

/* Block by block. */
static void run_blocks(struct panel *p)
{
    struct sums_of_block blocks[2], *now = &blocks[0], *before = &blocks[1];
    /* Few pixels read weights that come from afar once, instead of activations. */
    const int most = p->tile_total > SQUARE && p->tile_total <= TALL ? TALL : SQUARE;
    now->sum = p->sums, before->sum = p->sums + most * TILE * PANEL_COLUMNS;
    before->tiles = 0;
    for (int first = 0; first < p->tile_total; first += most) {
        sum_block(p, first, most, now);
        finish_tiles(p, before);
        struct sums_of_block *done = now;
        now = before, before = done;
    }
    finish_tiles(p, before);
}

/* So many blocks at a time, for each part of K: its weights are in the L1 cache from the second
 * block on. */
static void run_pieces(struct panel *p, int taps)
{
    const int all = p->block->tap_rows * p->block->taps;
    for (int first = 0; first < p->tile_total; first += GROUP * SQUARE) {
        struct sums_of_block blocks[GROUP];
        const uint8_t *a[GROUP][SQUARE];
        const int left = (p->tile_total - first + SQUARE - 1) / SQUARE, count = SP_MIN(left, GROUP);
        for (int i = 0; i < count; i++) {
            blocks[i].sum = p->sums + i * SQUARE * TILE * PANEL_COLUMNS;
            find_tiles(p, first + i * SQUARE, SQUARE, &blocks[i], a[i]);
        }
        for (int tile = 0; tile < p->tiles; tile += 2)
            for (int tap = 0; tap < all; tap += taps)
                for (int i = 0; i < count; i++)
                    sum_columns(p, tile, a[i], (struct piece){tap, SP_MIN(tap + taps, all)},
                                &blocks[i]);
        for (int i = 0; i < count; i++)
            finish_tiles(p, &blocks[i]);
    }
}

static void run_panel(struct panel *p)
{
    const int taps = SP_MAX(1, PIECE_BYTES / (2 * TILE * p->block->tap_bytes));
    if (p->tile_total > TALL && taps < p->block->tap_rows * p->block->taps)
        run_pieces(p, taps);
    else
        run_blocks(p);
}

void sp_tiled_amx(const sp_epilogue *e, const struct sp_rows *results,
                  const struct sp_tiled_block *block, const struct sp_panels *panels, int begin,
                  int end)
{
    struct panel p;
    p.constants = make_constants(e);
    p.whole_range = sp_is_whole_range(e->output);
    p.block = block, p.k = panels->k;
    p.height = tile_height(block->width);
    p.row_tiles = tiles_of(block->width);
    p.tile_total = p.row_tiles * block->rows;
    shape_tiles(p.height, block->tap_bytes / 4);
    for (int i = begin; i < end; i++) {
        const struct sp_panel panel = sp_find_panel(panels, i);
        p.results = *results;
        p.results.first += panel.first;
        p.results.count = panel.count;
        p.results.y += panel.first;
        p.results.residual += results->residual ? panel.first : 0;
        p.w = panel.weights;
        p.tiles = (panel.count + TILE - 1) / TILE;
        p.channels = load_channels(e, &p.results, 0, pixels_of(p.tiles));
        p.finish = find_finish(e->residual_mode, panel.count);
        run_panel(&p);
        sp_epilogue_table(e, &p.results);
    }
    _tile_release();
}

SP_TARGET_END
#endif
