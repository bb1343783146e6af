/* Max pooling of uint8, nhwc: 16 channels at a time stay in a register over all taps. */
#include "elementwise/loops.h"
#include "operators.h"
#include "taps.h"
#include "vector16.h"

#ifdef SP_X86
#include <emmintrin.h>
#endif

SP_INLINE sp_u8x16 max_u8(sp_u8x16 a, sp_u8x16 b)
{
#ifdef SP_X86
    return (sp_u8x16)_mm_max_epu8((__m128i)a, (__m128i)b);
#else
    sp_u8x16 above = (sp_u8x16)(a > b);
    return (a & above) | (b & ~above);
#endif
}

/* vectors: a constant where this is inlined. A window without taps gives 0, the lowest value. */
SP_INLINE void max_vectors(struct sp_taps t, size_t channel, int vectors, uint8_t *y)
{
    sp_u8x16 highest[4] = {{0}};
    const uint8_t *row = t.x + channel;
    for (int i = 0; i < t.rows; i++, row += t.row_step) {
        const uint8_t *x = row;
        for (int j = 0; j < t.columns; j++, x += t.column_step)
            SP_UNROLL for (int v = 0; v < vectors; v++) highest[v] =
                max_u8(highest[v], sp_load_u8(x + 16 * v));
    }
    SP_UNROLL for (int v = 0; v < vectors; v++) memcpy(y + channel + 16 * v, &highest[v], 16);
}

static void max_scalars(struct sp_taps t, size_t channels, uint8_t *y)
{
    for (size_t c = 0; c < channels; c++) {
        uint8_t highest = 0;
        for (size_t i = 0; i < (size_t)t.rows; i++)
            for (size_t j = 0; j < (size_t)t.columns; j++) {
                uint8_t x = t.x[i * t.row_step + j * t.column_step + c];
                highest = SP_MAX(highest, x);
            }
        y[c] = highest;
    }
}

static void max_pixel(struct sp_taps t, size_t channels, uint8_t *y)
{
    size_t c = 0;
    for (; c + 64 <= channels; c += 64)
        max_vectors(t, c, 4, y);
    for (; c + 16 <= channels; c += 16)
        max_vectors(t, c, 1, y);
    if (c < channels && channels >= 16)
        max_vectors(t, channels - 16, 1, y); /* overlaps what is done */
    else if (c < channels)
        max_scalars(t, channels, y);
}

/* first, last: output rows of all images. */
static void max_rows(const void *params, const sp_context *context, int64_t first, int64_t last)
{
    const sp_conv_shape *s = &((const sp_max_pool_s8 *)params)->shape;
    const size_t channels = (size_t)s->in_c;
    uint8_t *y = (uint8_t *)context->output + (size_t)(first * s->out_w) * channels;
    for (int64_t row = first; row < last; row++) {
        const uint8_t *x = context->input[0];
        const uint8_t *image = x + (size_t)(row / s->out_h) * sp_image_bytes(s);
        struct sp_span rows = sp_find_rows(s, (int)(row % s->out_h));
        for (int ox = 0; ox < s->out_w; ox++, y += channels)
            max_pixel(sp_find_taps(s, image, rows, ox), channels, y);
    }
}

void sp_op_max_pool_s8(const void *params, const sp_context *context)
{
    const sp_conv_shape *s = &((const sp_max_pool_s8 *)params)->shape;
    int64_t row_reads = (int64_t)s->out_w * s->in_c * s->kernel_h * s->kernel_w;
    sp_for_ranges(params, context, (int64_t)s->batch * s->out_h,
                  SP_GRAIN_BYTES / SP_MAX(row_reads, 1), max_rows);
}
