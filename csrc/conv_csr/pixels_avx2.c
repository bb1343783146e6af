/* Two neighbouring tiles at a time: unpacking works within the halves of a vector. */
#include "pixels.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { TILE = 16 };

static void two_tiles(const uint8_t *x, size_t x_stride, uint8_t *y, size_t y_stride)
{
    __m256i a[TILE], b[TILE];
    SP_UNROLL for (int i = 0; i < TILE; i++) a[i] =
        _mm256_loadu_si256((const __m256i *)(x + (size_t)i * x_stride));
    SP_UNROLL for (int round = 0; round < 4; round++)
    {
        SP_UNROLL for (int i = 0; i < TILE / 2; i++)
        {
            b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + TILE / 2]);
            b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + TILE / 2]);
        }
        SP_UNROLL for (int i = 0; i < TILE; i++) a[i] = b[i];
    }
    SP_UNROLL for (int i = 0; i < TILE; i++)
    {
        _mm_storeu_si128((__m128i *)(y + (size_t)i * y_stride), _mm256_castsi256_si128(a[i]));
        _mm_storeu_si128((__m128i *)(y + (size_t)(TILE + i) * y_stride),
                         _mm256_extracti128_si256(a[i], 1));
    }
}

static void one_tile(const uint8_t *x, size_t x_stride, uint8_t *y, size_t y_stride)
{
    __m128i a[TILE], b[TILE];
    SP_UNROLL for (int i = 0; i < TILE; i++) a[i] =
        _mm_loadu_si128((const __m128i *)(x + (size_t)i * x_stride));
    SP_UNROLL for (int round = 0; round < 4; round++)
    {
        SP_UNROLL for (int i = 0; i < TILE / 2; i++)
        {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + TILE / 2]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + TILE / 2]);
        }
        SP_UNROLL for (int i = 0; i < TILE; i++) a[i] = b[i];
    }
    SP_UNROLL for (int i = 0; i < TILE; i++)
        _mm_storeu_si128((__m128i *)(y + (size_t)i * y_stride), a[i]);
}

void sp_tiles_avx2(const uint8_t *x, size_t x_stride, uint8_t *y, size_t y_stride, int columns)
{
    int c = 0;
    for (; c + 2 * TILE <= columns; c += 2 * TILE)
        two_tiles(x + c, x_stride, y + (size_t)c * y_stride, y_stride);
    if (c < columns)
        one_tile(x + c, x_stride, y + (size_t)c * y_stride, y_stride);
}

SP_TARGET_END
#endif
