/* float32 micro-kernels for the compiler's default target: 16-byte vectors. */
#include <string.h>

#include "conv_f32.h"

#ifdef SP_ARM64
#include <arm_neon.h>
#endif

typedef float V __attribute__((vector_size(16)));
typedef int32_t mask __attribute__((vector_size(16)));
enum { V_LANES = 4 };

SP_INLINE V V_LOAD(const float *p)
{
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}
SP_INLINE void V_STORE(float *p, V v) { memcpy(p, &v, sizeof v); }
SP_INLINE V V_SET1(float x) { return (V){x, x, x, x}; }
SP_INLINE V V_SELECT(mask m, V a, V b) { return (V)((m & (mask)a) | (~m & (mask)b)); }
SP_INLINE V V_MIN(V a, V b) { return V_SELECT(a < b, a, b); }
SP_INLINE V V_MAX(V a, V b) { return V_SELECT(a > b, a, b); }
#ifdef SP_ARM64 /* the baseline has fused multiply-add */
SP_INLINE V V_FMA(V a, V b, V c)
{
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
SP_INLINE V V_FMA(V a, V b, V c) { return a * b + c; }
#endif

#include "tile.h"
#include "winograd_tile.h"

GEMM_KERNEL(sp_gemm_f32_6x8_portable, 6, 2)
DEPTHWISE_KERNEL(sp_depthwise_f32_portable)
WINOGRAD_KERNEL(sp_winograd_f32_portable)
