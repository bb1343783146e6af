/* Some channels in any order: slices, splits and shuffles. */
#include "copy_short.h"
#include "loops.h"
#include "operators.h"
#include "vector16.h"

/* first, last: planes of all images of the output. */
static void select_planes(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_select_channels *p = params;
    for (int64_t plane = first; plane < last; plane++) {
        int64_t source = plane / p->out_c * p->in_c + p->channel[plane % p->out_c];
        memcpy((uint8_t *)c->output + plane * p->unit,
               (const uint8_t *)c->input[0] + source * p->unit, (size_t)p->unit);
    }
}

static void select_runs(const sp_select_channels *p, const uint8_t *x, uint8_t *y)
{
    const int unit = (int)p->unit;
    for (const sp_channel_run *run = p->run; run < p->run + p->runs; run++)
        sp_copy_short(y + (size_t)run->to * p->unit, x + (size_t)run->from * p->unit,
                      run->count * unit);
}

/* The elements of two vectors in turn. unit: a constant. */
SP_INLINE void zip(const uint8_t *a, const uint8_t *b, uint8_t *y, size_t unit)
{
    sp_u8x16 va = sp_load_u8(a), vb = sp_load_u8(b), low, high;
    if (unit == 1) {
        low = sp_zip_low_u8(va, vb);
        high = sp_zip_high_u8(va, vb);
    } else {
        low = (sp_u8x16)sp_zip_low_u32((sp_u32x4)va, (sp_u32x4)vb);
        high = (sp_u8x16)sp_zip_high_u32((sp_u32x4)va, (sp_u32x4)vb);
    }
    memcpy(y, &low, 16);
    memcpy(y + 16, &high, 16);
}

SP_INLINE void select_single(const sp_select_channels *p, const uint8_t *x, uint8_t *y, size_t unit)
{
    for (int i = 0; i < p->out_c; i++)
        memcpy(y + (size_t)i * unit, x + (size_t)p->channel[i] * unit, unit);
}

SP_INLINE void select_pairs(const sp_select_channels *p, const uint8_t *x, uint8_t *y, size_t unit)
{
    const uint8_t *a = x + (size_t)p->channel[0] * unit, *b = x + (size_t)p->channel[1] * unit;
    const int64_t bytes = p->out_c / 2 * (int64_t)unit;
    if (bytes < 16) {
        select_single(p, x, y, unit);
        return;
    }
    for (int64_t i = 0; i < bytes - 16; i += 16)
        zip(a + i, b + i, y + 2 * i, unit);
    zip(a + bytes - 16, b + bytes - 16, y + 2 * (bytes - 16), unit); /* overlaps what is done */
}

/* first, last: pixels of all images. */
static void select_pixels(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_select_channels *p = params;
    for (int64_t pixel = first; pixel < last; pixel++) {
        const uint8_t *x = (const uint8_t *)c->input[0] + pixel * p->in_c * p->unit;
        uint8_t *y = (uint8_t *)c->output + pixel * p->out_c * p->unit;
        if (p->form == SP_SELECT_RUNS)
            select_runs(p, x, y);
        else if (p->form == SP_SELECT_PAIRS && p->unit == 1)
            select_pairs(p, x, y, 1);
        else if (p->form == SP_SELECT_PAIRS)
            select_pairs(p, x, y, 4);
        else if (p->unit == 1)
            select_single(p, x, y, 1);
        else
            select_single(p, x, y, 4);
    }
}

void sp_op_select_channels(const void *params, const sp_context *context)
{
    const sp_select_channels *p = params;
    if (p->form == SP_SELECT_PLANES)
        sp_for_ranges(p, context, p->rows * p->out_c, SP_GRAIN_BYTES / SP_MAX(p->unit, 1),
                      select_planes);
    else
        sp_for_ranges(p, context, p->rows, SP_GRAIN_BYTES / SP_MAX(p->out_c * p->unit, 1),
                      select_pixels);
}
