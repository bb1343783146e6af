/* From the int32 sums of one output channel and block to uint8 pixels: compiled for the instruction
 * set of the file that includes this. */
#ifndef SPARING_CSR_FINISH_S8_H
#define SPARING_CSR_FINISH_S8_H

#include "csr.h"
#include "requantize.h"

/* sums and residual in any common order of lanes. */
SP_INLINE void requantize_lanes(const sp_epilogue *e, int row, const int32_t *restrict sums,
                                const uint8_t *restrict residual, uint8_t *restrict y, int n)
{
    const float multiplier = e->multiplier[row];
    const sp_range output = e->output, middle = e->conv_output;
    const float lo = sp_lo(output), hi = sp_hi(output);
    if (e->residual_mode == SP_RESIDUAL_NONE) {
        for (int i = 0; i < n; i++)
            y[i] = sp_round((float)sums[i] * multiplier, lo, hi, output.zero_point);
        return;
    }
    const float middle_lo = sp_lo(middle), middle_hi = sp_hi(middle);
    const float r_multiplier = e->residual_multiplier, t_multiplier = e->conv_multiplier;
    const int r_zero = e->residual_zero_point;
    if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR) {
        for (int i = 0; i < n; i++) {
            float real = (float)sums[i] * multiplier + (float)(residual[i] - r_zero) * r_multiplier;
            y[i] = sp_round(real, lo, hi, output.zero_point);
        }
        return;
    }
    for (int i = 0; i < n; i++) {
        int t = sp_round((float)sums[i] * multiplier, middle_lo, middle_hi, middle.zero_point) -
                middle.zero_point;
        float real = (float)t * t_multiplier + (float)(residual[i] - r_zero) * r_multiplier;
        y[i] = sp_round(real, lo, hi, output.zero_point);
    }
}

/* The micro-kernel's order of lanes: to_kernel_order and to_pixel_order copy n bytes. */
typedef void order_fn(uint8_t *to, const uint8_t *from, int n);

SP_INLINE void finish_s8(const struct sp_csr_work *work, int row, const int32_t *sums, int n,
                         order_fn *to_kernel_order, order_fn *to_pixel_order)
{
    const sp_epilogue *e = &((const sp_conv_csr_s8 *)work->params)->epilogue;
    const int64_t at = row * work->channel_step;
    _Alignas(64) uint8_t residual[SP_CSR_WIDTH], lanes[SP_CSR_WIDTH];
    if (e->residual_mode != SP_RESIDUAL_NONE)
        to_kernel_order(residual, (const uint8_t *)work->residual + at, n);
    requantize_lanes(e, row, sums, residual, lanes, n);
    if (e->table)
        for (int i = 0; i < n; i++)
            lanes[i] = e->table[lanes[i]];
    to_pixel_order((uint8_t *)work->y + at, lanes, n);
}

/* Adds to `sums` what stands before them, the bias or the row's earlier segments, and keeps the
 * result where more segments follow. */
SP_INLINE void add_partial_s8(const struct sp_csr_work *work, const sp_csr_segment *segment,
                              int32_t *restrict sums, int n)
{
    const sp_epilogue *e = &((const sp_conv_csr_s8 *)work->params)->epilogue;
    int32_t *restrict partial = (int32_t *)work->partial + (int64_t)segment->row * SP_CSR_WIDTH;
    const int32_t bias = e->bias[segment->row];
    if (segment->first)
        for (int i = 0; i < n; i++)
            sums[i] = sp_wrapping_add(sums[i], bias);
    else
        for (int i = 0; i < n; i++)
            sums[i] = sp_wrapping_add(sums[i], partial[i]);
    if (!segment->last)
        memcpy(partial, sums, (size_t)n * sizeof *sums);
}

#endif
