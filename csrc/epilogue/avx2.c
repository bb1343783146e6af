/* The epilogue in AVX2. */
#include "epilogue.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "vectors_avx2.h"

void sp_epilogue_rows_avx2(const sp_epilogue *e, const struct sp_rows *r)
{
    for (int first = 0; first < r->count;)
        if (r->count - first > 16)
            first += finish_block(e, r, first, 1);
        else
            first += finish_block(e, r, first, 2);
    sp_epilogue_table(e, r);
}

SP_TARGET_END
#endif
