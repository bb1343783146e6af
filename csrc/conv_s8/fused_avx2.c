/* Convolution of one panel of weights in windows by AVX2, with the epilogue in registers: it
 * overlaps with the next tile's products, which matters where K is short. */
#include "conv_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "epilogue/vectors_avx2.h"
#include "gemm_s8/tile_windows_avx2.h"

/* What all tiles share. */
struct panel {
    struct constants constants;
    struct channels channels;
    sums bias[VECTORS];
    const struct sp_rows *rows;
    struct sp_panel panel;
    const struct sp_outliers *outliers; /* or NULL */
    struct rows x;
    int mode;
};

/* Pixels whose sums share the epilogue's four vectors. */
SP_INLINE int pixels_of(int columns) { return columns > 2 * LANES ? 1 : 2; }

/* The epilogue of `pixels` neighbouring pixels. */
SP_INLINE void finish(const struct panel *p, struct channels channels, int row, int pixels,
                      int left, const sums *total)
{
    const struct place place = find_pixels(p->rows, &channels, row, pixels, left);
    if (p->mode == SP_RESIDUAL_NONE)
        finish_totals(&p->constants, &channels, place, pixels, SP_RESIDUAL_NONE, 1, total);
    else if (p->mode == SP_RESIDUAL_ACCUMULATOR)
        finish_totals(&p->constants, &channels, place, pixels, SP_RESIDUAL_ACCUMULATOR, 1, total);
    else
        finish_totals(&p->constants, &channels, place, pixels, SP_RESIDUAL_QUANTIZED, 1, total);
}

/* columns: of the panel, a constant, so that no code for other numbers stands between. */
SP_INLINE void tile(const struct panel *p, int first, int rows, int columns)
{
    const int vectors = columns / LANES;
    const int pixels = pixels_of(columns);
    __m256i total[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] = p->bias[j];
    }
    if (p->outliers) {
        SP_UNROLL for (int i = 0; i < rows; i++)
            add_outliers(p->outliers, first + i, vectors, p->panel, total[i]);
    }
    const struct rows x = {p->x.a + (size_t)first * p->x.stride, p->x.stride};
    sum_chunk(rows, vectors, p->panel.weights, x, total);
    struct channels channels = p->channels;
    SP_UNROLL for (int j = 0; j < VECTORS; j++) channels.bias[j] = all_sums(0); /* summed above */
    channels.count = columns;
    SP_UNROLL for (int row = 0; row < rows; row += pixels)
    {
        /* Beyond the tile its last row again, as find_pixels has it; beyond the panel anything. */
        sums four[VECTORS];
        SP_UNROLL for (int j = 0; j < VECTORS; j++) four[j] =
            total[SP_MIN(row + j / vectors, SP_MIN(row + pixels, rows) - 1)][j % vectors];
        finish(p, channels, first + row, pixels, rows - row, four);
    }
}

/* Up to 8 sums leave registers for a window's. */
SP_INLINE void all_rows(const struct panel *p, int columns)
{
    const int rows = p->rows->rows, most = 8 / (columns / LANES);
    int row = 0;
    for (; row + most <= rows; row += most)
        tile(p, row, most, columns);
    for (; row < rows; row++)
        tile(p, row, 1, columns);
}

void sp_conv_s8_fused_avx2(const sp_epilogue *e, const struct sp_rows *rows, const void *a,
                           size_t a_stride, struct sp_panel panel, int k,
                           const struct sp_outliers *outliers)
{
    (void)k; /* the chunk knows it */
    struct panel p = {
        .constants = make_constants(e),
        .channels = load_channels(e, rows, 0, pixels_of(rows->count)),
        .rows = rows,
        .panel = panel,
        .outliers = outliers,
        .x = {a, a_stride},
        .mode = e->residual_mode,
    };
    memcpy(p.bias, p.channels.bias, sizeof p.bias);
    if (rows->count == 32)
        all_rows(&p, 32);
    else if (rows->count == 24)
        all_rows(&p, 24);
    else
        all_rows(&p, 16);
    sp_epilogue_table(e, rows);
}

SP_TARGET_END
#endif
