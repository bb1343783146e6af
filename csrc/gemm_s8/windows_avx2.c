/* The AVX2 micro-kernel of weights in windows. */
#include "target.h"
#include "windows.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "tile_windows_avx2.h"

enum { COLUMNS = SP_WINDOW_COLUMNS };

/* Between chunks sums are in the order of vectors. */
SP_INLINE void start_totals(int first, int vectors, const int32_t *sum, __m256i *total)
{
    SP_UNROLL for (int j = 0; j < vectors; j++) total[j] =
        first ? _mm256_setzero_si256() : load((const char *)sum, j);
}

SP_INLINE void store_totals(int last, int vectors, const __m256i *total, int32_t *sum)
{
    if (last)
        write_columns(vectors, total, sum);
    else
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm256_store_si256((__m256i *)(sum + 8 * j), total[j]);
}

/* sum (+)= a chunk's part. */
SP_INLINE void tile(int rows, int vectors, const struct sp_window_chunk *chunk, int first,
                    struct rows x, int32_t *sum)
{
    __m256i total[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++)
        start_totals(first, vectors, sum + i * COLUMNS, total[i]);
    sum_chunk(rows, vectors, chunk, x, total);
    SP_UNROLL for (int i = 0; i < rows; i++)
        store_totals(!chunk->next, vectors, total[i], sum + i * COLUMNS);
}

/* Up to 8 sums leave registers for a window's. */
SP_INLINE void all_rows(int vectors, const struct sp_window_chunk *chunk, int first, struct rows x,
                        int rows, int32_t *sum)
{
    const int most = SP_MIN(8 / vectors, MOST_ROWS);
    for (; rows >= most; rows -= most, x.a += (size_t)most * x.stride, sum += most * COLUMNS)
        tile(most, vectors, chunk, first, x, sum);
    for (; rows > 0; rows--, x.a += x.stride, sum += COLUMNS)
        tile(1, vectors, chunk, first, x, sum);
}

sp_gemm_s8_fn sp_gemm_windows_s8_2x32_avx2;

void sp_gemm_windows_s8_2x32_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                                  int columns, int32_t *sum)
{
    (void)k; /* the chunks know */
    struct rows x = {a, a_stride};
    const struct sp_window_chunk *chunk = w;
    for (int first = 1;; first = 0) {
        if (columns > 3 * SP_VECTOR_COLUMNS)
            all_rows(4, chunk, first, x, rows, sum);
        else if (columns > 2 * SP_VECTOR_COLUMNS)
            all_rows(3, chunk, first, x, rows, sum);
        else if (columns > SP_VECTOR_COLUMNS)
            all_rows(2, chunk, first, x, rows, sum);
        else
            all_rows(1, chunk, first, x, rows, sum);
        if (!chunk->next)
            return;
        x.a += 4 * chunk->quads;
        chunk = (const struct sp_window_chunk *)((const char *)chunk + chunk->next);
    }
}

SP_TARGET_END
#endif
