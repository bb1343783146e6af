/* The AVX2 micro-kernel of weights in windows (windows.h): vpmaddubsw on uint8 activations and int8
 * weights, summed in int16 for as long as a window lasts, where packing has proved that nothing
 * saturates. */
#include <string.h>

#include "target.h"
#include "windows.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { COLUMNS = SP_WINDOW_COLUMNS, VECTOR = 32 /* bytes */, MOST_ROWS = 4 };

struct rows {
    const uint8_t *a;
    size_t stride;
};

SP_INLINE __m256i broadcast_quad(struct rows x, int row, int quad)
{
    int32_t four;
    memcpy(&four, x.a + (size_t)row * x.stride + 4 * quad, sizeof four);
    return _mm256_set1_epi32(four);
}

SP_INLINE __m256i load(const char *w, int i)
{
    return _mm256_load_si256((const __m256i *)(w + VECTOR * i));
}

/* total += one window of `size` quads: `rows` rows by `vectors` times 8 columns. */
SP_INLINE void add_window(int size, int rows, int vectors, struct rows x, const char *w,
                          __m256i ones, __m256i (*total)[4])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        __m256i sum[4];
        SP_UNROLL for (int quad = 0; quad < size; quad++)
        {
            const __m256i four = broadcast_quad(x, i, quad);
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

/* total += one quad, in int16: first k 0 and 2, then k 1 and 3. */
SP_INLINE void add_exact(int rows, int vectors, struct rows x, const char *w, __m256i (*total)[4])
{
    __m256i four[MOST_ROWS];
    SP_UNROLL for (int odd = 0; odd < 2; odd++)
    {
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i all = broadcast_quad(x, i, 0);
            four[i] =
                odd ? _mm256_srli_epi16(all, 8) : _mm256_and_si256(all, _mm256_set1_epi16(255));
        }
        SP_UNROLL for (int j = 0; j < vectors; j++)
        {
            const __m256i weights = load(w, odd * vectors + j);
            SP_UNROLL for (int i = 0; i < rows; i++)
            {
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(four[i], weights));
                SP_PIN(total[i][j]);
            }
        }
    }
}

#define WINDOWS(size)                                                                              \
    case size:                                                                                     \
        do {                                                                                       \
            add_window(size, rows, vectors, x, w, ones, total);                                    \
            x.a += 4 * (size);                                                                     \
            w += VECTOR * (size) * vectors;                                                        \
        } while (--left);                                                                          \
        break;

/* sum (+)= a chunk's part. */
SP_INLINE void tile(int rows, int vectors, const struct sp_window_chunk *chunk, int begin,
                    struct rows x, int32_t *sum)
{
    __m256i total[MOST_ROWS][4], ones = _mm256_set1_epi16(1);
    SP_PIN(ones); /* a register, not a constant in memory */
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] =
            begin ? _mm256_setzero_si256() : load((const char *)(sum + i * COLUMNS), j);
    }
    const char *w = (const char *)chunk + chunk->weights;
    for (const struct sp_window_run *run = chunk->run, *end = run + chunk->runs; run < end; run++) {
        int left = run->count;
        switch (run->size) {
            WINDOWS(8)
            WINDOWS(6)
            WINDOWS(4)
            WINDOWS(3)
            WINDOWS(2)
            WINDOWS(1)
        default:
            do {
                add_exact(rows, vectors, x, w, total);
                x.a += 4;
                w += 2 * VECTOR * vectors;
            } while (--left);
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm256_store_si256((__m256i *)(sum + i * COLUMNS + 8 * j), total[i][j]);
    }
}

/* vectors times most is 8: as many sums as leave registers for a window's. */
SP_INLINE void all_rows(int vectors, const struct sp_window_chunk *chunk, int begin, struct rows x,
                        int rows, int32_t *sum)
{
    const int most = 8 / vectors;
    for (; rows >= most; rows -= most, x.a += (size_t)most * x.stride, sum += most * COLUMNS)
        tile(most, vectors, chunk, begin, x, sum);
    for (; rows > 0; rows--, x.a += x.stride, sum += COLUMNS)
        tile(1, vectors, chunk, begin, x, sum);
}

sp_gemm_s8_fn sp_gemm_windows_s8_2x32_avx2;

void sp_gemm_windows_s8_2x32_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                                  int columns, int32_t *sum)
{
    (void)k; /* the chunks know */
    const struct sp_window_chunk *chunk = w;
    struct rows x = {a, a_stride};
    for (int begin = 1;; begin = 0) {
        if (columns > SP_COLUMN_GROUP)
            all_rows(4, chunk, begin, x, rows, sum);
        else
            all_rows(2, chunk, begin, x, rows, sum);
        if (!chunk->next)
            return;
        x.a += 4 * chunk->quads;
        chunk = (const struct sp_window_chunk *)((const char *)chunk + chunk->next);
    }
}

SP_TARGET_END
#endif
