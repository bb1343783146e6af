/* Sparse float32 micro-kernel for the vectors of avx512vnni. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#include "rows.h"

void sp_conv_csr_f32_64_avx512vnni(const struct sp_slab_work *work) { run_any_width(work); }

SP_TARGET_END
#endif
