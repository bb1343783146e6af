/* Splits activations above the ceiling off, and multiplies them, in AVX2. */
#include "outliers.h"

#include <string.h>

#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "tile_windows_avx2.h"

enum { QUADS = 8 /* of a vector */, MANY = 65 /* per cent of all quads */ };

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

/* Eight quads, from quad `first` of the row on: those with outliers become number n and following.
 * Returns how many there are then. */
SP_INLINE int list_outliers(__m256i x, __m256i ceiling, int first, const struct sp_outliers *o,
                            int n)
{
    const __m256i rest = _mm256_subs_epu8(x, ceiling);
    const __m256i none = _mm256_cmpeq_epi32(rest, _mm256_setzero_si256());
    const unsigned mask = 255 ^ (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(none));
    const __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&order[mask]));
    list_quads(o, n, _mm256_add_epi32(places, _mm256_set1_epi32(first)),
               _mm256_permutevar8x32_epi32(rest, places));
    return n + __builtin_popcount(mask);
}

/* The listed quads in whole rows. */
static void fill_rest(struct sp_outliers *o, int rows)
{
    memset(o->rows, 0, (size_t)(rows * o->k));
    for (int row = 0; row < rows; row++)
        for (int i = o->first[row]; i < o->first[row + 1]; i++)
            if (o->rest[i])
                memcpy(o->rows + row * o->k + 4 * o->quad[i], &o->rest[i], 4);
}

void sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, int k, uint8_t *y,
                            size_t y_stride, struct sp_outliers *outliers)
{
    const struct sp_outliers o = *outliers; /* in registers */
    const __m256i ceiling = _mm256_set1_epi8((char)SP_CEILING);
    const __m256i last = first_quads(k % VECTOR_BYTES / 4);
    int n = 0;
    for (int row = 0; row < rows; row++, x += x_stride, y += y_stride) {
        o.first[row] = n;
        int at = 0;
        for (; at + VECTOR_BYTES <= k; at += VECTOR_BYTES) {
            const __m256i quads = _mm256_loadu_si256((const __m256i *)(x + at));
            _mm256_storeu_si256((__m256i *)(y + at), _mm256_min_epu8(quads, ceiling));
            n = list_outliers(quads, ceiling, at / 4, &o, n);
        }
        if (at < k) {
            const __m256i quads = load_quads(x + at, last);
            store_quads(y + at, last, _mm256_min_epu8(quads, ceiling));
            n = list_outliers(quads, ceiling, at / 4, &o, n);
        }
        list_quads(&o, n, _mm256_setzero_si256(), _mm256_setzero_si256());
        n = SP_ROUND_UP(n, SP_OUTLIERS_TOGETHER);
    }
    o.first[rows] = n;
    outliers->many = 100 * (int64_t)n > MANY * (int64_t)rows * (k / 4);
    if (outliers->many)
        fill_rest(outliers, rows);
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
    if (outliers->many)
        sp_add_windows_avx2(outliers->rows, (size_t)outliers->k, rows, panel.weights, panel.count,
                            sum);
    else if (panel.count > 3 * SP_VECTOR_COLUMNS)
        add_rows(4, outliers, panel, rows, sum);
    else if (panel.count > 2 * SP_VECTOR_COLUMNS)
        add_rows(3, outliers, panel, rows, sum);
    else if (panel.count > SP_VECTOR_COLUMNS)
        add_rows(2, outliers, panel, rows, sum);
    else
        add_rows(1, outliers, panel, rows, sum);
}

SP_TARGET_END
#endif
