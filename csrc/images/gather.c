/* Movement of pixels, nhwc: picked by row and column, and blocks of pixels out of channels. */
#include "copy_short.h"
#include "elementwise/loops.h"
#include "operators.h"

enum { SHORT = 256 /* bytes from which memcpy pays */ };

SP_INLINE void copy(uint8_t *to, const uint8_t *from, int64_t n)
{
    if (n <= SHORT)
        sp_copy_short(to, from, (int)n);
    else
        memcpy(to, from, (size_t)n);
}

/* bytes: a multiple of the element's size. */
static void fill(const sp_gather_pixels *p, uint8_t *y, int64_t bytes)
{
    if (p->element_bytes == 1)
        memset(y, p->fill[0], (size_t)bytes);
    else
        for (int64_t i = 0; i < bytes; i += 4)
            memcpy(y + i, p->fill, 4);
}

static void gather_row(const sp_gather_pixels *p, const uint8_t *x, uint8_t *y)
{
    const int64_t pixel = (int64_t)p->channels * p->element_bytes;
    for (const sp_channel_run *run = p->run; run < p->run + p->runs; run++) {
        if (run->from < 0)
            fill(p, y + run->to * pixel, run->count * pixel);
        else
            copy(y + run->to * pixel, x + run->from * pixel, run->count * pixel);
    }
}

/* first, last: output rows of all images. */
static void gather_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_gather_pixels *p = params;
    const int64_t pixel = (int64_t)p->channels * p->element_bytes;
    const int64_t x_row = p->in_w * pixel, y_row = p->out_w * pixel;
    for (int64_t row = first; row < last; row++) {
        const int64_t image = row / p->out_h, at = row % p->out_h;
        uint8_t *y = (uint8_t *)c->output + row * y_row;
        if (p->rows[at] < 0)
            fill(p, y, y_row);
        else if (row > first && at > 0 && p->rows[at] == p->rows[at - 1])
            memcpy(y, y - y_row, (size_t)y_row);
        else
            gather_row(p, (const uint8_t *)c->input[0] + (image * p->in_h + p->rows[at]) * x_row,
                       y);
    }
}

void sp_op_gather_pixels(const void *params, const sp_context *context)
{
    const sp_gather_pixels *p = params;
    int64_t row_bytes = (int64_t)p->out_w * p->channels * p->element_bytes;
    sp_for_ranges(p, context, (int64_t)p->batch * p->out_h, SP_GRAIN_BYTES / SP_MAX(row_bytes, 1),
                  gather_rows);
}

/* x: an input row at the wanted row of its blocks. A pixel's block row is contiguous. */
static void whole_blocks(const sp_depth_to_space *p, const uint8_t *x, uint8_t *y)
{
    const int block = p->block, end = p->left + p->out_w;
    const int64_t pixel = (int64_t)p->out_c * p->element_bytes;
    for (int at = p->left; at < end;) {
        const int column = at / block, in_block = at % block;
        const int count = SP_MIN(block - in_block, end - at);
        copy(y, x + ((int64_t)column * block * block + in_block) * pixel, count * pixel);
        y += count * pixel, at += count;
    }
}

/* x: as above, but of each channel's block. bytes: a constant. */
SP_INLINE void split_blocks(const sp_depth_to_space *p, const uint8_t *x, uint8_t *y, size_t bytes)
{
    const int block = p->block;
    const size_t area = (size_t)(block * block);
    for (int at = p->left; at < p->left + p->out_w; at++) {
        const uint8_t *from =
            x + ((size_t)(at / block) * area * (size_t)p->out_c + (size_t)(at % block)) * bytes;
        for (int c = 0; c < p->out_c; c++, y += bytes)
            memcpy(y, from + (size_t)c * area * bytes, bytes);
    }
}

/* first, last: output rows of all images. */
static void block_rows(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_depth_to_space *p = params;
    const int block = p->block;
    const int64_t pixel = (int64_t)p->out_c * p->element_bytes;
    for (int64_t row = first; row < last; row++) {
        const int64_t image = row / p->out_h, at = row % p->out_h + p->top;
        const int64_t in_row = image * p->in_h + at / block;
        const int64_t in_block = at % block * block;
        const uint8_t *x = (const uint8_t *)c->input[0] + in_row * p->in_w * block * block * pixel;
        uint8_t *y = (uint8_t *)c->output + row * p->out_w * pixel;
        if (!p->channels_first)
            whole_blocks(p, x + in_block * pixel, y);
        else if (p->element_bytes == 1)
            split_blocks(p, x + in_block, y, 1);
        else
            split_blocks(p, x + in_block * 4, y, 4);
    }
}

void sp_op_depth_to_space(const void *params, const sp_context *context)
{
    const sp_depth_to_space *p = params;
    int64_t row_bytes = (int64_t)p->out_w * p->out_c * p->element_bytes;
    sp_for_ranges(p, context, (int64_t)p->batch * p->out_h, SP_GRAIN_BYTES / SP_MAX(row_bytes, 1),
                  block_rows);
}
