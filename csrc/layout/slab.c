/* Between slabs, [pixels of the batch / SP_SLAB_WIDTH][channels][SP_SLAB_WIDTH], and the other
 * memory orders, of float32. Lanes beyond the last pixel that share a vector with pixels become
 * zero.
 */
#include <string.h>

#include "elementwise/loops.h"
#include "elementwise/transpose.h"
#include "operators.h"

/* Of one slab: `lanes` pixels of all channels. x: the slab's first pixel, nhwc. */
static void copy_nhwc(const sp_slab *p, char *other, char *slab, int lanes)
{
    const size_t pixel = (size_t)p->channels * 4, row = SP_SLAB_WIDTH * 4;
    if (p->to_slab)
        sp_transpose_words(other, pixel, slab, row, lanes, p->channels);
    else
        sp_transpose_words(slab, row, other, pixel, p->channels, lanes);
}

/* The same where other is the whole batch, nchw. */
static void copy_nchw(const sp_slab *p, char *other, char *slab, int64_t first, int lanes)
{
    for (int lane = 0, length; lane < lanes; lane += length) {
        const int64_t image = (first + lane) / p->pixels, pixel = (first + lane) % p->pixels;
        length = (int)SP_MIN(p->pixels - pixel, lanes - lane);
        char *plane = other + 4 * (image * p->channels * p->pixels + pixel);
        char *row = slab + 4 * lane;
        const size_t bytes = 4 * (size_t)length;
        for (int c = 0; c < p->channels; c++, plane += 4 * (int64_t)p->pixels)
            if (p->to_slab)
                memcpy(row + 4 * c * SP_SLAB_WIDTH, plane, bytes);
            else
                memcpy(plane, row + 4 * c * SP_SLAB_WIDTH, bytes);
    }
}

static void copy_slabs(const void *params, const sp_context *c, int64_t begin, int64_t end)
{
    const sp_slab *p = params;
    const int64_t pixels = (int64_t)p->batch * p->pixels;
    char *input = (char *)(uintptr_t)c->input[0], *output = c->output;
    char *slabs = p->to_slab ? output : input, *other = p->to_slab ? input : output;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i * SP_SLAB_WIDTH;
        const int lanes = (int)SP_MIN(pixels - first, SP_SLAB_WIDTH);
        char *slab = slabs + 4 * first * p->channels;
        if (p->nhwc)
            copy_nhwc(p, other + 4 * first * p->channels, slab, lanes);
        else
            copy_nchw(p, other, slab, first, lanes);
        if (p->to_slab && lanes % 8)
            for (int channel = 0; channel < p->channels; channel++)
                memset(slab + 4 * (channel * SP_SLAB_WIDTH + lanes), 0,
                       4 * (size_t)(SP_ROUND_UP(lanes, 8) - lanes));
    }
}

void sp_op_slab(const void *params, const sp_context *context)
{
    const sp_slab *p = params;
    const int64_t pixels = (int64_t)p->batch * p->pixels;
    const int64_t slabs = (pixels + SP_SLAB_WIDTH - 1) / SP_SLAB_WIDTH;
    const int64_t slab_bytes = 4 * (int64_t)SP_SLAB_WIDTH * p->channels;
    sp_for_ranges(p, context, slabs, SP_GRAIN_BYTES / SP_MAX(slab_bytes, 1), copy_slabs);
}
