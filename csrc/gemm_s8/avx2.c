/* AVX2 micro-kernels: int16 activations by weights widened to int16, multiplied in pairs by
 * vpmaddwd and summed in int32. Exact for every uint8 activation and int16 weight. */
#include <string.h>

#include "gemm_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { ROWS = 6, COLUMNS = 16 };

SP_INLINE __m256i broadcast_pair(const char *a)
{
    int32_t pair;
    memcpy(&pair, a, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* Eight columns' weight pairs. */
SP_INLINE __m256i load_weights(const char *w, int weight_bytes)
{
    if (weight_bytes == 2)
        return _mm256_load_si256((const __m256i *)w);
    return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)w));
}

/* `rows` rows by `vectors` times 8 columns. */
SP_INLINE void tile(int rows, int vectors, const char *a, size_t a_stride, const char *w,
                    int weight_bytes, int k, int32_t *sum)
{
    __m256i total[ROWS][2];
    SP_UNROLL for (int i = 0; i < rows; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int at = 0; at < k; at += 2, a += 4, w += 2 * COLUMNS * weight_bytes) {
        __m256i weights[2];
        SP_UNROLL for (int j = 0; j < vectors; j++) weights[j] =
            load_weights(w + j * COLUMNS * weight_bytes, weight_bytes);
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i x = broadcast_pair(a + (size_t)i * a_stride);
            SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] =
                _mm256_add_epi32(total[i][j], _mm256_madd_epi16(x, weights[j]));
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm256_store_si256((__m256i *)(sum + i * COLUMNS + 8 * j), total[i][j]);
    }
}

SP_INLINE void all_rows(int vectors, const char *a, size_t a_stride, int rows, const char *w,
                        int weight_bytes, int k, int32_t *sum)
{
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_stride, sum += ROWS * COLUMNS)
        tile(ROWS, vectors, a, a_stride, w, weight_bytes, k, sum);
    switch (rows) {
    case 5:
        tile(5, vectors, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 4:
        tile(4, vectors, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 3:
        tile(3, vectors, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 2:
        tile(2, vectors, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 1:
        tile(1, vectors, a, a_stride, w, weight_bytes, k, sum);
        break;
    default:
        break;
    }
}

sp_gemm_s8_fn sp_gemm_s8_6x16_avx2, sp_gemm_s16_6x16_avx2;

void sp_gemm_s8_6x16_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                          int columns, int32_t *sum)
{
    if (columns > 8)
        all_rows(2, a, a_stride, rows, w, 1, k, sum);
    else
        all_rows(1, a, a_stride, rows, w, 1, k, sum);
}

void sp_gemm_s16_6x16_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                           int columns, int32_t *sum)
{
    if (columns > 8)
        all_rows(2, a, a_stride, rows, w, 2, k, sum);
    else
        all_rows(1, a, a_stride, rows, w, 2, k, sum);
}

SP_TARGET_END
#endif
