/* AVX2 depthwise micro-kernel of four rows at once: vpmaddubsw multiplies uint8 by int8 and adds
 * pairs of products in int16, saturating. For weights of which packing has proved that no pair can
 * saturate, as none of 7 bits can; what VNNI instructions do without. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "quads256.h"

SP_INLINE sums add_products(sums total, octets x, octets w)
{
    const __m256i pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "strip.h"

sp_depthwise_s8_fn sp_depthwise_quads_s8_32_avx2;

void sp_depthwise_quads_s8_32_avx2(const struct sp_depthwise_run *run) { any_strip(run); }

SP_TARGET_END
#endif
