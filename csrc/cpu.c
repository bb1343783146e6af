/* Which instruction sets this CPU has, which one is in use, and the table of micro-kernels. */
#include "internal.h"

#include <stdatomic.h>
#include <string.h>

#include "ukernels.h"

#ifdef SP_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#ifdef SP_DOTPROD
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

static int always(void) { return 1; }

#ifdef SP_EMULATE /* the intrinsics come from SIMDe: any CPU will do */
#define has_avx2 always
#define has_avxvnni always
#define has_avx512vnni always
#define has_amx always
#elif defined(SP_X86)
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static int has_avxvnni(void) /* gcc 12's __builtin_cpu_supports does not know it */
{
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
static int has_avx512vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

/* Linux saves the tiles of a process only where it has asked for that: it may refuse. */
static int may_use_tiles(void)
{
#ifdef __linux__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return 0;
#endif
}

static int has_amx(void)
{
    enum { TILE = 1 << 24, INT8 = 1 << 25 };
    unsigned a, b, c, d;
    return has_avx512vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE) &&
           (d & INT8) && may_use_tiles();
}
#endif
#ifdef SP_DOTPROD
static int has_dotprod(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#endif

/* Best first. A set includes all that stand below it but AVX-VNNI, whose CPUs differ. */
static const struct {
    const char *name;
    enum sp_isa_id id;
    int (*available)(void);
} isas[] = {
#ifdef SP_X86
    {"amx", SP_ISA_AMX, has_amx},
    {"avx512vnni", SP_ISA_AVX512VNNI, has_avx512vnni},
    {"avxvnni", SP_ISA_AVXVNNI, has_avxvnni},
    {"avx2", SP_ISA_AVX2, has_avx2},
#endif
#ifdef SP_DOTPROD
    {"dotprod", SP_ISA_DOTPROD, has_dotprod},
#endif
    {"portable", SP_ISA_PORTABLE, always},
};
enum { ISAS = sizeof isas / sizeof isas[0] };

static atomic_int current = ISAS - 1; /* steps in other threads read it */

int sp_isa_count(void)
{
    int n = 0;
    for (int i = 0; i < ISAS; i++)
        n += isas[i].available() != 0; /* __builtin_cpu_supports gives a mask, not 0 or 1 */
    return n;
}

const char *sp_isa_name(int wanted)
{
    for (int i = 0; i < ISAS; i++)
        if (isas[i].available() && wanted-- == 0)
            return isas[i].name;
    return NULL;
}

const char *sp_isa(void) { return isas[current].name; }

int sp_force_isa(const char *name)
{
    for (int i = 0; i < ISAS; i++)
        if (strcmp(isas[i].name, name) == 0 && isas[i].available()) {
            current = i;
            return 0;
        }
    return -1;
}

int sp_isa_includes(enum sp_isa_id isa)
{
    enum sp_isa_id now = isas[current].id;
    if (isa == SP_ISA_AVXVNNI)
        return now == isa;
    if (isa == SP_ISA_AVX512VNNI)
        return now == isa || now == SP_ISA_AMX;
    if (isa == SP_ISA_AVX2)
        return now == isa || now == SP_ISA_AVXVNNI || now == SP_ISA_AVX512VNNI || now == SP_ISA_AMX;
    return isa == SP_ISA_PORTABLE || isa == now;
}

__attribute__((constructor)) static void choose_best(void)
{
#if defined(SP_X86) && !defined(SP_EMULATE)
    __builtin_cpu_init();
#endif
    sp_force_isa(sp_isa_name(0));
}

static const char *isa_label(enum sp_isa_id id)
{
    for (int i = 0; i < ISAS; i++)
        if (isas[i].id == id)
            return isas[i].name;
    return "unknown";
}

int sp_ukernel_count(void) { return sp_ukernel_total; }

sp_ukernel_info sp_ukernel(int i)
{
    const struct sp_ukernel_entry *k = &sp_ukernels[i];
    return (sp_ukernel_info){k->op, k->name,    isa_label(k->isa), k->mr,
                             k->nr, k->k_group, k->weight_bytes};
}

int sp_ukernel_runnable(int i) { return sp_isa_includes(sp_ukernels[i].isa); }

#ifdef SP_X86
sp_float_state sp_enter_float_state(void)
{
    sp_float_state caller = {__builtin_ia32_stmxcsr()};
    __builtin_ia32_ldmxcsr(0x1f80); /* all exceptions masked, round to nearest, no FTZ, no DAZ */
    return caller;
}
void sp_leave_float_state(sp_float_state caller)
{
    __builtin_ia32_ldmxcsr((unsigned)caller.control);
}
#elif defined(SP_ARM64)
sp_float_state sp_enter_float_state(void)
{
    sp_float_state caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller.control));
    __asm__ volatile("msr fpcr, xzr");
    return caller;
}
void sp_leave_float_state(sp_float_state caller)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(caller.control));
}
#else
#include <fenv.h>
sp_float_state sp_enter_float_state(void)
{
    sp_float_state caller = {(unsigned long)fegetround()};
    fesetround(FE_TONEAREST);
    return caller;
}
void sp_leave_float_state(sp_float_state caller) { fesetround((int)caller.control); }
#endif
