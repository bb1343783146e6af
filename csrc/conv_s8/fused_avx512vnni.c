/* Convolution of one panel by AVX-512 VNNI, with the epilogue in registers: it overlaps with the
 * next tile's products, which matters where K is short. */
#include "conv_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI
#include "epilogue/vectors_avx512.h"
#include "gemm_s8/tile_avx512vnni.h"

/* What all tiles share. */
struct panel {
    struct constants constants;
    struct channels channels;
    const struct sp_rows *rows;
    const uint8_t *a;
    size_t a_stride;
    const int8_t *w;
    int k;
};

/* Pixels whose sums share the epilogue's four vectors. */
SP_INLINE int pixels_of(int vectors) { return VECTORS / vectors; }

SP_INLINE void tile(const struct panel *p, int first, int rows, int vectors, int mode)
{
    const int pixels = pixels_of(vectors);
    __m512i total[8][VECTORS];
    sum_tile(rows, vectors, p->a + (size_t)first * p->a_stride, p->a_stride, p->w, p->k, total);
    struct channels channels = p->channels;
    channels.count = BYTES / pixels; /* known here, so that no code for fewer stands between */
    SP_UNROLL for (int row = 0; row < rows; row += pixels)
    {
        const struct place place = find_pixels(p->rows, &channels, first + row, pixels, rows - row);
        sums four[VECTORS]; /* beyond the tile: its last row again, as find_pixels has it */
        SP_UNROLL for (int j = 0; j < VECTORS; j++) four[j] =
            total[SP_MIN(row + j / vectors, rows - 1)][j % vectors];
        finish_totals(&p->constants, &channels, place, pixels, mode, 1, four);
    }
}

SP_INLINE void all_rows(const struct panel *p, int vectors, int mode)
{
    const int rows = p->rows->rows, most = vectors == 4 ? 6 : 8;
    int row = 0;
    for (; row + most <= rows; row += most)
        tile(p, row, most, vectors, mode);
    for (; row + 2 <= rows; row += 2)
        tile(p, row, 2, vectors, mode);
    if (row < rows)
        tile(p, row, 1, vectors, mode);
}

SP_INLINE void all_columns(const struct panel *p, int mode)
{
    if (p->rows->count == 64)
        all_rows(p, 4, mode);
    else if (p->rows->count == 32)
        all_rows(p, 2, mode);
    else
        all_rows(p, 1, mode);
}

/* Not inlined, so that what the epilogue needs stays in memory: the products need all registers. */
#define DEFINE_MODE(name, mode)                                                                    \
    static __attribute__((noinline)) void name(const struct panel *p) { all_columns(p, mode); }
DEFINE_MODE(plain, SP_RESIDUAL_NONE)
DEFINE_MODE(add_to_sum, SP_RESIDUAL_ACCUMULATOR)
DEFINE_MODE(add_to_quantized, SP_RESIDUAL_QUANTIZED)

void sp_conv_s8_fused_avx512vnni(const sp_epilogue *e, const struct sp_rows *rows, const void *a,
                                 size_t a_stride, struct sp_panel panel, int k,
                                 const struct sp_outliers *outliers)
{
    (void)outliers;
    const int pixels = pixels_of(rows->count / VECTOR);
    const struct panel p = {
        make_constants(e), load_channels(e, rows, 0, pixels), rows, a, a_stride, panel.weights, k,
    };
    if (e->residual_mode == SP_RESIDUAL_NONE)
        plain(&p);
    else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
        add_to_sum(&p);
    else
        add_to_quantized(&p);
    sp_epilogue_table(e, rows);
}

SP_TARGET_END
#endif
