/* Winograd convolution in AVX2: products of int16 pairs by vpmaddwd. */
#include <string.h>

#include "target.h"
#include "winograd_s8.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define SP_VECTOR_BYTES 32
#include "transforms.h"

enum { ROWS = 6, COLUMNS = 16 };

void sp_winograd_input_avx2(const uint8_t *const *pixel, int channels, int16_t *v,
                            size_t position_stride)
{
    transform_input(pixel, channels, v, position_stride);
}

void sp_winograd_output_avx2(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                             size_t pixel_stride)
{
    transform_output(m, columns, sum, row_stride, pixel_stride);
}

SP_INLINE __m256i broadcast_pair(const int16_t *v)
{
    int32_t pair;
    memcpy(&pair, v, sizeof pair);
    return _mm256_set1_epi32(pair);
}

SP_INLINE void tile(int rows, const int16_t *v, size_t v_stride, const int16_t *u, int k,
                    int32_t *m, size_t m_stride)
{
    __m256i total[ROWS][2];
    SP_UNROLL for (int i = 0; i < rows; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int at = 0; at < k; at += 2, u += 2 * COLUMNS) {
        const __m256i u0 = _mm256_load_si256((const __m256i *)u);
        const __m256i u1 = _mm256_load_si256((const __m256i *)(u + COLUMNS));
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i x = broadcast_pair(v + (size_t)i * v_stride + at);
            total[i][0] = _mm256_add_epi32(total[i][0], _mm256_madd_epi16(x, u0));
            total[i][1] = _mm256_add_epi32(total[i][1], _mm256_madd_epi16(x, u1));
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        _mm256_store_si256((__m256i *)(m + (size_t)i * m_stride), total[i][0]);
        _mm256_store_si256((__m256i *)(m + (size_t)i * m_stride + 8), total[i][1]);
    }
}

sp_winograd_product_fn sp_winograd_s8_6x16_avx2;

void sp_winograd_s8_6x16_avx2(const int16_t *v, size_t v_stride, int rows, const int16_t *u, int k,
                              int columns, int32_t *m, size_t m_stride)
{
    (void)columns; /* always 16 */
    for (; rows >= ROWS; rows -= ROWS, v += ROWS * v_stride, m += ROWS * m_stride)
        tile(ROWS, v, v_stride, u, k, m, m_stride);
    switch (rows) {
    case 5:
        tile(5, v, v_stride, u, k, m, m_stride);
        break;
    case 4:
        tile(4, v, v_stride, u, k, m, m_stride);
        break;
    case 3:
        tile(3, v, v_stride, u, k, m, m_stride);
        break;
    case 2:
        tile(2, v, v_stride, u, k, m, m_stride);
        break;
    case 1:
        tile(1, v, v_stride, u, k, m, m_stride);
        break;
    default:
        break;
    }
}

SP_TARGET_END
#endif
