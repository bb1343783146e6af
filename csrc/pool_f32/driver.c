/* Max and average pooling of float32, nhwc. Windows are found in bytes, as those of uint8 are. */
#include "elementwise/float_loops.h"
#include "elementwise/loops.h"
#include "operators.h"

enum {
    FLOAT = sizeof(float),
    CHANNELS = 256 /* of a task: their sums stay on the stack and in the L1 cache */
};

static sp_conv_shape in_bytes(const sp_conv_shape *shape)
{
    sp_conv_shape s = *shape;
    s.in_c *= FLOAT;
    return s;
}

/* first, last: output rows of all images. */
static void max_rows(const void *params, const sp_context *context, int64_t first, int64_t last)
{
    const sp_conv_shape s = in_bytes(&((const sp_max_pool_f32 *)params)->shape);
    const struct sp_float_loops *loops = sp_float_loops_in_use();
    float *y = (float *)context->output + first * s.out_w * s.out_c;
    for (int64_t row = first; row < last; row++) {
        const uint8_t *x = context->input[0];
        const uint8_t *image = x + (size_t)(row / s.out_h) * sp_image_bytes(&s);
        struct sp_span rows = sp_find_rows(&s, (int)(row % s.out_h));
        for (int ox = 0; ox < s.out_w; ox++, y += s.out_c)
            loops->max_taps(sp_find_taps(&s, image, rows, ox), 0, s.out_c, y);
    }
}

void sp_op_max_pool_f32(const void *params, const sp_context *context)
{
    const sp_conv_shape *s = &((const sp_max_pool_f32 *)params)->shape;
    int64_t row_bytes = (int64_t)s->out_w * s->in_c * s->kernel_h * s->kernel_w * FLOAT;
    sp_for_ranges(params, context, (int64_t)s->batch * s->out_h,
                  SP_GRAIN_BYTES / SP_MAX(row_bytes, 1), max_rows);
}

/* first, last: blocks of channels of all output pixels. */
static void average_blocks(const void *params, const sp_context *context, int64_t first,
                           int64_t last)
{
    const sp_average_pool_f32 *p = params;
    const sp_conv_shape s = in_bytes(&p->shape);
    const int64_t blocks = (s.out_c + CHANNELS - 1) / CHANNELS, pixels = s.out_h * s.out_w;
    for (int64_t block = first; block < last; block++) {
        int64_t at = block / blocks, channel = block % blocks * CHANNELS;
        int pixel = (int)(at % pixels);
        const uint8_t *x = context->input[0];
        const uint8_t *image = x + (size_t)(at / pixels) * sp_image_bytes(&s);
        struct sp_span rows = sp_find_rows(&s, pixel / s.out_w);
        struct sp_taps taps = sp_find_taps(&s, image, rows, pixel % s.out_w);
        float sum[CHANNELS];
        sp_float_loops_in_use()->mean_taps(taps, (size_t)channel * FLOAT,
                                           SP_MIN(s.out_c - channel, CHANNELS), p->divisor[pixel],
                                           sum, (float *)context->output + at * s.out_c + channel);
    }
}

void sp_op_average_pool_f32(const void *params, const sp_context *context)
{
    const sp_average_pool_f32 *p = params;
    const sp_conv_shape *s = &p->shape;
    int64_t blocks = (s->in_c + CHANNELS - 1) / CHANNELS;
    int64_t pixels = (int64_t)s->batch * s->out_h * s->out_w;
    int64_t bytes = (int64_t)s->kernel_h * s->kernel_w * SP_MIN(s->in_c, CHANNELS) * FLOAT;
    sp_for_ranges(p, context, pixels * blocks, SP_GRAIN_BYTES / SP_MAX(bytes, 1), average_blocks);
}
