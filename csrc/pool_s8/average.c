/* Average pooling of uint8, nhwc: sums of up to 32 channels stay in 16-bit lanes of registers. */
#include "elementwise/loops.h"
#include "operators.h"
#include "taps.h"
#include "vector16.h"

enum {
    CHANNELS = 512,         /* of a task: their sums stay on the stack and in the L1 cache */
    MOST_TAPS = 65535 / 255 /* whose sum fits 16 bits */
};

SP_INLINE void add_four(sp_u16x8 wide, uint32_t *sum)
{
    sp_u32x4 total;
    memcpy(&total, sum, sizeof total);
    total += (sp_u32x4)wide;
    memcpy(sum, &total, sizeof total);
}

/* Adds the lanes to the sums and clears them. vectors: a constant. */
SP_INLINE void flush(sp_u16x8 *lanes, int vectors, uint32_t *sum)
{
    const sp_u16x8 zero = {0};
    SP_UNROLL for (int v = 0; v < 2 * vectors; v++)
    {
        add_four(sp_zip_low_u16(lanes[v], zero), sum + 8 * v); /* little-endian halves */
        add_four(sp_zip_high_u16(lanes[v], zero), sum + 8 * v + 4);
        lanes[v] = zero;
    }
}

/* Adds 16 * vectors channels of all taps to the sums. vectors: a constant. */
SP_INLINE void sum_vectors(struct sp_taps t, size_t channel, int vectors, uint32_t *sum)
{
    const sp_u8x16 zero = {0};
    sp_u16x8 lanes[4] = {{0}};
    const uint8_t *row = t.x + channel;
    int held = 0;
    for (int i = 0; i < t.rows; i++, row += t.row_step) {
        const uint8_t *x = row;
        for (int j = 0; j < t.columns; j++, x += t.column_step) {
            SP_UNROLL for (int v = 0; v < vectors; v++)
            {
                sp_u8x16 bytes = sp_load_u8(x + 16 * v);
                lanes[2 * v] += (sp_u16x8)sp_zip_low_u8(bytes, zero);
                lanes[2 * v + 1] += (sp_u16x8)sp_zip_high_u8(bytes, zero);
            }
            if (++held == MOST_TAPS) {
                flush(lanes, vectors, sum + channel);
                held = 0;
            }
        }
    }
    flush(lanes, vectors, sum + channel);
}

static void sum_pixel(struct sp_taps t, size_t channels, uint32_t *sum)
{
    size_t c = 0;
    memset(sum, 0, channels * sizeof *sum);
    for (; c + 32 <= channels; c += 32)
        sum_vectors(t, c, 2, sum);
    for (; c + 16 <= channels; c += 16)
        sum_vectors(t, c, 1, sum);
    for (; c < channels; c++)
        for (size_t i = 0; i < (size_t)t.rows; i++)
            for (size_t j = 0; j < (size_t)t.columns; j++)
                sum[c] += t.x[i * t.row_step + j * t.column_step + c];
}

/* first, last: (output pixel, channel block) pairs of all images. */
static void average_blocks(const void *params, const sp_context *context, int64_t first,
                           int64_t last)
{
    const sp_average_pool_s8 *p = params;
    const sp_conv_shape *s = &p->shape;
    const struct sp_loops *loops = sp_loops_in_use();
    const int blocks = (s->in_c + CHANNELS - 1) / CHANNELS, pixels = s->out_h * s->out_w;
    for (int64_t i = first; i < last; i++) {
        int64_t at = i / blocks; /* output pixel, of all images */
        int pixel = (int)(at % pixels), channel = (int)(i % blocks) * CHANNELS;
        int channels = SP_MIN(CHANNELS, s->in_c - channel);
        const uint8_t *x = context->input[0];
        const uint8_t *image = x + (size_t)(at / pixels) * sp_image_bytes(s) + channel;
        struct sp_span rows = sp_find_rows(s, pixel / s->out_w);
        struct sp_taps taps = sp_find_taps(s, image, rows, pixel % s->out_w);
        uint32_t sum[CHANNELS];
        sum_pixel(taps, (size_t)channels, sum);
        /* padding holds x_zero_point, which adds nothing: only taps inside are shifted */
        uint32_t inside = (uint32_t)taps.rows * (uint32_t)taps.columns;
        loops->requantize_sums(inside * (uint32_t)p->x_zero_point, p->multiplier[pixel], p->output,
                               sum, (uint8_t *)context->output + at * s->in_c + channel, channels);
    }
}

void sp_op_average_pool_s8(const void *params, const sp_context *context)
{
    const sp_average_pool_s8 *p = params;
    const sp_conv_shape *s = &p->shape;
    int64_t blocks = (s->in_c + CHANNELS - 1) / CHANNELS;
    int64_t pixels = (int64_t)s->batch * s->out_h * s->out_w;
    int64_t reads = (int64_t)s->kernel_h * s->kernel_w * SP_MIN(s->in_c, CHANNELS);
    sp_for_ranges(p, context, pixels * blocks, SP_GRAIN_BYTES / SP_MAX(reads, 1), average_blocks);
}
