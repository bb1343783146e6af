/* Sparse float32 micro-kernel for the vectors of avx2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "rows.h"

void sp_conv_csr_f32_64_avx2(const struct sp_slab_work *work) { run_any_width(work); }

SP_TARGET_END
#endif
