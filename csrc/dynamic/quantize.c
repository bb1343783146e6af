/* The range of a tensor, and the tensor quantized by it. */
#include "dynamic.h"
#include "elementwise/loops.h"
#include "operators.h"
#include "requantize.h"

const struct sp_dynamic_loops *sp_dynamic_loops_in_use(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI))
        return &sp_dynamic_loops_avx512vnni;
    if (sp_isa_includes(SP_ISA_AVX2))
        return &sp_dynamic_loops_avx2;
#endif
    return &sp_dynamic_loops_portable;
}

enum { GRAIN = SP_GRAIN_BYTES / sizeof(float), MOST_PARTS = 64 };

struct search {
    const float *x;
    int64_t count;
    int parts;
    float low[MOST_PARTS], high[MOST_PARTS];
};

static void search_part(void *argument, int part, int thread)
{
    (void)thread;
    struct search *s = argument;
    const int64_t each = s->count / s->parts, first = each * part;
    const int64_t last = part == s->parts - 1 ? s->count : first + each;
    sp_dynamic_loops_in_use()->extremes(s->x + first, last - first, &s->low[part], &s->high[part]);
}

/* The steps of dynamic_parameters() in pyinterp/ops/quantize_linear.py. */
static void write_range(float low, float high, float *range)
{
    float scale = (high - low) / 255.0F;
    scale = scale == 0.0F ? 1.0F : scale;
    const float zero = -low / scale;
    range[0] = scale;
    range[1] = zero >= 0.0F ? sp_round_to_float(zero, 0.0F, 255.0F) : 0.0F; /* NaN: 0 */
}

void sp_op_dynamic_range(const void *params, const sp_context *context)
{
    const sp_dynamic_range *p = params;
    struct search s = {.x = context->input[0], .count = p->count};
    s.parts = (int)SP_MIN(p->count / GRAIN, SP_MIN(context->threads, MOST_PARTS));
    s.parts = SP_MAX(s.parts, 1);
    sp_parallel(context->threads, s.parts, search_part, &s);
    float low = s.low[0], high = s.high[0];
    for (int i = 1; i < s.parts; i++) {
        const int is_nan = low != low;
        low = is_nan || s.low[i] >= low ? low : s.low[i];
        high = is_nan || s.high[i] <= high ? high : s.high[i];
    }
    write_range(low, high, context->output);
}

static void quantize_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_quantize *p = params;
    sp_loops_in_use()->quantize(p, (const float *)c->input[0] + first, (uint8_t *)c->output + first,
                                last - first);
}

void sp_op_dynamic_quantize(const void *params, const sp_context *context)
{
    const sp_dynamic_quantize *p = params;
    const struct sp_dynamic_unit unit = sp_read_range(context->input[1]);
    const sp_quantize quantize = {p->count, unit.scale, {unit.zero_point, 0, 255}};
    sp_for_ranges(&quantize, context, p->count, SP_GRAIN_BYTES, quantize_range);
}
