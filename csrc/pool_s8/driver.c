/* Max and average pooling of uint8, nhwc: a window's pixels are combined channel by channel, so
 * that the inner loops run over contiguous channels. */
#include <string.h>

#include "elementwise/loops.h"
#include "operators.h"

/* The taps of one output pixel that lie inside the input: rows [0, rows) from y0 on, dilation_h
 * apart, and columns likewise. */
struct taps {
    int y0, x0, rows, columns;
};

/* Along one axis: index of the first tap inside [0, size) and how many there are. */
static void clip(int start, int step, int count, int size, int *first, int *inside)
{
    int skipped = start < 0 ? (-start + step - 1) / step : 0;
    int end = start >= size ? 0 : (size - start + step - 1) / step; /* taps before `size` */
    *first = start + skipped * step;
    *inside = SP_MAX(SP_MIN(count, end) - skipped, 0);
}

static struct taps find_taps(const sp_conv_shape *s, int oy, int ox)
{
    struct taps t;
    clip(oy * s->stride_h - s->pad_top, s->dilation_h, s->kernel_h, s->in_h, &t.y0, &t.rows);
    clip(ox * s->stride_w - s->pad_left, s->dilation_w, s->kernel_w, s->in_w, &t.x0, &t.columns);
    return t;
}

static const uint8_t *tap(const sp_conv_shape *s, const uint8_t *image, struct taps t, int i, int j)
{
    size_t row = (size_t)(t.y0 + i * s->dilation_h), column = (size_t)(t.x0 + j * s->dilation_w);
    return image + (row * (size_t)s->in_w + column) * (size_t)s->in_c;
}

static size_t image_bytes(const sp_conv_shape *s)
{
    return (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
}

/* ---- max ---- */

static void max_pixel(const struct sp_loops *loops, const sp_conv_shape *s, const uint8_t *image,
                      struct taps t, uint8_t *y)
{
    memset(y, 0, (size_t)s->in_c); /* no tap is below 0, and a window in the padding gives 0 */
    for (int i = 0; i < t.rows; i++)
        for (int j = 0; j < t.columns; j++)
            loops->max(tap(s, image, t, i, j), y, s->in_c);
}

/* first, last: output rows of all images. */
static void max_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const struct sp_loops *loops = sp_loops_in_use();
    const sp_conv_shape *s = &((const sp_max_pool_s8 *)params)->shape;
    uint8_t *y = (uint8_t *)c->output + (size_t)(first * s->out_w) * (size_t)s->in_c;
    for (int64_t row = first; row < last; row++) {
        const uint8_t *image =
            (const uint8_t *)c->input[0] + (size_t)(row / s->out_h) * image_bytes(s);
        for (int ox = 0; ox < s->out_w; ox++, y += s->in_c)
            max_pixel(loops, s, image, find_taps(s, (int)(row % s->out_h), ox), y);
    }
}

/* Output rows that read about a grain of input. */
static int64_t rows_per_task(const sp_conv_shape *s)
{
    int64_t reads = (int64_t)s->out_w * s->in_c * s->kernel_h * s->kernel_w;
    return SP_GRAIN_BYTES / SP_MAX(reads, 1);
}

void sp_op_max_pool_s8(const void *params, const sp_context *context)
{
    const sp_conv_shape *s = &((const sp_max_pool_s8 *)params)->shape;
    sp_for_ranges(params, context, (int64_t)s->batch * s->out_h, rows_per_task(s), max_rows);
}

/* ---- average ---- */

/* Channels are cut into blocks whose sums stay in the L1 cache and on the stack. */
enum { CHANNELS = 512 };

static void average_pixel(const sp_average_pool_s8 *p, const uint8_t *image, struct taps t,
                          float multiplier, int channels, uint8_t *y)
{
    const struct sp_loops *loops = sp_loops_in_use();
    uint32_t sum[CHANNELS] = {0};
    for (int i = 0; i < t.rows; i++)
        for (int j = 0; j < t.columns; j++)
            loops->sum(tap(&p->shape, image, t, i, j), sum, channels);
    /* padding holds x_zero_point, which adds nothing: only taps inside the input are shifted */
    uint32_t offset = (uint32_t)p->x_zero_point * (uint32_t)t.rows * (uint32_t)t.columns;
    loops->requantize_sums(offset, multiplier, p->output, sum, y, channels);
}

/* first, last: (output pixel, channel block) pairs of all images. */
static void average_blocks(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_average_pool_s8 *p = params;
    const sp_conv_shape *s = &p->shape;
    const int blocks = (s->in_c + CHANNELS - 1) / CHANNELS, pixels = s->out_h * s->out_w;
    for (int64_t i = first; i < last; i++) {
        int64_t at = i / blocks; /* output pixel, of all images */
        int pixel = (int)(at % pixels), channel = (int)(i % blocks) * CHANNELS;
        const uint8_t *image =
            (const uint8_t *)c->input[0] + (size_t)(at / pixels) * image_bytes(s) + channel;
        average_pixel(p, image, find_taps(s, pixel / s->out_w, pixel % s->out_w),
                      p->multiplier[pixel], SP_MIN(CHANNELS, s->in_c - channel),
                      (uint8_t *)c->output + (size_t)at * (size_t)s->in_c + channel);
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
