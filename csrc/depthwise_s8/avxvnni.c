/* The depthwise micro-kernel for AVX-VNNI. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI

SP_INLINE __m256i add_products(__m256i sum, __m256i x, __m256i w)
{
    return _mm256_dpbusd_avx_epi32(sum, x, w);
}

#include "quads.h"

sp_depthwise_s8_fn sp_depthwise_s8_32_avxvnni;

void sp_depthwise_s8_32_avxvnni(const struct sp_depthwise_run *run) { all_chunks(run); }

SP_TARGET_END
#endif
