/* The loops of dynamic quantization for AVX-512. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define SP_DYNAMIC_LOOPS sp_dynamic_loops_avx512vnni
#include "loops_body.h"

SP_TARGET_END
#endif
