/* Compiles part of a file for an instruction set: from SP_TARGET_... to SP_TARGET_END.
 *
 * Inline functions from headers follow their caller. The intrinsics come first, for all sets at
 * once: both compilers give each intrinsic its own target. */
#ifndef SPARING_TARGET_H
#define SPARING_TARGET_H

#include "internal.h"

#ifdef SP_X86
#include <immintrin.h>
#endif
#ifdef SP_ARM64
#include <arm_neon.h>
#endif

#define SP_PRAGMA(text) _Pragma(#text)
#if defined(SP_EMULATE) /* the intrinsics are plain C, and must run on any CPU */
#define SP_TARGET(features)
#define SP_TARGET_END
#elif defined(__clang__)
#define SP_TARGET(features)                                                                        \
    SP_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define SP_TARGET_END SP_PRAGMA(clang attribute pop)
#else
#define SP_TARGET(features) SP_PRAGMA(GCC push_options) SP_PRAGMA(GCC target(features))
#define SP_TARGET_END SP_PRAGMA(GCC pop_options)
#endif

/* Tells the compiler that a vector register changes here, so that it keeps the sums in the order of
 * the code: another order may need more registers than there are. */
#if defined(SP_EMULATE)
#define SP_PIN(v) ((void)0)
#elif defined(SP_X86)
#define SP_PIN(v) __asm__ volatile("" : "+v"(v))
#else
#define SP_PIN(v) __asm__ volatile("" : "+w"(v))
#endif

/* Tells the compiler that memory is read and written here. */
#define SP_PIN_MEMORY __asm__ volatile("" ::: "memory")

#define SP_TARGET_AVX2 SP_TARGET("avx2,fma")
#define SP_TARGET_AVXVNNI SP_TARGET("avxvnni,avx2,fma")
#define SP_TARGET_AVX512VNNI SP_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")
#define SP_TARGET_AMX                                                                              \
    SP_TARGET("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")
#define SP_TARGET_DOTPROD SP_TARGET("arch=armv8.2-a+dotprod")

#endif
