/* Depthwise micro-kernel for AVX-VNNI: as avx512vnni.c, on 256-bit vectors. */
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI
#include "quads256.h"

SP_INLINE sums add_products(sums total, octets x, octets w)
{
    return _mm256_dpbusd_avx_epi32(total, x, w);
}

#include "strip.h"

sp_depthwise_s8_fn sp_depthwise_s8_32_avxvnni;

void sp_depthwise_s8_32_avxvnni(const struct sp_depthwise_run *run) { any_strip(run); }

SP_TARGET_END
#endif
