/* The epilogue for AVX2. */
#ifdef __x86_64__
#pragma GCC target("avx2,fma")
#define SP_EPILOGUE sp_epilogue_rows_avx2
#include "rows_body.h"
#endif
