/* Makes the table of micro-kernels from kernels.def. */
#include "ukernels.h"

#define SP_UKERNEL(op, name, isa, mr, nr, k_group, weight_bytes) void sp_##name(void);
#ifdef SP_X86
#define SP_UKERNEL_X86 SP_UKERNEL
#else
#define SP_UKERNEL_X86(...)
#endif
#ifdef SP_DOTPROD
#define SP_UKERNEL_ARM64 SP_UKERNEL
#else
#define SP_UKERNEL_ARM64(...)
#endif
/* The functions' true types stand in their own files; the table holds them untyped. */
#include "kernels.def"
#undef SP_UKERNEL

#define SP_UKERNEL(op, name, isa, mr, nr, k_group, weight_bytes)                                   \
    {#op, #name, SP_ISA_##isa, mr, nr, k_group, weight_bytes, sp_##name},

const struct sp_ukernel_entry sp_ukernels[] = {
#include "kernels.def"
};
const int sp_ukernel_total = sizeof sp_ukernels / sizeof sp_ukernels[0];
