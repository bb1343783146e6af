/* Float32 operators that compute each output from the inputs at the same place. */
#include "float_loops.h"
#include "loops.h"
#include "operators.h"

const struct sp_float_loops *sp_float_loops_in_use(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI))
        return &sp_float_loops_avx512vnni;
    if (sp_isa_includes(SP_ISA_AVX2))
        return &sp_float_loops_avx2;
#endif
    return &sp_float_loops_portable;
}

enum { GRAIN = SP_GRAIN_BYTES / sizeof(float) };

static void activation_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_activation_f32 *p = params;
    sp_float_loops_in_use()->activation[p->function](
        (const float *)c->input[0] + first, (float *)c->output + first, last - first, p->a, p->b);
}

void sp_op_activation_f32(const void *params, const sp_context *context)
{
    const sp_activation_f32 *p = params;
    sp_for_ranges(p, context, p->count, GRAIN, activation_range);
}

struct operands {
    const sp_binary_f32 *p;
    sp_binary_loop *all, *one; /* b advances with a; b is one value */
};

static void binary_range(const void *operands, const sp_context *c, int64_t first, int64_t last)
{
    const struct operands *o = operands;
    o->all((const float *)c->input[0] + first, (const float *)c->input[1] + first,
           (float *)c->output + first, last - first, o->p->lo, o->p->hi);
}

/* nhwc: a row is a pixel, b has one row an image. */
static void binary_pixels(const void *operands, const sp_context *c, int64_t first, int64_t last)
{
    const struct operands *o = operands;
    const sp_binary_f32 *p = o->p;
    const float *a = c->input[0], *b = c->input[1];
    for (int64_t row = first; row < last; row++)
        o->all(a + row * p->channels, b + row / p->pixels * p->channels,
               (float *)c->output + row * p->channels, p->channels, p->lo, p->hi);
}

/* nchw: a row is a channel of an image, b has one value a row. */
static void binary_channels(const void *operands, const sp_context *c, int64_t first, int64_t last)
{
    const struct operands *o = operands;
    const sp_binary_f32 *p = o->p;
    const float *a = c->input[0], *b = c->input[1];
    for (int64_t row = first; row < last; row++)
        o->one(a + row * p->pixels, b + row, (float *)c->output + row * p->pixels, p->pixels, p->lo,
               p->hi);
}

/* Slabs: a row is a channel of a slab, and b's value for an image is one pixel of its slabs. */
static void binary_slabs(const void *operands, const sp_context *c, int64_t first, int64_t last)
{
    const struct operands *o = operands;
    const sp_binary_f32 *p = o->p;
    const int64_t pixels = (int64_t)p->batch * p->pixels;
    for (int64_t row = first; row < last; row++) {
        const int64_t begin = row / p->channels * SP_SLAB_WIDTH, channel = row % p->channels;
        const int64_t end = SP_MIN(begin + SP_SLAB_WIDTH, pixels);
        for (int64_t at = begin, next; at < end; at = next) {
            const int64_t image = at / p->pixels;
            const int64_t b = (image / SP_SLAB_WIDTH * p->channels + channel) * SP_SLAB_WIDTH +
                              image % SP_SLAB_WIDTH;
            const int64_t a = row * SP_SLAB_WIDTH + at - begin;
            next = SP_MIN((image + 1) * p->pixels, end);
            o->one((const float *)c->input[0] + a, (const float *)c->input[1] + b,
                   (float *)c->output + a, next - at, p->lo, p->hi);
        }
    }
}

void sp_op_binary_f32(const void *params, const sp_context *context)
{
    const sp_binary_f32 *p = params;
    const struct sp_float_loops *loops = sp_float_loops_in_use();
    const struct operands o = {p, p->product ? loops->mul : loops->add,
                               p->product ? loops->mul_one : loops->add_one};
    const int64_t pixels = (int64_t)p->batch * p->pixels, planes = (int64_t)p->batch * p->channels;
    const int64_t slabs = (pixels + SP_SLAB_WIDTH - 1) / SP_SLAB_WIDTH;
    const int64_t memory_pixels = p->slab ? slabs * SP_SLAB_WIDTH : pixels;
    if (!p->b_broadcast)
        sp_for_ranges(&o, context, memory_pixels * p->channels, GRAIN, binary_range);
    else if (p->slab)
        sp_for_ranges(&o, context, slabs * p->channels, GRAIN / SP_SLAB_WIDTH, binary_slabs);
    else if (p->nhwc)
        sp_for_ranges(&o, context, pixels, GRAIN / SP_MAX(p->channels, 1), binary_pixels);
    else
        sp_for_ranges(&o, context, planes, GRAIN / SP_MAX(p->pixels, 1), binary_channels);
}
