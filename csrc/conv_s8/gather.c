/* im2col of a block of pixels. */
#include "conv_s8.h"
#include "gemm_s8/rows.h"

/* One patch: where its first tap lies (maybe outside the image), and what to write. */
struct patch {
    const uint8_t *image; /* its first channel of the group */
    int y, x;
    int channels;       /* of a group */
    int padding;        /* the value outside the image */
    const uint8_t *end; /* of all images */
};

/* A patch inside the image whose rows of taps are each one stretch of memory. piece: bytes, at
 * least a row's, that are copied whatever the row's length; 0: just the row. */
SP_INLINE void put_inner_patch(const sp_conv_shape *s, struct patch at, void *to, int bytes,
                               size_t piece)
{
    const int row = s->kernel_w * at.channels;
    const int64_t apart = (int64_t)s->dilation_h * s->in_w * s->in_c;
    const uint8_t *from = at.image + ((int64_t)at.y * s->in_w + at.x) * s->in_c;
    for (int i = 0; i < s->kernel_h; i++)
        if (piece)
            memcpy((uint8_t *)to + i * row, from + i * apart, piece);
        else
            sp_put(to, i * row, from + i * apart, row, bytes);
}

/* The same where rows are short, as in first layers. What is copied beyond a row is overwritten by
 * the next row, or the next patch. Below the patch must lie another row of the image, so that
 * nothing beyond the image is read. */
SP_INLINE int put_short_rows(const sp_conv_shape *s, struct patch at, void *to)
{
    const int row = s->kernel_w * at.channels, image_row = s->in_w * s->in_c;
    if (at.y + (s->kernel_h - 1) * s->dilation_h + 1 >= s->in_h || row > 32 || image_row < 32)
        return 0;
    if (row <= 16)
        put_inner_patch(s, at, to, 1, 16);
    else
        put_inner_patch(s, at, to, 1, SP_PATCH_SLACK);
    return 1;
}

/* A patch inside the image whose taps lie apart, of up to `piece` channels. With each tap comes
 * what lies behind it, which the next tap, or the next patch, overwrites. */
SP_INLINE void put_pieces(const sp_conv_shape *s, struct patch at, uint8_t *restrict to, int piece)
{
    const int rows = s->kernel_h, columns = s->kernel_w, channels = at.channels;
    const int64_t right = (int64_t)s->dilation_w * s->in_c;
    const int64_t down = (int64_t)s->dilation_h * s->in_w * s->in_c;
    const uint8_t *restrict row = at.image + ((int64_t)at.y * s->in_w + at.x) * s->in_c;
    for (int i = 0; i < rows; i++, row += down) {
        const uint8_t *restrict from = row;
        for (int j = 0; j < columns; j++, from += right, to += channels)
            memcpy(to, from, (size_t)piece);
    }
}

/* The same where channels are few. Nothing beyond the images is read. */
SP_INLINE int put_narrow_taps(const sp_conv_shape *s, struct patch at, void *to)
{
    const int64_t y = at.y + (s->kernel_h - 1) * s->dilation_h;
    const int64_t x = at.x + (s->kernel_w - 1) * s->dilation_w;
    const uint8_t *last = at.image + (y * s->in_w + x) * s->in_c;
    if (at.channels > SP_PATCH_SLACK || at.end - last < SP_PATCH_SLACK)
        return 0;
    if (at.channels <= 8)
        put_pieces(s, at, to, 8);
    else if (at.channels <= 16)
        put_pieces(s, at, to, 16);
    else
        put_pieces(s, at, to, SP_PATCH_SLACK);
    return 1;
}

/* One row of taps that are neighbours in memory: taps left of the image, inside, right of it. */
SP_INLINE void put_whole_row(const sp_conv_shape *s, struct patch at, int y, void *to, int k,
                             int bytes)
{
    const int c = at.channels;
    const int left = SP_MIN(SP_MAX(-at.x, 0), s->kernel_w);
    const int right = SP_MIN(SP_MAX(at.x + s->kernel_w - s->in_w, 0), s->kernel_w - left);
    const int inside = s->kernel_w - left - right;
    if (left > 0)
        sp_fill(to, k, at.padding, left * c, bytes);
    if (inside > 0)
        sp_put(to, k + left * c, at.image + ((int64_t)y * s->in_w + at.x + left) * s->in_c,
               inside * c, bytes);
    if (right > 0)
        sp_fill(to, k + (left + inside) * c, at.padding, right * c, bytes);
}

SP_INLINE void put_taps(const sp_conv_shape *s, struct patch at, int y, void *to, int k, int bytes)
{
    for (int i = 0; i < s->kernel_w; i++, k += at.channels) {
        const int x = at.x + i * s->dilation_w;
        if (x < 0 || x >= s->in_w)
            sp_fill(to, k, at.padding, at.channels, bytes);
        else
            sp_put(to, k, at.image + ((int64_t)y * s->in_w + x) * s->in_c, at.channels, bytes);
    }
}

/* A patch anywhere. */
SP_INLINE void put_patch(const sp_conv_shape *s, struct patch at, void *to, int bytes)
{
    const int row = s->kernel_w * at.channels, whole = s->groups == 1 && s->dilation_w == 1;
    int k = 0;
    for (int i = 0; i < s->kernel_h; i++, k += row) {
        const int y = at.y + i * s->dilation_h;
        if (y < 0 || y >= s->in_h)
            sp_fill(to, k, at.padding, row, bytes);
        else if (whole)
            put_whole_row(s, at, y, to, k, bytes);
        else
            put_taps(s, at, y, to, k, bytes);
    }
}

SP_INLINE void put_inside(const sp_conv_shape *s, struct patch at, void *to, int whole_rows,
                          int bytes)
{
    if (bytes == 1 && (whole_rows ? put_short_rows(s, at, to) : put_narrow_taps(s, at, to)))
        return;
    if (whole_rows)
        put_inner_patch(s, at, to, bytes, 0);
    else
        put_patch(s, at, to, bytes);
}

SP_INLINE void put_patches(const sp_conv_s8 *p, const uint8_t *x, int group, int first, int rows,
                           void *y, size_t stride, int bytes)
{
    const sp_conv_shape *s = &p->shape;
    const int pixels = s->out_h * s->out_w;
    const int64_t image_bytes = (int64_t)s->in_h * s->in_w * s->in_c;
    int image = first / pixels, oy = first % pixels / s->out_w, ox = first % s->out_w;
    const int last_y = s->in_h - 1 - (s->kernel_h - 1) * s->dilation_h;
    const int last_x = s->in_w - 1 - (s->kernel_w - 1) * s->dilation_w;
    const int whole_rows = s->groups == 1 && s->dilation_w == 1;
    struct patch at = {.channels = s->in_c / s->groups,
                       .padding = p->x_zero_point,
                       .end = x + s->batch * image_bytes};
    for (int row = 0; row < rows; row++) {
        at.image = x + image * image_bytes + group * at.channels;
        at.y = oy * s->stride_h - s->pad_top;
        at.x = ox * s->stride_w - s->pad_left;
        const int inside = at.y >= 0 && at.y <= last_y && at.x >= 0 && at.x <= last_x;
        void *to = (char *)y + (size_t)row * stride;
        if (inside)
            put_inside(s, at, to, whole_rows, bytes);
        else
            put_patch(s, at, to, bytes);
        if (++ox == s->out_w) {
            ox = 0;
            if (++oy == s->out_h) {
                oy = 0;
                image++;
            }
        }
    }
}

void sp_gather_s8(const sp_conv_s8 *p, const uint8_t *x, int group, int first, int rows, void *y,
                  size_t stride, int bytes)
{
    if (bytes == 1)
        put_patches(p, x, group, first, rows, y, stride, 1);
    else
        put_patches(p, x, group, first, rows, y, stride, 2);
}
