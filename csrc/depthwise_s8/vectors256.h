/* What strip.h needs of 256-bit vectors, but for interleaving and products. */
#include "epilogue/vectors_avx2.h"

enum { PIXELS = 2, MOST_PIECES = 2 };

SP_INLINE octets load_octets(const uint8_t *x) { return _mm256_loadu_si256((const __m256i *)x); }

SP_INLINE __m256i two_lanes(const void *low, const void *high)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)low);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

SP_INLINE octets join(const uint8_t *x, size_t apart, int pieces)
{
    return pieces == 1 ? load_octets(x) : two_lanes(x, x + apart);
}

SP_INLINE sums spread(const int32_t *values, int width, int v)
{
    return two_lanes(values + 4 * v, values + 4 * v + 16 % width);
}

SP_INLINE reals as_reals(sums x) { return _mm256_castsi256_ps(x); }
