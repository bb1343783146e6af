/* Which look-up runs, and the portable one. */
#include "look_up.h"

void sp_look_up_portable(const uint8_t *table, const struct sp_byte_rows *r)
{
    for (int64_t row = 0; row < r->rows; row++) {
        const uint8_t *x = r->x + (size_t)row * r->stride;
        uint8_t *y = r->y + (size_t)row * r->stride;
        for (int64_t i = 0; i < r->n; i++)
            y[i] = table[x[i]];
    }
}

void sp_look_up(const uint8_t *table, const struct sp_byte_rows *r)
{
    struct sp_byte_rows rows = *r;
    if ((size_t)r->n == r->stride) { /* one long row */
        rows.n *= r->rows;
        rows.rows = 1;
    }
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI)) {
        sp_look_up_avx512vnni(table, &rows);
        return;
    }
    if (sp_isa_includes(SP_ISA_AVX2)) {
        sp_look_up_avx2(table, &rows);
        return;
    }
#endif
    sp_look_up_portable(table, &rows);
}
