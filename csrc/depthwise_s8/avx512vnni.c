/* The depthwise micro-kernel for AVX-512 VNNI. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

SP_INLINE __m256i add_products(__m256i sum, __m256i x, __m256i w)
{
    return _mm256_dpbusd_epi32(sum, x, w);
}

#include "quads.h"

sp_depthwise_s8_fn sp_depthwise_s8_32_avx512vnni;

void sp_depthwise_s8_32_avx512vnni(const struct sp_depthwise_run *run) { all_chunks(run); }

SP_TARGET_END
#endif
