/* What the C files share: targets, the thread split, the operator and micro-kernel types. */
#ifndef SPARING_INTERNAL_H
#define SPARING_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "sparing.h"

#ifdef __FAST_MATH__
#error "-ffast-math would change integer results"
#endif
#include <float.h>
_Static_assert(FLT_EVAL_METHOD == 0, "float operations must round to float");

#if defined(__x86_64__)
#define SP_X86 1
#elif defined(__aarch64__)
#define SP_ARM64 1
/* clang before 16 has the intrinsics only where the command line asks for the instructions */
#if !defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_DOTPROD)
#define SP_DOTPROD 1
#endif
#endif

#ifdef SP_EMULATE /* where each intrinsic is many lines of C, this keeps the code small */
#define SP_INLINE static inline
#define SP_UNROLL
#else
#define SP_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define SP_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SP_UNROLL _Pragma("GCC unroll 32")
#endif
#endif
#define SP_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SP_MAX(a, b) ((a) > (b) ? (a) : (b))
#define SP_ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

/* Where part i of `parts` of a whole begins, which is the end of part i - 1: parts as even as whole
 * multiples of `unit` allow, where there is one for each. */
SP_INLINE int sp_part(int whole, int i, int parts, int unit)
{
    const int64_t at = (int64_t)whole * i;
    if (i == parts || whole < parts * unit)
        return (int)(at / parts);
    return (int)((2 * at + (int64_t)parts * unit) / (2 * (int64_t)parts * unit)) * unit;
}

/* ---- instruction sets (cpu.c) ---- */

enum sp_isa_id {
    SP_ISA_PORTABLE,
    SP_ISA_AVX2,
    SP_ISA_AVXVNNI,
    SP_ISA_AVX512VNNI,
    SP_ISA_AMX,
    SP_ISA_DOTPROD,
};
/* 1 where the instruction set in use includes `isa`. */
int sp_isa_includes(enum sp_isa_id isa);

/* ---- threads (threads.c) ---- */

/* Calls fn(context, task, thread) once for each task in [0, tasks), spread over at most `threads`
 * threads; `thread` in [0, threads) selects scratch memory. Runs all tasks on the calling thread
 * where the pool is busy with another caller. */
typedef void sp_task_fn(void *context, int task, int thread);
void sp_parallel(int threads, int tasks, sp_task_fn *fn, void *context);

/* ---- floating point state (cpu.c) ---- */

/* Round to nearest, no flush to zero: what the rounding rule needs, whatever the caller set. */
typedef struct {
    unsigned long control;
} sp_float_state;
sp_float_state sp_enter_float_state(void);
void sp_leave_float_state(sp_float_state caller);

/* Seconds since an arbitrary moment (run.c). */
double sp_seconds(void);

/* ---- operators ---- */

/* What a step sees of its run. */
typedef struct {
    const void *const *input;
    void *output;
    char *scratch; /* of thread 0; thread t owns scratch + t * scratch_per_thread */
    size_t scratch_per_thread;
    int threads;
} sp_context;

typedef void sp_op_fn(const void *params, const sp_context *context);
typedef size_t sp_scratch_fn(const void *params);

#endif
