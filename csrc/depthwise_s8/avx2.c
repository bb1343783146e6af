/* AVX2 depthwise micro-kernel: the bytes of two rows are interleaved, widened to int16 and
 * multiplied by vpmaddwd, which adds each channel's two products. Exact for uint8 activations and
 * int16 weights. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "vectors256.h"

enum { GROUP = 2 };

SP_INLINE void interleave(const octets *row, octets *column)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi8(row[0], row[1]);
    const __m256i high = _mm256_unpackhi_epi8(row[0], row[1]);
    column[0] = _mm256_unpacklo_epi8(low, zero);
    column[1] = _mm256_unpackhi_epi8(low, zero);
    column[2] = _mm256_unpacklo_epi8(high, zero);
    column[3] = _mm256_unpackhi_epi8(high, zero);
}

SP_INLINE sums add_products(sums total, octets x, octets w)
{
    return _mm256_add_epi32(total, _mm256_madd_epi16(x, w));
}

#include "strip.h"

sp_depthwise_s8_fn sp_depthwise_s8_32_avx2;

void sp_depthwise_s8_32_avx2(const struct sp_depthwise_run *run) { any_strip(run); }

SP_TARGET_END
#endif
