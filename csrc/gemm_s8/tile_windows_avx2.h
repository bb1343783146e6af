/* The products of weights in windows (windows.h) on a tile of pixels, in AVX2: vpmaddubsw on uint8
 * activations and int8 weights, summed in int16 for as long as a window lasts, where packing has
 * proved that nothing saturates. Include inside SP_TARGET_AVX2. */
#ifndef SPARING_TILE_WINDOWS_AVX2_H
#define SPARING_TILE_WINDOWS_AVX2_H

#include <string.h>

#include "target.h"
#include "epilogue/vectors_avx2.h"
#include "outliers.h"

enum { VECTOR_BYTES = 32, MOST_ROWS = 4, MOST_VECTORS = 4 };

struct rows {
    const uint8_t *a;
    size_t stride;
};

/* A pointer of its own for the row: the compiler would make one for each quad instead, more than
 * there are registers. */
SP_INLINE const uint8_t *find_row(struct rows x, int row)
{
    const uint8_t *a = x.a + (size_t)row * x.stride;
    __asm__("" : "+r"(a));
    return a;
}

SP_INLINE __m256i broadcast_quad(const uint8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}

SP_INLINE __m256i load(const char *w, int i)
{
    return _mm256_load_si256((const __m256i *)(w + VECTOR_BYTES * i));
}

/* Sums in the order of columns, as vectors of the order of windows.h, and back. */
SP_INLINE void read_columns(int vectors, const int32_t *sum, __m256i *total)
{
    if (vectors == MOST_VECTORS)
        gather_lanes(sum, total);
    else
        SP_UNROLL for (int j = 0; j < vectors; j++) total[j] = load_sums(sum + 8 * j);
}

SP_INLINE void write_columns(int vectors, const __m256i *total, int32_t *sum)
{
    if (vectors == MOST_VECTORS)
        store_lanes(sum, total);
    else
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm256_store_si256((__m256i *)(sum + 8 * j), total[j]);
}

/* total += one window of `size` quads: `rows` rows by `vectors` times 8 columns. */
SP_INLINE void add_window(int size, int rows, int vectors, struct rows x, const uint8_t *place,
                          const char *w, __m256i ones, __m256i (*total)[MOST_VECTORS])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const uint8_t *a = find_row(x, i);
        __m256i sum[MOST_VECTORS];
        SP_UNROLL for (int quad = 0; quad < size; quad++)
        {
            const __m256i four = broadcast_quad(a + 4 * (size_t)place[quad]);
            SP_UNROLL for (int j = 0; j < vectors; j++)
            {
                const __m256i products = _mm256_maddubs_epi16(four, load(w, quad * vectors + j));
                sum[j] = quad ? _mm256_add_epi16(sum[j], products) : products;
                SP_PIN(sum[j]);
            }
        }
        SP_UNROLL for (int j = 0; j < vectors; j++)
        {
            total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(sum[j], ones));
            SP_PIN(total[i][j]);
        }
    }
}

/* total += one quad; vectors of the mask in int16: first k 0 and 2, then k 1 and 3. */
SP_INLINE void add_single(int mask, int rows, int vectors, struct rows x, uint8_t place,
                          const char *w, __m256i ones, __m256i (*total)[MOST_VECTORS])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const __m256i four = broadcast_quad(find_row(x, i) + 4 * (size_t)place);
        const __m256i even = _mm256_and_si256(four, _mm256_set1_epi16(255));
        const __m256i odd = _mm256_srli_epi16(four, 8);
        int at = 0;
        SP_UNROLL for (int j = 0; j < vectors; j++)
        {
            if (mask >> j & 1) {
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(even, load(w, at++)));
                SP_PIN(total[i][j]);
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(odd, load(w, at++)));
            } else {
                const __m256i products = _mm256_maddubs_epi16(four, load(w, at++));
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(products, ones));
            }
            SP_PIN(total[i][j]);
        }
    }
}

/* Where the kernel is: the weights of the next window, and its quads. */
struct cursor {
    const char *w;
    const uint8_t *place;
};

#define WINDOWS(size)                                                                              \
    case size:                                                                                     \
        do {                                                                                       \
            add_window(size, rows, vectors, x, c.place, c.w, ones, total);                         \
            c.w += VECTOR_BYTES * (size) * vectors;                                                \
            c.place += (size);                                                                     \
        } while (--left);                                                                          \
        break;

#define VECTORS_OF(mask) (((mask) & 1) + ((mask) >> 1 & 1) + ((mask) >> 2 & 1) + ((mask) >> 3))
#define SINGLES(mask)                                                                              \
    case SP_SINGLE + (mask):                                                                       \
        do {                                                                                       \
            add_single(mask, rows, vectors, x, *c.place++, c.w, ones, total);                      \
            c.w += VECTOR_BYTES * (vectors + VECTORS_OF(mask));                                    \
        } while (--left);                                                                          \
        break;

/* total += a chunk's part. */
SP_INLINE void sum_chunk(int rows, int vectors, const struct sp_window_chunk *chunk, struct rows x,
                         __m256i (*total)[MOST_VECTORS])
{
    __m256i ones = _mm256_set1_epi16(1);
    SP_PIN(ones); /* a register, not a constant in memory */
    struct cursor c = {(const char *)chunk + chunk->weights, sp_window_places(chunk)};
    for (const struct sp_window_run *run = chunk->run, *end = run + chunk->runs; run < end; run++) {
        int left = run->count;
        switch (run->kind) {
            WINDOWS(8)
            WINDOWS(7)
            WINDOWS(6)
            WINDOWS(5)
            WINDOWS(4)
            WINDOWS(3)
            WINDOWS(2)
            SINGLES(0)
            SINGLES(1)
            SINGLES(2)
            SINGLES(3)
            SINGLES(4)
            SINGLES(5)
            SINGLES(6)
            SINGLES(7)
            SINGLES(8)
            SINGLES(9)
            SINGLES(10)
            SINGLES(11)
            SINGLES(12)
            SINGLES(13)
            SINGLES(14)
            SINGLES(15)
        }
    }
}
#undef WINDOWS
#undef VECTORS_OF
#undef SINGLES

/* total += sign * the products of the listed quads [i, end) in one row. No pair of products can
 * leave int16: 2 * 127 * -128 is its least value. */
SP_INLINE void add_listed(const struct sp_outliers *outliers, int i, int end, int sign, int vectors,
                          struct sp_panel panel, __m256i *total)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (; i < end; i += SP_OUTLIERS_TOGETHER)
        SP_UNROLL for (int n = 0; n < SP_OUTLIERS_TOGETHER; n++)
        {
            const size_t vector = panel.quad_place[outliers->quad[i + n]];
            const char *w = (const char *)panel.weights + VECTOR_BYTES * vector;
            const __m256i four = _mm256_set1_epi32((int32_t)outliers->rest[i + n]);
            SP_UNROLL for (int j = 0; j < vectors; j++)
            {
                const __m256i products = _mm256_maddubs_epi16(four, load(w, j));
                const __m256i four_sums = _mm256_madd_epi16(products, ones);
                total[j] = sign > 0 ? _mm256_add_epi32(total[j], four_sums)
                                    : _mm256_sub_epi32(total[j], four_sums);
            }
        }
}

/* total += the listed rest of one row. */
SP_INLINE void add_outliers(const struct sp_outliers *outliers, int row, int vectors,
                            struct sp_panel panel, __m256i *total)
{
    const int32_t *first = outliers->first + 2 * row;
    add_listed(outliers, first[0], first[1], -1, vectors, panel, total);
    add_listed(outliers, first[1], first[2], 1, vectors, panel, total);
}

#endif
