/* A chunk of a strip, pixel by pixel, for instruction sets that interleave nothing: a group is one
 * input row, a band one output row. The file that includes this defines the vector type `totals` of
 * 16 int32, and clear_totals, add_tap, store_totals. */
#include <string.h>

#include "depthwise_s8.h"
#include "epilogue/epilogue.h"

enum { CHANNELS = 16, BLOCK = 32 /* pixels whose sums stay in the L1 cache */ };

SP_INLINE void sum_pixel(const struct sp_depthwise_run *run, int pixel, int count, int32_t *sum)
{
    const sp_conv_shape *s = &run->p->shape;
    const int16_t *w = run->weights;
    const int left = pixel * s->stride_w - s->pad_left;
    totals total;
    clear_totals(&total);
    for (int j = 0; j < s->kernel_w; j++)
        for (int i = 0; i < s->kernel_h; i++, w += CHANNELS)
            add_tap(&total, sp_input_at(run, i, left + j * s->dilation_w), w, count);
    store_totals(&total, sum);
}

SP_INLINE void some_row(const struct sp_depthwise_run *run, enum sp_isa_id isa)
{
    const size_t channels = (size_t)run->p->shape.in_c;
    const int count = SP_MIN(CHANNELS, run->p->shape.in_c);
    int32_t sum[BLOCK * CHANNELS + SP_EPILOGUE_SLACK];
    for (int x = 0; x < run->pixels; x += BLOCK) {
        const int n = SP_MIN(BLOCK, run->pixels - x);
        const size_t at = (size_t)x * channels;
        for (int i = 0; i < n; i++)
            sum_pixel(run, run->first + x + i, count, sum + i * CHANNELS);
        const struct sp_rows block = {
            .sum = sum,
            .sum_stride = CHANNELS,
            .rows = n,
            .first = run->chunk.first,
            .count = count,
            .residual = run->residual ? run->residual + at : NULL,
            .y = run->y + at,
            .stride = channels,
        };
        sp_epilogue_of(isa)(&run->p->epilogue, &block);
    }
}

SP_INLINE void any_strip(const struct sp_depthwise_run *run, enum sp_isa_id isa)
{
    struct sp_depthwise_run bands = *run;
    do
        some_row(&bands, isa);
    while (sp_next_band(&bands, run->band.groups) > 0);
}
