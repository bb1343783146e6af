/* float32 micro-kernels for AVX-512. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define V __m512
#define V_LANES 16
#define V_LOAD _mm512_loadu_ps
#define V_STORE _mm512_storeu_ps
#define V_SET1 _mm512_set1_ps
#define V_FMA _mm512_fmadd_ps
#define V_MIN _mm512_min_ps
#define V_MAX _mm512_max_ps
#include "tile.h"
#include "winograd_tile.h"

GEMM_KERNEL(sp_gemm_f32_14x32_avx512vnni, 14, 2)
GEMM_KERNEL(sp_gemm_f32_14x16_avx512vnni, 14, 1)
DEPTHWISE_KERNEL(sp_depthwise_f32_avx512vnni)
WINOGRAD_KERNEL(sp_winograd_f32_avx512vnni)

SP_TARGET_END
#endif
