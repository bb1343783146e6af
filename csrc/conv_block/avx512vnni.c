/* Micro-kernel of 1x4 blocks for AVX-512 with VNNI: 16 pixels a vector. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

enum { LANES = 16 };
typedef __m512i vector;
SP_INLINE vector load(const uint8_t *x) { return _mm512_loadu_si512(x); }
SP_INLINE vector zero(void) { return _mm512_setzero_si512(); }
SP_INLINE vector all(int32_t x) { return _mm512_set1_epi32(x); }
SP_INLINE vector add(vector a, vector b) { return _mm512_add_epi32(a, b); }
SP_INLINE vector dot(vector sum, vector x, vector w) { return _mm512_dpbusd_epi32(sum, x, w); }
SP_INLINE void store(int32_t *to, vector v) { _mm512_store_si512(to, v); }

#include "vnni.h"

sp_csr_fn sp_conv_block_s8_64_avx512vnni;

void sp_conv_block_s8_64_avx512vnni(const struct sp_csr_work *work)
{
    if (work->width == SP_CSR_WIDTH)
        run(work, 4, 2, sp_csr_requantize_avx512vnni);
    else if (work->width == 32)
        run(work, 2, 2, sp_csr_requantize_avx512vnni);
    else
        run(work, 1, 2, sp_csr_requantize_avx512vnni);
}

SP_TARGET_END
#endif
