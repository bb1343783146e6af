/* AVX-VNNI micro-kernel: vpdpbusd multiplies four uint8 by four int8 and adds the products to an
 * int32, without saturation: exact for all values. */
#include <string.h>

#include "gemm_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI

enum { ROWS = 6, COLUMNS = 16, VECTOR = 8 };

SP_INLINE __m256i broadcast_quad(const uint8_t *a)
{
    int32_t quad;
    memcpy(&quad, a, sizeof quad);
    return _mm256_set1_epi32(quad);
}

SP_INLINE void tile(int rows, const uint8_t *a, size_t a_stride, const int8_t *w, int k,
                    int32_t *sum)
{
    __m256i total[ROWS][2];
    SP_UNROLL for (int i = 0; i < rows; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int at = 0; at < k; at += 4, a += 4, w += 4 * COLUMNS) {
        const __m256i w0 = _mm256_load_si256((const __m256i *)w);
        const __m256i w1 = _mm256_load_si256((const __m256i *)(w + 4 * VECTOR));
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i x = broadcast_quad(a + (size_t)i * a_stride);
            total[i][0] = _mm256_dpbusd_avx_epi32(total[i][0], x, w0);
            total[i][1] = _mm256_dpbusd_avx_epi32(total[i][1], x, w1);
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        _mm256_store_si256((__m256i *)(sum + i * COLUMNS), total[i][0]);
        _mm256_store_si256((__m256i *)(sum + i * COLUMNS + VECTOR), total[i][1]);
    }
}

sp_gemm_s8_fn sp_gemm_s8_6x16_avxvnni;

void sp_gemm_s8_6x16_avxvnni(const void *a, size_t a_stride, int rows, const void *w, int k,
                             int columns, int32_t *sum)
{
    const uint8_t *x = a;
    (void)columns; /* computes all 16 */
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * a_stride, sum += ROWS * COLUMNS)
        tile(ROWS, x, a_stride, w, k, sum);
    switch (rows) {
    case 5:
        tile(5, x, a_stride, w, k, sum);
        break;
    case 4:
        tile(4, x, a_stride, w, k, sum);
        break;
    case 3:
        tile(3, x, a_stride, w, k, sum);
        break;
    case 2:
        tile(2, x, a_stride, w, k, sum);
        break;
    case 1:
        tile(1, x, a_stride, w, k, sum);
        break;
    default:
        break;
    }
}

SP_TARGET_END
#endif
