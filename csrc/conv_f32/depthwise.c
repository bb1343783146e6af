/* Depthwise float32 convolution, nhwc: row by row of the output. Pixels whose whole window lies
 * inside the input go to the micro-kernel in one call, those at the border one by one. */
#include "conv_f32.h"
#include "elementwise/loops.h"
#include "ukernels.h"

/* Taps inside the input along one axis: the first one's index, how many, and its position. */
struct span {
    int first, count, at;
};

static struct span find_span(int start, int step, int taps, int size)
{
    int first = start < 0 ? (-start + step - 1) / step : 0;
    int end = start >= size ? 0 : (size - start + step - 1) / step; /* taps before `size` */
    return (struct span){first, SP_MAX(SP_MIN(taps, end) - first, 0), start + first * step};
}

static int is_inside(const sp_conv_shape *s, int ox)
{
    int start = ox * s->stride_w - s->pad_left;
    return start >= 0 && start + (s->kernel_w - 1) * s->dilation_w < s->in_w;
}

static void run_row(const sp_conv_f32 *p, const sp_context *c, int64_t row)
{
    const sp_conv_shape *s = &p->shape;
    const size_t channels = (size_t)s->in_c;
    const float *image = (const float *)c->input[0] + row / s->out_h * s->in_h * s->in_w * s->in_c;
    const int y0 = (int)(row % s->out_h) * s->stride_h - s->pad_top;
    const struct span v = find_span(y0, s->dilation_h, s->kernel_h, s->in_h);
    for (int ox = 0, count; ox < s->out_w; ox += count) {
        for (count = 0; ox + count < s->out_w && is_inside(s, ox + count);)
            count++;
        count = SP_MAX(count, 1);
        struct span h =
            find_span(ox * s->stride_w - s->pad_left, s->dilation_w, s->kernel_w, s->in_w);
        size_t out = (size_t)(row * s->out_w + ox) * channels;
        int any = v.count > 0 && h.count > 0; /* else nothing of x and w is read */
        struct sp_depthwise_row_f32 call = {
            .x = any ? image + ((size_t)v.at * (size_t)s->in_w + (size_t)h.at) * channels : image,
            .w = any ? p->weights + (size_t)(v.first * s->kernel_w + h.first) * channels
                     : p->weights,
            .bias = p->bias,
            .finish = {p->lo, p->hi, p->has_residual ? (const float *)c->input[1] + out : NULL,
                       (float *)c->output + out, channels},
            .channels = s->in_c,
            .count = count,
            .rows = any ? v.count : 0,
            .columns = any ? h.count : 0,
            .x_pixel = (size_t)s->stride_w * channels,
            .x_row = (size_t)s->dilation_h * (size_t)s->in_w * channels,
            .x_column = (size_t)s->dilation_w * channels,
            .w_row = (size_t)s->kernel_w * channels,
            .w_column = channels,
        };
        ((sp_depthwise_f32_fn *)sp_ukernels[p->ukernel].run)(&call);
    }
}

/* first, last: output rows of all images. */
static void run_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row++)
        run_row(params, c, row);
}

void sp_depthwise_conv_f32(const sp_conv_f32 *p, const sp_context *context)
{
    const sp_conv_shape *s = &p->shape;
    int64_t macs = (int64_t)s->out_w * s->in_c * s->kernel_h * s->kernel_w;
    sp_for_ranges(p, context, (int64_t)s->batch * s->out_h, SP_GRAIN_BYTES / SP_MAX(macs, 1),
                  run_rows);
}
