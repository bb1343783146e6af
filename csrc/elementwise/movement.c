/* Concatenation. */
#include <string.h>

#include "loops.h"
#include "operators.h"

struct part {
    const sp_concat_part *part;
    const uint8_t *x;
};

/* first, last: bytes of the part, whose rows of `inner` lie out_stride bytes apart in the output.
 */
static void concat_range(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const struct part *source = params;
    const sp_concat_part *p = source->part;
    const struct sp_loops *loops = sp_loops_in_use();
    int64_t row = first / p->inner, begin = first % p->inner;
    for (int64_t at = first; at < last; row++, begin = 0) {
        int64_t n = SP_MIN(p->inner - begin, last - at);
        uint8_t *y = (uint8_t *)c->output + p->out_offset + row * p->out_stride + begin;
        if (p->copy)
            memcpy(y, source->x + at, (size_t)n);
        else
            loops->rescale(p->x_zero_point, p->multiplier, p->output, source->x + at, y, n);
        at += n;
    }
}

void sp_op_concat_s8(const void *params, const sp_context *context)
{
    const sp_concat_s8 *p = params;
    for (int i = 0; i < p->parts; i++) {
        struct part part = {&p->part[i], context->input[i]};
        sp_for_ranges(&part, context, part.part->outer * part.part->inner, SP_GRAIN_BYTES,
                      concat_range);
    }
}
