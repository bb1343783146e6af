/* The float loops for AVX-512 VNNI. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define SP_FLOAT_LOOPS sp_float_loops_avx512vnni
#include "float_loops_body.h"

SP_TARGET_END
#endif
