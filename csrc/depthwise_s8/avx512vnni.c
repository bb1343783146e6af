/* Depthwise micro-kernel for AVX-512 VNNI: the bytes of four rows are interleaved, and vpdpbusd
 * adds each channel's four products to its sum. Exact: it does not saturate. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI
#include "epilogue/vectors_avx512.h"

enum { GROUP = 4, PIXELS = 4, MOST_PIECES = 4 };

SP_INLINE octets load_octets(const uint8_t *x) { return _mm512_loadu_si512(x); }

SP_INLINE __m128i load_lane(const void *x) { return _mm_loadu_si128((const __m128i *)x); }

SP_INLINE __m512i four_lanes(__m128i a, __m128i b, __m128i c, __m128i d)
{
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

SP_INLINE octets join(const uint8_t *x, size_t apart, int pieces)
{
    if (pieces == 1)
        return load_octets(x);
    if (pieces == 4)
        return four_lanes(load_lane(x), load_lane(x + apart), load_lane(x + 2 * apart),
                          load_lane(x + 3 * apart));
    const __m256i low = _mm256_loadu_si256((const __m256i *)x);
    const __m256i high = _mm256_loadu_si256((const __m256i *)(x + apart));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

SP_INLINE void interleave(const octets *row, octets *column)
{
    const __m512i ab_low = _mm512_unpacklo_epi8(row[0], row[1]);
    const __m512i ab_high = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i cd_low = _mm512_unpacklo_epi8(row[2], row[3]);
    const __m512i cd_high = _mm512_unpackhi_epi8(row[2], row[3]);
    column[0] = _mm512_unpacklo_epi16(ab_low, cd_low);
    column[1] = _mm512_unpackhi_epi16(ab_low, cd_low);
    column[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
    column[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
}

SP_INLINE sums add_products(sums total, octets x, octets w)
{
    return _mm512_dpbusd_epi32(total, x, w);
}

SP_INLINE sums spread(const int32_t *values, int width, int v)
{
    const int32_t *x = values + 4 * v;
    return four_lanes(load_lane(x), load_lane(x + 16 % width), load_lane(x + 32 % width),
                      load_lane(x + 48 % width));
}

SP_INLINE reals as_reals(sums x) { return _mm512_castsi512_ps(x); }

#include "strip.h"

sp_depthwise_s8_fn sp_depthwise_s8_64_avx512vnni;

void sp_depthwise_s8_64_avx512vnni(const struct sp_depthwise_run *run) { any_strip(run); }

SP_TARGET_END
#endif
