/* The inner loops for AVX2. */
#ifdef __x86_64__
#pragma GCC target("avx2,fma")
#define SP_LOOPS sp_loops_avx2
#include "loops_body.h"
#endif
