/* Slopes of negative values, one a channel. */
#include "elementwise/loops.h"
#include "image_loops.h"
#include "operators.h"

/* first, last: pixels (nhwc) or planes (nchw) of all images. */
static void byte_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_prelu_s8 *p = params;
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t n = p->nhwc ? p->channels : p->pixels;
    for (int64_t row = first; row < last; row++) {
        const uint8_t *x = (const uint8_t *)c->input[0] + row * n;
        uint8_t *y = (uint8_t *)c->output + row * n;
        if (p->nhwc)
            loops->prelu_bytes(p, p->negative_multiplier, x, y, n);
        else
            loops->prelu_one_bytes(p, p->negative_multiplier + row % p->channels, x, y, n);
    }
}

void sp_op_prelu_s8(const void *params, const sp_context *context)
{
    const sp_prelu_s8 *p = params;
    const int64_t row = p->nhwc ? p->channels : p->pixels;
    const int64_t rows = p->batch * (p->nhwc ? p->pixels : p->channels);
    sp_for_ranges(p, context, rows, SP_GRAIN_BYTES / SP_MAX(row, 1), byte_rows);
}

static void float_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_prelu_f32 *p = params;
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t n = p->nhwc ? p->channels : p->pixels;
    for (int64_t row = first; row < last; row++) {
        const float *x = (const float *)c->input[0] + row * n;
        float *y = (float *)c->output + row * n;
        if (p->nhwc)
            loops->prelu_floats(p->slope, x, y, n);
        else
            loops->prelu_one_floats(p->slope + row % p->channels, x, y, n);
    }
}

void sp_op_prelu_f32(const void *params, const sp_context *context)
{
    const sp_prelu_f32 *p = params;
    const int64_t row = p->nhwc ? p->channels : p->pixels;
    const int64_t rows = p->batch * (p->nhwc ? p->pixels : p->channels);
    sp_for_ranges(p, context, rows, SP_GRAIN_BYTES / 4 / SP_MAX(row, 1), float_rows);
}
