/* Requantization of finished rows with the vectors of csrc/epilogue, of which a row has as many as
 * one pixel has there: for the instruction set of the file that includes this. */
#include "finished_rows.h"

/* mode: the epilogue's, a constant where this is inlined. */
SP_INLINE void requantize_rows(const sp_epilogue *e, const struct finished *f,
                               const uint8_t (*residual)[SP_CSR_WIDTH], uint8_t (*y)[SP_CSR_WIDTH],
                               int n, int mode)
{
    const struct constants k = make_constants(e);
    for (int r = 0; r < f->count; r++) {
        struct channels c = {.count = BYTES};
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
        {
            c.bias[j] = all_sums(e->bias[f->row[r]]);
            c.multiplier[j] = all_reals(e->multiplier[f->row[r]]);
        }
        for (int lane = 0; lane < n; lane += BYTES) {
            const struct place p = {
                .sum = {f->sums[r] + lane}, .residual = {residual[r] + lane}, .y = {y[r] + lane}};
            sums total[VECTORS];
            load_totals(p, 1, total);
            finish_totals(&k, &c, p, 1, mode, 0, total);
        }
    }
}

SP_INLINE void requantize(const sp_epilogue *e, const struct finished *f,
                          const uint8_t (*residual)[SP_CSR_WIDTH], uint8_t (*y)[SP_CSR_WIDTH],
                          int n)
{
    if (e->residual_mode == SP_RESIDUAL_NONE)
        requantize_rows(e, f, residual, y, n, SP_RESIDUAL_NONE);
    else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
        requantize_rows(e, f, residual, y, n, SP_RESIDUAL_ACCUMULATOR);
    else
        requantize_rows(e, f, residual, y, n, SP_RESIDUAL_QUANTIZED);
}
