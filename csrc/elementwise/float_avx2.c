/* The float loops for AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define SP_FLOAT_LOOPS sp_float_loops_avx2
#include "float_loops_body.h"

SP_TARGET_END
#endif
