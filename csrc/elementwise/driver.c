/* Operators that compute each output from the inputs at the same place. */
#include "look_up.h"
#include "loops.h"
#include "operators.h"

static void quantize_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    sp_loops_in_use()->quantize(params, (const float *)c->input[0] + first,
                                (uint8_t *)c->output + first, last - first);
}

void sp_op_quantize(const void *params, const sp_context *context)
{
    const sp_quantize *p = params;
    sp_for_ranges(p, context, p->count, SP_GRAIN_BYTES, quantize_range);
}

static void dequantize_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    sp_loops_in_use()->dequantize(params, (const uint8_t *)c->input[0] + first,
                                  (float *)c->output + first, last - first);
}

void sp_op_dequantize(const void *params, const sp_context *context)
{
    const sp_dequantize *p = params;
    sp_for_ranges(p, context, p->count, SP_GRAIN_BYTES, dequantize_range);
}

static void add_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    sp_loops_in_use()->add(params, (const uint8_t *)c->input[0] + first,
                           (const uint8_t *)c->input[1] + first, (uint8_t *)c->output + first,
                           last - first);
}

void sp_op_add_s8(const void *params, const sp_context *context)
{
    const sp_add_s8 *p = params;
    sp_for_ranges(p, context, p->count, SP_GRAIN_BYTES, add_range);
}

static void mul_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    sp_loops_in_use()->mul(params, (const uint8_t *)c->input[0] + first,
                           (const uint8_t *)c->input[1] + first, (uint8_t *)c->output + first,
                           last - first);
}

/* nhwc: a row is a pixel, b has one row an image. */
static void mul_pixels(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_mul_s8 *p = params;
    const uint8_t *a = c->input[0], *b = c->input[1];
    uint8_t *y = c->output;
    const struct sp_loops *loops = sp_loops_in_use();
    for (int64_t row = first; row < last; row++)
        loops->mul(p, a + row * p->channels, b + row / p->pixels * p->channels,
                   y + row * p->channels, p->channels);
}

/* nchw: a row is a channel of an image, b has one value a row. */
static void mul_channels(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_mul_s8 *p = params;
    const uint8_t *a = c->input[0], *b = c->input[1];
    uint8_t *y = c->output;
    const struct sp_loops *loops = sp_loops_in_use();
    for (int64_t row = first; row < last; row++)
        loops->mul_by_one(p, a + row * p->pixels, b + row, y + row * p->pixels, p->pixels);
}

void sp_op_mul_s8(const void *params, const sp_context *context)
{
    const sp_mul_s8 *p = params;
    int64_t pixels = (int64_t)p->batch * p->pixels, planes = (int64_t)p->batch * p->channels;
    if (!p->b_broadcast)
        sp_for_ranges(p, context, pixels * p->channels, SP_GRAIN_BYTES, mul_range);
    else if (p->nhwc)
        sp_for_ranges(p, context, pixels, SP_GRAIN_BYTES / SP_MAX(p->channels, 1), mul_pixels);
    else
        sp_for_ranges(p, context, planes, SP_GRAIN_BYTES / SP_MAX(p->pixels, 1), mul_channels);
}

static void rescale_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_rescale_s8 *p = params;
    sp_loops_in_use()->rescale(p->x_zero_point, p->multiplier, p->output,
                               (const uint8_t *)c->input[0] + first, (uint8_t *)c->output + first,
                               last - first);
}

void sp_op_rescale_s8(const void *params, const sp_context *context)
{
    const sp_rescale_s8 *p = params;
    sp_for_ranges(p, context, p->count, SP_GRAIN_BYTES, rescale_range);
}

static void table_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_table_s8 *p = params;
    const struct sp_byte_rows row = {
        .x = (const uint8_t *)c->input[0] + first,
        .y = (uint8_t *)c->output + first,
        .rows = 1,
        .n = last - first,
    };
    sp_look_up(p->table, &row);
}

void sp_op_table_s8(const void *params, const sp_context *context)
{
    const sp_table_s8 *p = params;
    sp_for_ranges(p, context, p->count, SP_GRAIN_BYTES, table_range);
}
