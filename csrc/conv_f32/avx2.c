/* float32 micro-kernels for AVX2 with FMA. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define V __m256
#define V_LANES 8
#define V_LOAD _mm256_loadu_ps
#define V_STORE _mm256_storeu_ps
#define V_SET1 _mm256_set1_ps
#define V_FMA _mm256_fmadd_ps
#define V_MIN _mm256_min_ps
#define V_MAX _mm256_max_ps
#include "tile.h"
#include "winograd_tile.h"

GEMM_KERNEL(sp_gemm_f32_6x16_avx2, 6, 2)
GEMM_KERNEL(sp_gemm_f32_4x24_avx2, 4, 3)
GEMM_KERNEL(sp_gemm_f32_12x8_avx2, 12, 1)
DEPTHWISE_KERNEL(sp_depthwise_f32_avx2)
WINOGRAD_KERNEL(sp_winograd_f32_avx2)

SP_TARGET_END
#endif
