/* The table of micro-kernels as C sees it: kernels.def, with the functions. */
#ifndef SPARING_UKERNELS_H
#define SPARING_UKERNELS_H

#include "internal.h"

/* Operators cast `run` to their own micro-kernel type (internal.h and the drivers' headers). */
typedef void sp_any_fn(void);

struct sp_ukernel_entry {
    const char *op, *name;
    enum sp_isa_id isa;
    int mr, nr, k_group, weight_bytes;
    sp_any_fn *run;
};

extern const struct sp_ukernel_entry sp_ukernels[];
extern const int sp_ukernel_total;

#endif
