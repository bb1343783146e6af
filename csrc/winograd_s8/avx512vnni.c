/* Winograd convolution in AVX-512: products of int16 pairs, added to int32 by vpdpwssd. */
#include <string.h>

#include "target.h"
#include "winograd_s8.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define SP_VECTOR_BYTES 64
#define SP_WIDEN_SIGNED(x) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(x)))
#include "transforms.h"

enum { ROWS = 6, VECTORS = 4, VECTOR = 16 };

void sp_winograd_input_avx512vnni(const uint8_t *const *pixel, int channels, int16_t *v,
                                  size_t position_stride)
{
    transform_input(pixel, channels, v, position_stride);
}

void sp_winograd_weights_avx512vnni(const int8_t *w, int pairs, int first, int16_t *u)
{
    transform_weights(w, pairs, first, u);
}

void sp_winograd_output_avx512vnni(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                                   size_t pixel_stride)
{
    transform_output(m, columns, sum, row_stride, pixel_stride);
}

SP_INLINE __m512i broadcast_pair(const int16_t *v)
{
    int32_t pair;
    memcpy(&pair, v, sizeof pair);
    return _mm512_set1_epi32(pair);
}

/* `rows` rows by `vectors` times 16 columns. share: bytes to fetch for each pair of channels. */
SP_INLINE void tile(int rows, int vectors, const int16_t *v, size_t v_stride, const int16_t *u,
                    int k, const char *next, size_t share, int begin, int32_t *m, size_t m_stride)
{
    __m512i total[ROWS][VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const int32_t *before = m + (size_t)i * m_stride;
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] =
            begin ? _mm512_setzero_si512()
                  : _mm512_load_si512(before + j * SP_POSITIONS * SP_M_COLUMNS);
    }
    for (int at = 0; at < k; at += 2, u += 2 * VECTOR * vectors, next += share) {
        SP_UNROLL for (int j = 0; j < vectors; j++) _mm_prefetch(next + j * 64, _MM_HINT_T1);
        __m512i weights[VECTORS];
        SP_UNROLL for (int j = 0; j < vectors; j++) weights[j] =
            _mm512_load_si512(u + 2 * VECTOR * j);
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m512i x = broadcast_pair(v + (size_t)i * v_stride + at);
            SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] =
                _mm512_dpwssd_epi32(total[i][j], x, weights[j]);
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) _mm512_store_si512(
            m + (size_t)i * m_stride + j * SP_POSITIONS * SP_M_COLUMNS, total[i][j]);
    }
}

SP_INLINE void all_rows(int vectors, const int16_t *v, size_t v_stride, int rows, const int16_t *u,
                        int k, const int16_t *next, int begin, int32_t *m, size_t m_stride)
{
    const size_t share = 4 * VECTOR * (size_t)vectors / (size_t)((rows + ROWS - 1) / ROWS);
    const char *fetch = (const char *)next;
    for (; rows >= ROWS; rows -= ROWS, v += ROWS * v_stride, m += ROWS * m_stride) {
        tile(ROWS, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        fetch += share * (size_t)k / 2;
    }
    switch (rows) {
    case 5:
        tile(5, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 4:
        tile(4, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 3:
        tile(3, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 2:
        tile(2, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 1:
        tile(1, vectors, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    default:
        break;
    }
}

sp_winograd_product_fn sp_winograd_s8_6x64_avx512vnni;

void sp_winograd_s8_6x64_avx512vnni(const int16_t *v, size_t v_stride, int rows, const int16_t *u,
                                    int k, int columns, const int16_t *next, int begin, int32_t *m,
                                    size_t m_stride)
{
    switch (columns / VECTOR) {
    case 1:
        all_rows(1, v, v_stride, rows, u, k, next, begin, m, m_stride);
        break;
    case 2:
        all_rows(2, v, v_stride, rows, u, k, next, begin, m, m_stride);
        break;
    case 3:
        all_rows(3, v, v_stride, rows, u, k, next, begin, m, m_stride);
        break;
    default:
        all_rows(4, v, v_stride, rows, u, k, next, begin, m, m_stride);
        break;
    }
}

SP_TARGET_END
#endif
