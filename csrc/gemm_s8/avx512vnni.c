/* The AVX-512 VNNI micro-kernel. */
#include "gemm_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI
#include "tile_avx512vnni.h"

enum { STRIDE = 64 /* int32 from row to row of `sum` */ };

SP_INLINE void tile(int rows, int vectors, const uint8_t *a, size_t a_stride, const int8_t *w,
                    int k, int32_t *sum)
{
    __m512i total[12][4];
    sum_tile(rows, vectors, a, a_stride, w, k, total);
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm512_store_si512(sum + i * STRIDE + j * VECTOR, total[i][j]);
    }
}

/* Heights 6 (12 for narrow panels), 4, 2, 1: a low tile loses little, four sums hide the latency.
 */
SP_INLINE void all_rows(int vectors, const uint8_t *a, size_t a_stride, int rows, const int8_t *w,
                        int k, int32_t *sum)
{
    const int most = vectors <= 2 ? 12 : 6;
    for (; rows >= most; rows -= most, a += (size_t)most * a_stride, sum += most * STRIDE)
        tile(most, vectors, a, a_stride, w, k, sum);
    for (; rows >= 4; rows -= 4, a += 4 * a_stride, sum += 4 * STRIDE)
        tile(4, vectors, a, a_stride, w, k, sum);
    for (; rows >= 2; rows -= 2, a += 2 * a_stride, sum += 2 * STRIDE)
        tile(2, vectors, a, a_stride, w, k, sum);
    if (rows > 0)
        tile(1, vectors, a, a_stride, w, k, sum);
}

sp_gemm_s8_fn sp_gemm_s8_6x64_avx512vnni;

void sp_gemm_s8_6x64_avx512vnni(const void *a, size_t a_stride, int rows, const void *w, int k,
                                int columns, int32_t *sum)
{
    switch ((columns + VECTOR - 1) / VECTOR) {
    case 1:
        all_rows(1, a, a_stride, rows, w, k, sum);
        break;
    case 2:
        all_rows(2, a, a_stride, rows, w, k, sum);
        break;
    case 3:
        all_rows(3, a, a_stride, rows, w, k, sum);
        break;
    default:
        all_rows(4, a, a_stride, rows, w, k, sum);
        break;
    }
}

SP_TARGET_END
#endif
