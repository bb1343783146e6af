/* The inner loops for AVX-512. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define SP_LOOPS sp_loops_avx512vnni
#include "loops_body.h"

SP_TARGET_END
#endif
