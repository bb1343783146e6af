/* Depthwise micro-kernel for AVX-VNNI: as avx512vnni.c, on 256-bit vectors. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI
#include "vectors256.h"

enum { GROUP = 4 };

SP_INLINE void interleave(const octets *row, octets *column)
{
    const __m256i ab_low = _mm256_unpacklo_epi8(row[0], row[1]);
    const __m256i ab_high = _mm256_unpackhi_epi8(row[0], row[1]);
    const __m256i cd_low = _mm256_unpacklo_epi8(row[2], row[3]);
    const __m256i cd_high = _mm256_unpackhi_epi8(row[2], row[3]);
    column[0] = _mm256_unpacklo_epi16(ab_low, cd_low);
    column[1] = _mm256_unpackhi_epi16(ab_low, cd_low);
    column[2] = _mm256_unpacklo_epi16(ab_high, cd_high);
    column[3] = _mm256_unpackhi_epi16(ab_high, cd_high);
}

SP_INLINE sums add_products(sums total, octets x, octets w)
{
    return _mm256_dpbusd_avx_epi32(total, x, w);
}

#include "strip.h"

sp_depthwise_s8_fn sp_depthwise_s8_32_avxvnni;

void sp_depthwise_s8_32_avxvnni(const struct sp_depthwise_run *run) { any_strip(run); }

SP_TARGET_END
#endif
