/* What all instruction sets share of the epilogue. */
#include "elementwise/look_up.h"
#include "epilogue.h"

sp_epilogue_fn *sp_epilogue_of(enum sp_isa_id isa)
{
#ifdef SP_X86
    if (isa == SP_ISA_AVX512VNNI || isa == SP_ISA_AMX)
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
    const struct sp_byte_rows rows = {r->y, r->y, r->rows, r->count, r->stride};
    sp_look_up(e->table, &rows);
}
