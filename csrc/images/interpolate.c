/* Separable resizing, nhwc: an output row is a blend of input rows, kept as float32, whose pixels
 * are then blended. */
#include "elementwise/loops.h"
#include "image_loops.h"
#include "operators.h"

const struct sp_image_loops *sp_image_loops_in_use(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI))
        return &sp_image_loops_avx512vnni;
    if (sp_isa_includes(SP_ISA_AVX2))
        return &sp_image_loops_avx2;
#endif
    return &sp_image_loops_portable;
}

struct resize {
    const sp_interpolate *p;
    const sp_context *context;
    int tasks;
};

static size_t row_floats(const sp_interpolate *p)
{
    return SP_ROUND_UP((size_t)p->in_w * (size_t)p->channels, 16);
}

size_t sp_scratch_interpolate(const void *params)
{
    const sp_interpolate *p =
        params; /* the blended row; a pixel before rounding; rows and pixels */
    return (row_floats(p) + (size_t)p->channels) * sizeof(float) +
           (size_t)SP_MAX(p->row_taps, p->column_taps) * sizeof(void *) + 64;
}

static void blend_rows(const sp_interpolate *p, const void *x, int64_t image, int row,
                       const void **from, float *blended)
{
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t n = (int64_t)p->in_w * p->channels, taps = p->row_taps;
    const float *weight = p->row_weight + row * taps;
    for (int64_t t = 0; t < taps; t++) {
        int64_t at = (image * p->in_h + p->row_index[row * taps + t]) * n;
        from[t] = p->bytes ? (const void *)((const uint8_t *)x + at)
                           : (const void *)((const float *)x + at);
    }
    if (p->bytes)
        loops->blend_bytes((const uint8_t *const *)from, weight, p->row_taps, p->x_zero_point,
                           blended, n);
    else
        loops->blend_floats((const float *const *)from, weight, p->row_taps, blended, n);
}

static void blend_pixels(const sp_interpolate *p, const float *row, const void **from, float *sum,
                         void *output, int64_t first)
{
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t n = p->channels, taps = p->column_taps;
    const float **pixel = (const float **)from;
    for (int column = 0; column < p->out_w; column++) {
        const float *weight = p->column_weight + column * taps;
        const int64_t at = first + column * n;
        for (int64_t t = 0; t < taps; t++)
            pixel[t] = row + p->column_index[column * taps + t] * n;
        if (!p->bytes) {
            loops->blend_floats(pixel, weight, p->column_taps, (float *)output + at, n);
        } else if (taps == 2) {
            loops->blend_round(pixel, weight, p->multiplier, p->output, (uint8_t *)output + at, n);
        } else {
            loops->blend_floats(pixel, weight, p->column_taps, sum, n);
            loops->round(sum, p->multiplier, p->output, (uint8_t *)output + at, n);
        }
    }
}

static void resize_rows(void *argument, int task, int thread)
{
    const struct resize *r = argument;
    const sp_interpolate *p = r->p;
    const sp_context *c = r->context;
    const int64_t rows = (int64_t)p->batch * p->out_h;
    float *blended = (float *)(c->scratch + (size_t)thread * c->scratch_per_thread);
    float *sum = blended + row_floats(p);
    const void **from = (const void **)(sum + SP_ROUND_UP(p->channels, 2));
    for (int64_t row = rows * task / r->tasks; row < rows * (task + 1) / r->tasks; row++) {
        blend_rows(p, c->input[0], row / p->out_h, (int)(row % p->out_h), from, blended);
        blend_pixels(p, blended, from, sum, c->output, row * p->out_w * p->channels);
    }
}

void sp_op_interpolate(const void *params, const sp_context *context)
{
    const sp_interpolate *p = params;
    int64_t work = (int64_t)p->batch * p->out_h * p->out_w * p->channels / SP_GRAIN_BYTES;
    int64_t most = SP_MIN((int64_t)context->threads, (int64_t)p->batch * p->out_h);
    struct resize r = {p, context, (int)SP_MAX(SP_MIN(work, most), 1)};
    sp_parallel(context->threads, r.tasks, resize_rows, &r);
}
