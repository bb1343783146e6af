/* Stands in for <immintrin.h> in `check.sh emulate`: the intrinsics in plain C, from SIMDe (Debian:
 * libsimde-dev), so that every x86 kernel can be tested on any CPU. Then those that its version
 * 0.7.4 lacks or gets wrong. */
#ifndef SPARING_EMULATE_IMMINTRIN_H
#define SPARING_EMULATE_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NO_NATIVE
#include <simde/x86/avx2.h>
#include <simde/x86/fma.h>
#include <simde/x86/avx512.h>

#include "amx.h" /* which SIMDe does not have */

#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32

#ifndef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#define _MM_FROUND_TO_NEAREST_INT SIMDE_MM_FROUND_TO_NEAREST_INT
#endif
/* SIMDe's "to nearest" rounds half away from zero. The current direction, which the float state of
 * every step sets to nearest, rounds half to even: all that the kernels ask for. */
#undef _mm256_round_ps
#define _mm256_round_ps(a, mode) simde_mm256_round_ps(a, SIMDE_MM_FROUND_CUR_DIRECTION)
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(a, mode) simde_mm512_roundscale_ps(a, SIMDE_MM_FROUND_CUR_DIRECTION)

/* SIMDe's reads the whole vector; lanes outside the mask may lie outside of memory. */
static inline simde__m256 sp_maskload_ps(const float *from, simde__m256i mask)
{
    const simde__m256i_private wanted = simde__m256i_to_private(mask);
    simde__m256_private to = simde__m256_to_private(simde_mm256_setzero_ps());
    for (int i = 0; i < 8; i++)
        if (wanted.i32[i] < 0)
            to.f32[i] = from[i];
    return simde__m256_from_private(to);
}
#undef _mm256_maskload_ps
#define _mm256_maskload_ps sp_maskload_ps

#ifndef _mm512_cvtps_epi32
static inline simde__m512i _mm512_cvtps_epi32(simde__m512 a)
{
    simde__m512_private from = simde__m512_to_private(a);
    simde__m512i_private to;
    for (int i = 0; i < 2; i++)
        to.m256i[i] = simde_mm256_cvtps_epi32(from.m256[i]);
    return simde__m512i_from_private(to);
}
#endif

#ifndef _mm512_cvtepi32_ps
static inline simde__m512 _mm512_cvtepi32_ps(simde__m512i a)
{
    simde__m512i_private from = simde__m512i_to_private(a);
    simde__m512_private to;
    for (int i = 0; i < 2; i++)
        to.m256[i] = simde_mm256_cvtepi32_ps(from.m256i[i]);
    return simde__m512_from_private(to);
}
#endif

#ifndef _mm512_cvtepu8_epi32
static inline simde__m512i _mm512_cvtepu8_epi32(simde__m128i a)
{
    simde__m512i_private to;
    to.m256i[0] = simde_mm256_cvtepu8_epi32(a);
    to.m256i[1] = simde_mm256_cvtepu8_epi32(simde_mm_unpackhi_epi64(a, a));
    return simde__m512i_from_private(to);
}
#endif

#ifndef _mm512_maskz_loadu_epi8 /* lanes outside the mask must not be touched */
typedef simde__mmask64 __mmask64;
static inline simde__m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void *p)
{
    uint8_t lanes[64] = {0};
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            lanes[i] = ((const uint8_t *)p)[i];
    return simde_mm512_loadu_si512(lanes);
}
static inline void _mm512_mask_storeu_epi8(void *p, __mmask64 mask, simde__m512i a)
{
    uint8_t lanes[64];
    simde_mm512_storeu_si512(lanes, a);
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            ((uint8_t *)p)[i] = lanes[i];
}
#endif

#endif
