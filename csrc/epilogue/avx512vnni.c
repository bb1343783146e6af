/* The epilogue for AVX-512. */
#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")
#define SP_EPILOGUE sp_epilogue_rows_avx512vnni
#include "rows_body.h"
#endif
