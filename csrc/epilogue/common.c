/* What all instruction sets share of the epilogue. */
#include "epilogue.h"

sp_epilogue_fn *sp_epilogue_of(enum sp_isa_id isa)
{
#ifdef SP_X86
    if (isa == SP_ISA_AVX512VNNI)
        return sp_epilogue_rows_avx512vnni;
    if (isa == SP_ISA_AVX2 || isa == SP_ISA_AVXVNNI)
        return sp_epilogue_rows_avx2;
#endif
    (void)isa;
    return sp_epilogue_rows_portable;
}

void sp_epilogue_table(const sp_epilogue *e, const struct sp_rows *r)
{
    if (!e->table)
        return;
    for (int row = 0; row < r->rows; row++) {
        uint8_t *y = r->y + (size_t)row * r->stride;
        for (int i = 0; i < r->count; i++)
            y[i] = e->table[y[i]];
    }
}
