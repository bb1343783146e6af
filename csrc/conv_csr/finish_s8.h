/* From the int32 sums of one output channel and block to uint8 pixels: compiled for the instruction
 * set of the file that includes this. */
#ifndef SPARING_CSR_FINISH_S8_H
#define SPARING_CSR_FINISH_S8_H

#include "elementwise/look_up.h"
#include "finished_rows.h"
#include "requantize.h"

/* The micro-kernel's order of lanes: to_kernel_order and to_pixel_order copy n bytes. */
typedef void order_fn(uint8_t *to, const uint8_t *from, int n);

/* A matrix product's rows: sums and bias, in the order of pixels. */
SP_INLINE void keep_sums(const struct sp_csr_work *work, const struct finished *f, int n,
                         order_fn *to_pixel_order)
{
    const int32_t *bias = ((const sp_conv_csr_s8 *)work->params)->epilogue.bias;
    _Alignas(64) uint8_t numbers[SP_CSR_WIDTH], order[SP_CSR_WIDTH];
    for (int i = 0; i < n; i++)
        numbers[i] = (uint8_t)i;
    to_pixel_order(order, numbers, n);
    for (int r = 0; r < f->count; r++)
        for (int i = 0; i < work->used; i++)
            work->sums[(int64_t)f->row[r] * SP_CSR_WIDTH + i] =
                sp_wrapping_add(f->sums[r][order[i]], bias[f->row[r]]);
}

SP_INLINE void finish_lanes(const struct sp_csr_work *work, struct finished *f, int n,
                            order_fn *to_kernel_order, order_fn *to_pixel_order,
                            sp_csr_requantize_fn *requantize)
{
    const sp_epilogue *e = &((const sp_conv_csr_s8 *)work->params)->epilogue;
    _Alignas(64) uint8_t residual[FINISH_ROWS][SP_CSR_WIDTH], y[FINISH_ROWS][SP_CSR_WIDTH];
    if (work->sums) {
        keep_sums(work, f, n, to_pixel_order);
        f->count = 0;
        return;
    }
    if (e->residual_mode != SP_RESIDUAL_NONE)
        for (int r = 0; r < f->count; r++)
            to_kernel_order(residual[r],
                            (const uint8_t *)work->residual + f->row[r] * work->channel_step, n);
    requantize(e, f, residual, y, n);
    if (e->table)
        sp_look_up(e->table, &(struct sp_byte_rows){y[0], y[0], f->count, n, SP_CSR_WIDTH});
    for (int r = 0; r < f->count; r++)
        to_pixel_order((uint8_t *)work->y + f->row[r] * work->channel_step, y[r], n);
    f->count = 0;
}

/* After a segment whose sums stand in f->sums[f->count]: adds what the row's earlier segments left,
 * and says whether f is full. */
SP_INLINE int end_segment(const struct sp_csr_work *work, const sp_csr_segment *segment,
                          struct finished *f, int n)
{
    int32_t *restrict sums = f->sums[f->count];
    int32_t *restrict partial = (int32_t *)work->partial + (int64_t)segment->row * SP_CSR_WIDTH;
    if (!segment->first)
        for (int i = 0; i < n; i++)
            sums[i] = sp_wrapping_add(sums[i], partial[i]);
    if (!segment->last) {
        memcpy(partial, sums, (size_t)n * sizeof *sums);
        return 0;
    }
    f->row[f->count++] = segment->row;
    return f->count == FINISH_ROWS;
}

#endif
