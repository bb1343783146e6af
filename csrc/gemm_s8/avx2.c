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

SP_INLINE void tile(int rows, const char *a, size_t a_stride, const char *w, int weight_bytes,
                    int k, int32_t *sum)
{
    __m256i total[ROWS][2];
    SP_UNROLL for (int i = 0; i < rows; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int at = 0; at < k; at += 2, a += 4, w += 2 * COLUMNS * weight_bytes) {
        const __m256i w0 = load_weights(w, weight_bytes);
        const __m256i w1 = load_weights(w + COLUMNS * weight_bytes, weight_bytes);
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i x = broadcast_pair(a + (size_t)i * a_stride);
            total[i][0] = _mm256_add_epi32(total[i][0], _mm256_madd_epi16(x, w0));
            total[i][1] = _mm256_add_epi32(total[i][1], _mm256_madd_epi16(x, w1));
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        _mm256_store_si256((__m256i *)(sum + i * COLUMNS), total[i][0]);
        _mm256_store_si256((__m256i *)(sum + i * COLUMNS + 8), total[i][1]);
    }
}

SP_INLINE void all_rows(const char *a, size_t a_stride, int rows, const void *w, int weight_bytes,
                        int k, int32_t *sum)
{
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_stride, sum += ROWS * COLUMNS)
        tile(ROWS, a, a_stride, w, weight_bytes, k, sum);
    switch (rows) {
    case 5:
        tile(5, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 4:
        tile(4, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 3:
        tile(3, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 2:
        tile(2, a, a_stride, w, weight_bytes, k, sum);
        break;
    case 1:
        tile(1, a, a_stride, w, weight_bytes, k, sum);
        break;
    default:
        break;
    }
}

sp_gemm_s8_fn sp_gemm_s8_6x16_avx2, sp_gemm_s16_6x16_avx2;

void sp_gemm_s8_6x16_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                          int columns, int32_t *sum)
{
    (void)columns; /* always 16 */
    all_rows(a, a_stride, rows, w, 1, k, sum);
}

void sp_gemm_s16_6x16_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                           int columns, int32_t *sum)
{
    (void)columns; /* always 16 */
    all_rows(a, a_stride, rows, w, 2, k, sum);
}

SP_TARGET_END
#endif
