/* Sparse float32 micro-kernel for AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "rows_f32.h"

void sp_conv_csr_f32_72_avx2(const struct sp_csr_work *work)
{
    rows_f32[work->width / 8 - 1](work);
}

SP_TARGET_END
#endif
