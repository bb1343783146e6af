/* Convolution of one panel of weights in windows by AVX2, with the epilogue in registers: it
 * overlaps with the next tile's products, which matters where K is short.
 *
 * A tile is two pixels of 32 or 24 columns, or four of 16, two of which share the epilogue's four
 * vectors. Of 32 columns the vectors are in the order of gemm_s8/windows.h, from which packing puts
 * the bytes in order: to permute them would take as long as ten other instructions. */
#include "conv_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "epilogue/vectors_avx2.h"
#include "gemm_s8/tile_windows_avx2.h"

/* What all tiles share. It stays in memory, and constants are read from there where they are
 * needed: in registers they and the sums would take turns. */
struct panel {
    struct constants constants;
    sums bias[VECTORS];
    reals multiplier[VECTORS];
    struct sp_panel panel;
    const struct sp_outliers *outliers; /* or NULL */
    size_t x_stride, y_stride;
    int mode, whole_range; /* whole_range: of the output, with zero point 0 */
};

/* Where a tile's first pixel is. */
struct pixel {
    const uint8_t *x, *residual;
    uint8_t *y;
};

/* `vectors` is that of the panel, below; a constant where it is inlined. */
SP_INLINE int pixels_of(int vectors) { return vectors > 2 ? 1 : 2; } /* of four vectors */
SP_INLINE int rows_of(int vectors) { return 2 * pixels_of(vectors); }

SP_INLINE void scale(const struct panel *p, int vectors, const sums *total, reals *real)
{
    SP_UNROLL for (int j = 0; j < pixels_of(vectors) * vectors; j++) real[j] =
        multiply(to_reals(total[j]), p->multiplier[j % vectors]);
    if (vectors == 3)
        real[3] = real[2]; /* not stored */
}

SP_INLINE void add_residual(const struct panel *p, int vectors, const uint8_t *residual,
                            reals *real)
{
    const struct constants *k = &p->constants;
    sums wide[VECTORS];
    if (vectors == VECTORS)
        widen_lanes(residual, wide);
    SP_UNROLL for (int j = 0; j < pixels_of(vectors) * vectors; j++)
    {
        if (vectors < VECTORS)
            wide[j] = widen(residual + (size_t)(j / vectors) * p->y_stride + j % vectors * LANES);
        const sums shifted = add_sums(wide[j], k->minus_residual_zero_point);
        real[j] = add(real[j], multiply(to_reals(shifted), k->residual_multiplier));
    }
}

/* packed: as pack_lanes() leaves it. */
SP_INLINE void store_octets(const struct panel *p, int vectors, octets packed, uint8_t *y)
{
    if (vectors == VECTORS) {
        _mm256_storeu_si256((__m256i *)y, packed);
        return;
    }
    const octets ordered = order_octets(packed);
    const __m128i high = _mm256_extracti128_si256(ordered, 1);
    _mm_storeu_si128((__m128i *)y, _mm256_castsi256_si128(ordered));
    if (vectors == 3)
        _mm_storel_epi64((__m128i *)(y + 2 * LANES), high);
    else
        _mm_storeu_si128((__m128i *)(y + p->y_stride), high);
}

/* The epilogue of as many pixels as share four vectors. */
SP_INLINE void finish(const struct panel *p, int vectors, const uint8_t *residual, uint8_t *y,
                      const sums *total)
{
    const struct constants *k = &p->constants;
    reals real[VECTORS];
    scale(p, vectors, total, real);
    if (p->mode == SP_RESIDUAL_QUANTIZED)
        requantize_middle(real, k->conv_output, k->conv_multiplier);
    if (p->mode != SP_RESIDUAL_NONE)
        add_residual(p, vectors, residual, real);
    store_octets(p, vectors,
                 p->whole_range ? pack_whole_range(real) : pack_lanes(real, &k->packer, 1), y);
}

/* The end of a tile: a function of its own, with its vectors in registers, for its constants would
 * drive those of the products out. */
#define DEFINE_FINISH_TILE(vectors)                                                                \
    static __attribute__((noinline)) void finish_tile_##vectors(                                   \
        const struct panel *p, const uint8_t *residual, uint8_t *y, sums a, sums b, sums c,        \
        sums d, sums e, sums f, sums g, sums h)                                                    \
    {                                                                                              \
        const sums all[] = {a, b, c, d, e, f, g, h};                                               \
        SP_UNROLL for (int row = 0; row < rows_of(vectors); row += pixels_of(vectors))             \
        {                                                                                          \
            const size_t at = (size_t)row * p->y_stride;                                           \
            finish(p, vectors, residual + at, y + at, all + row * (vectors));                      \
        }                                                                                          \
    }
DEFINE_FINISH_TILE(4)
DEFINE_FINISH_TILE(3)
DEFINE_FINISH_TILE(2)
#undef DEFINE_FINISH_TILE

/* The shortest end, which may stand beside the products. */
SP_INLINE void finish_whole_range(const struct panel *p, int vectors, uint8_t *y, const sums *all)
{
    SP_UNROLL for (int row = 0; row < rows_of(vectors); row += pixels_of(vectors))
    {
        reals real[VECTORS];
        scale(p, vectors, all + row * vectors, real);
        store_octets(p, vectors, pack_whole_range(real), y + (size_t)row * p->y_stride);
    }
}

SP_INLINE void tile(const struct panel *p, int vectors, struct pixel at, int row)
{
    const int rows = rows_of(vectors);
    __m256i total[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] = p->bias[j];
    }
    if (p->outliers) {
        SP_UNROLL for (int i = 0; i < rows; i++)
            add_outliers(p->outliers, row + i, vectors, p->panel, total[i]);
    }
    sum_chunk(rows, vectors, p->panel.weights, (struct rows){at.x, p->x_stride}, total);
    __asm__ volatile("" : "+r"(p)); /* no constant is read before */
    sums a[2 * VECTORS];            /* of all rows; of three vectors two more, for the call */
    SP_UNROLL for (int i = 0; i < 2 * VECTORS; i++) a[i] =
        total[SP_MIN(i / vectors, rows - 1)][i % vectors];
    if (p->whole_range && p->mode == SP_RESIDUAL_NONE)
        finish_whole_range(p, vectors, at.y, a);
    else if (vectors == 4)
        finish_tile_4(p, at.residual, at.y, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    else if (vectors == 3)
        finish_tile_3(p, at.residual, at.y, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    else
        finish_tile_2(p, at.residual, at.y, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

/* The last tile may begin with rows of the one before, whose residual must still be there. Not
 * inlined, so that each number of vectors has the registers for itself. */
#define DEFINE_ALL_ROWS(vectors)                                                                   \
    static __attribute__((noinline)) void all_rows_##vectors(const struct panel *p,                \
                                                             struct pixel at, int rows)            \
    {                                                                                              \
        for (int row = 0, step;; row += step) {                                                    \
            tile(p, vectors, at, row);                                                             \
            step = SP_MIN(rows - row - rows_of(vectors), rows_of(vectors));                        \
            if (step == 0)                                                                         \
                return;                                                                            \
            at.x += (size_t)step * p->x_stride;                                                    \
            at.residual += (size_t)step * p->y_stride;                                             \
            at.y += (size_t)step * p->y_stride;                                                    \
        }                                                                                          \
    }
DEFINE_ALL_ROWS(4)
DEFINE_ALL_ROWS(3)
DEFINE_ALL_ROWS(2)
#undef DEFINE_ALL_ROWS

/* Biases and multipliers in the order of the panel's vectors. */
SP_INLINE void load_constants(const sp_epilogue *e, const struct sp_rows *rows, struct panel *p)
{
    const int vectors = rows->count / LANES;
    __m256i multiplier[VECTORS];
    read_columns(vectors, e->bias + rows->first, p->bias);
    read_columns(vectors, (const int32_t *)e->multiplier + rows->first, multiplier);
    memcpy(p->multiplier, multiplier, (size_t)vectors * sizeof *multiplier);
}

void sp_conv_s8_fused_avx2(const sp_epilogue *e, const struct sp_rows *rows, const void *a,
                           size_t a_stride, struct sp_panel panel, int k,
                           const struct sp_outliers *outliers)
{
    (void)k; /* the chunk knows it */
    const sp_range range = e->output;
    struct panel p = {
        .constants = make_constants(e),
        .panel = panel,
        .outliers = outliers,
        .x_stride = a_stride,
        .y_stride = rows->stride,
        .mode = e->residual_mode,
        .whole_range = sp_is_whole_range(range),
    };
    load_constants(e, rows, &p);
    const uint8_t *residual = rows->residual ? rows->residual : rows->y; /* then it is not read */
    const struct pixel at = {a, residual, rows->y};
    if (rows->count == 32)
        all_rows_4(&p, at, rows->rows);
    else if (rows->count == 24)
        all_rows_3(&p, at, rows->rows);
    else
        all_rows_2(&p, at, rows->rows);
    sp_epilogue_table(e, rows);
}

SP_TARGET_END
#endif
