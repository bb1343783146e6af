/* Splits activations far from the zero point off, and multiplies them, in AVX2. */
#include "outliers.h"

#include <string.h>

#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "tile_windows_avx2.h"

enum { QUADS = 8 /* of a vector */ };

/* The places of a mask's set bits, a byte each, in ascending order. */
static uint64_t order[1 << QUADS];

__attribute__((constructor)) static void fill_order(void)
{
    for (unsigned mask = 0; mask < 1 << QUADS; mask++)
        for (unsigned i = 0, found = 0; i < QUADS; i++)
            if (mask >> i & 1)
                order[mask] |= (uint64_t)i << 8 * found++;
}

/* The first `count` quads of eight. */
SP_INLINE __m256i first_quads(int count)
{
    const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), number);
}

SP_INLINE __m256i load_quads(const uint8_t *x, __m256i there)
{
    return _mm256_castps_si256(_mm256_maskload_ps((const float *)x, there));
}

SP_INLINE void store_quads(uint8_t *y, __m256i there, __m256i quads)
{
    _mm256_maskstore_ps((float *)y, there, _mm256_castsi256_ps(quads));
}

SP_INLINE void list_quads(const struct sp_outliers *o, int n, __m256i quad, __m256i rest)
{
    _mm256_storeu_si256((__m256i *)(o->quad + n), quad);
    _mm256_storeu_si256((__m256i *)(o->rest + n), rest);
}

/* Of eight quads' rests, from quad `first` of the row on: those with outliers become number n and
 * following. Returns how many there are then. */
SP_INLINE int list_outliers(__m256i rest, int first, const struct sp_outliers *o, int n)
{
    const __m256i none = _mm256_cmpeq_epi32(rest, _mm256_setzero_si256());
    const unsigned mask = 255 ^ (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(none));
    const __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&order[mask]));
    list_quads(o, n, _mm256_add_epi32(places, _mm256_set1_epi32(first)),
               _mm256_permutevar8x32_epi32(rest, places));
    return n + __builtin_popcount(mask);
}

enum side { BELOW, ABOVE };

SP_INLINE __m256i find_rest(enum side side, __m256i x, int lowest)
{
    if (side == BELOW)
        return _mm256_subs_epu8(_mm256_set1_epi8((char)lowest), x);
    return _mm256_subs_epu8(x, _mm256_set1_epi8((char)(lowest + SP_CEILING)));
}

SP_INLINE __m256i keep(__m256i x, int lowest)
{
    const __m256i above = _mm256_subs_epu8(x, _mm256_set1_epi8((char)lowest));
    return _mm256_min_epu8(above, _mm256_set1_epi8((char)SP_CEILING));
}

/* Lists a row's quads with rest on one side, from number n on, and returns the number behind them.
 * Of ABOVE it also stores what is kept. */
SP_INLINE int list_side(enum side side, const struct sp_outliers *o, const uint8_t *x, uint8_t *y,
                        int n)
{
    int at = 0;
    for (; at + VECTOR_BYTES <= o->k; at += VECTOR_BYTES) {
        const __m256i quads = _mm256_loadu_si256((const __m256i *)(x + at));
        if (side == ABOVE)
            _mm256_storeu_si256((__m256i *)(y + at), keep(quads, o->lowest));
        n = list_outliers(find_rest(side, quads, o->lowest), at / 4, o, n);
    }
    if (at < o->k) {
        const __m256i last = first_quads((o->k - at) / 4), quads = load_quads(x + at, last);
        if (side == ABOVE)
            store_quads(y + at, last, keep(quads, o->lowest));
        n = list_outliers(_mm256_and_si256(find_rest(side, quads, o->lowest), last), at / 4, o, n);
    }
    list_quads(o, n, _mm256_setzero_si256(), _mm256_setzero_si256());
    return SP_ROUND_UP(n, SP_OUTLIERS_TOGETHER);
}

int sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, uint8_t *y, size_t y_stride,
                           const struct sp_outliers *outliers)
{
    const struct sp_outliers o = *outliers; /* in registers */
    int n = 0;
    for (int row = 0; row < rows && n <= o.most; row++, x += x_stride, y += y_stride) {
        o.first[2 * row + BELOW] = n;
        if (o.lowest > 0)
            n = list_side(BELOW, &o, x, NULL, n);
        o.first[2 * row + ABOVE] = n;
        n = list_side(ABOVE, &o, x, y, n);
    }
    o.first[2 * rows] = n;
    return n <= o.most;
}

SP_INLINE void add_rows(int vectors, const struct sp_outliers *outliers, struct sp_panel panel,
                        int rows, int32_t *sum)
{
    for (int row = 0; row < rows; row++, sum += SP_WINDOW_COLUMNS) {
        __m256i total[MOST_VECTORS];
        read_columns(vectors, sum, total);
        add_outliers(outliers, row, vectors, panel, total);
        write_columns(vectors, total, sum);
    }
}

void sp_add_outliers_avx2(const struct sp_outliers *outliers, struct sp_panel panel, int rows,
                          int32_t *sum)
{
    if (panel.count > 3 * SP_VECTOR_COLUMNS)
        add_rows(4, outliers, panel, rows, sum);
    else if (panel.count > 2 * SP_VECTOR_COLUMNS)
        add_rows(3, outliers, panel, rows, sum);
    else if (panel.count > SP_VECTOR_COLUMNS)
        add_rows(2, outliers, panel, rows, sum);
    else
        add_rows(1, outliers, panel, rows, sum);
}

void sp_unpack_windows_avx2(struct sp_panel panel, int k, int8_t *w)
{
    const int vectors = (panel.count + SP_VECTOR_COLUMNS - 1) / SP_VECTOR_COLUMNS;
    const int pair_bytes = 2 * SP_WIDE_COLUMNS,
              half = SP_VECTOR_COLUMNS / 2; /* columns of a lane */
    const __m128i by_pair = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    for (int quad = 0; quad < k / 4; quad++) {
        const char *from =
            (const char *)panel.weights + VECTOR_BYTES * (size_t)panel.quad_place[quad];
        for (int i = 0; i < 2 * vectors; i++) { /* a lane: four columns */
            const int column = vectors < MOST_VECTORS ? half * i : i % 2 * 16 + i / 2 * half;
            const __m128i lane = _mm_load_si128((const __m128i *)from + i);
            const __m128i pairs = _mm_shuffle_epi8(lane, by_pair);
            int8_t *to = w + column / SP_WIDE_COLUMNS * SP_WIDE_COLUMNS * k +
                         2 * quad * pair_bytes + column % SP_WIDE_COLUMNS * 2;
            _mm_storel_epi64((__m128i *)to, pairs);
            _mm_storel_epi64((__m128i *)(to + pair_bytes), _mm_unpackhi_epi64(pairs, pairs));
        }
    }
}

SP_TARGET_END
#endif
