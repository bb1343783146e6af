/* The loops of dynamic quantization for AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define SP_DYNAMIC_LOOPS sp_dynamic_loops_avx2
#include "loops_body.h"

SP_TARGET_END
#endif
