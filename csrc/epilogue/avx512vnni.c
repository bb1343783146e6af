/* The epilogue in AVX-512. */
#include "epilogue.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI
#include "vectors_avx512.h"

void sp_epilogue_rows_avx512vnni(const sp_epilogue *e, const struct sp_rows *r)
{
    for (int first = 0; first < r->count;) {
        const int left = r->count - first;
        if (left > 32)
            first += finish_block(e, r, first, 1);
        else if (left > 16)
            first += finish_block(e, r, first, 2);
        else
            first += finish_block(e, r, first, 4);
    }
    sp_epilogue_table(e, r);
}

SP_TARGET_END
#endif
