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
