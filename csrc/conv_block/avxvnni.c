/* Micro-kernel of 1x4 blocks for AVX-VNNI: 8 pixels a vector. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI

enum { LANES = 8 };
typedef __m256i vector;
SP_INLINE vector load(const uint8_t *x) { return _mm256_loadu_si256((const __m256i *)x); }
SP_INLINE vector zero(void) { return _mm256_setzero_si256(); }
SP_INLINE vector all(int32_t x) { return _mm256_set1_epi32(x); }
SP_INLINE vector add(vector a, vector b) { return _mm256_add_epi32(a, b); }
SP_INLINE vector dot(vector sum, vector x, vector w) { return _mm256_dpbusd_avx_epi32(sum, x, w); }
SP_INLINE void store(int32_t *to, vector v) { _mm256_store_si256((__m256i *)to, v); }

#include "vnni.h"

sp_csr_fn sp_conv_block_s8_64_avxvnni;

void sp_conv_block_s8_64_avxvnni(const struct sp_csr_work *work)
{
    if (work->width == SP_CSR_WIDTH)
        run(work, 8, 1, sp_csr_requantize_avx2); /* two chains would need all 16 registers */
    else if (work->width == 32)
        run(work, 4, 2, sp_csr_requantize_avx2);
    else
        run(work, 2, 2, sp_csr_requantize_avx2);
}

SP_TARGET_END
#endif
