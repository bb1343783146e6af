/* The end of an output channel whose sums are in registers, with the vectors of csrc/epilogue: for
 * the instruction set of the file that includes this after them. The BYTES lanes that have their
 * sums in VECTORS vectors are in the order from which pack_lanes makes bytes in the order of
 * pixels; widen_lanes and store_lanes go there and back. */
#include "csr.h"
#include "elementwise/look_up.h"

enum { SUMS = -1 }; /* for a mode: a matrix product, whose sums are kept */

/* Lanes from `lane` on, of one row. mode, fits: constants where this is inlined. */
SP_INLINE void finish_lanes_of_row(const struct sp_csr_work *work, const struct constants *k,
                                   int row, int lane, int mode, int fits, const sums *total)
{
    const sp_epilogue *e = &((const sp_conv_csr_s8 *)work->params)->epilogue;
    const int64_t at = row * work->channel_step + lane;
    uint8_t *y = (uint8_t *)work->y + at;
    __builtin_prefetch(y + SP_CSR_WIDTH, 1);
    const reals multiplier = all_reals(e->multiplier[row]);
    const sums bias = all_sums(e->bias[row]);
    reals real[VECTORS];
    SP_UNROLL for (int j = 0; j < VECTORS; j++) real[j] =
        multiply(to_reals(add_sums(total[j], bias)), multiplier);
    if (mode == SP_RESIDUAL_QUANTIZED)
        requantize_middle(real, k->conv_output, k->conv_multiplier);
    if (mode != SP_RESIDUAL_NONE) {
        sums residual[VECTORS];
        widen_lanes((const uint8_t *)work->residual + at, residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
        {
            const sums shifted = add_sums(residual[j], k->minus_residual_zero_point);
            real[j] = add(real[j], multiply(to_reals(shifted), k->residual_multiplier));
        }
    }
    const octets packed = pack_lanes(real, &k->packer, fits);
    memcpy(y, &packed, BYTES);
    if (e->table)
        sp_look_up(e->table, &(struct sp_byte_rows){y, y, 1, BYTES, BYTES});
}

SP_INLINE void keep_lanes_of_row(const struct sp_csr_work *work, int row, int lane, sums *total)
{
    const sums bias = all_sums(((const sp_conv_csr_s8 *)work->params)->epilogue.bias[row]);
    SP_UNROLL for (int j = 0; j < VECTORS; j++) total[j] = add_sums(total[j], bias);
    store_lanes(work->sums + (int64_t)row * SP_CSR_WIDTH + lane, total);
}

/* Ends a segment whose sums of `blocks` times BYTES lanes stand in total: adds what the row's
 * earlier segments left. */
SP_INLINE void end_segment_lanes(const struct sp_csr_work *work, const struct constants *k,
                                 const sp_csr_segment *segment, int blocks, int mode, int fits,
                                 sums *total)
{
    sums *partial = (sums *)((int32_t *)work->partial + (int64_t)segment->row * SP_CSR_WIDTH);
    if (!segment->first) {
        SP_UNROLL for (int j = 0; j < blocks * VECTORS; j++) total[j] =
            add_sums(total[j], partial[j]);
    }
    if (!segment->last) {
        SP_UNROLL for (int j = 0; j < blocks * VECTORS; j++) partial[j] = total[j];
        return;
    }
    SP_UNROLL for (int b = 0; b < blocks; b++)
    {
        if (mode == SUMS)
            keep_lanes_of_row(work, segment->row, b * BYTES, total + b * VECTORS);
        else
            finish_lanes_of_row(work, k, segment->row, b * BYTES, mode, fits, total + b * VECTORS);
    }
}
