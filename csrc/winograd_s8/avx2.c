/* Winograd convolution in AVX2: products of int16 pairs by vpmaddwd. */
#include <string.h>

#include "target.h"
#include "winograd_s8.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define SP_VECTOR_BYTES 32
#define SP_WIDEN_SIGNED(x) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(x)))
#include "transforms.h"

#define SP_ADD_PRODUCTS(total, x, u) _mm256_add_epi32(total, _mm256_madd_epi16(x, u))
#include "product256.h"

void sp_winograd_input_avx2(const uint8_t *const *pixel, int channels, int16_t *v,
                            size_t position_stride)
{
    transform_input(pixel, channels, v, position_stride);
}

void sp_winograd_weights_avx2(const int8_t *w, int pairs, int first, int16_t *u)
{
    transform_weights(w, pairs, first, u);
}

void sp_winograd_output_avx2(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                             size_t pixel_stride)
{
    transform_output(m, columns, sum, row_stride, pixel_stride);
}

sp_winograd_product_fn sp_winograd_s8_6x16_avx2;

void sp_winograd_s8_6x16_avx2(const int16_t *v, size_t v_stride, int rows, const int16_t *u, int k,
                              int columns, const int16_t *next, int begin, int32_t *m,
                              size_t m_stride)
{
    (void)columns; /* always 16 */
    all_rows(v, v_stride, rows, u, k, next, begin, m, m_stride);
}

SP_TARGET_END
#endif
