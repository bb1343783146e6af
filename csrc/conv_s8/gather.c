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

/* Copies n bytes as two pieces, which overlap where n is less than two; piece: at most n. */
SP_INLINE void copy_pieces(uint8_t *to, const uint8_t *from, int n, int piece)
{
    memcpy(to, from, (size_t)piece);
    memcpy(to + n - piece, from + n - piece, (size_t)piece);
}

/* Neighbouring patches inside the image whose rows of taps are each one stretch of memory: the
 * first rows of all, then the second ... piece: of copy_pieces, or 0: any. */
SP_INLINE void put_rows(const sp_conv_shape *s, struct patch at, int patches, void *to,
                        size_t stride, int piece, int bytes)
{
    const int row = s->kernel_w * at.channels;
    const int64_t down = (int64_t)s->dilation_h * s->in_w * s->in_c;
    const int64_t right = (int64_t)s->stride_w * s->in_c;
    const uint8_t *image_row = at.image + ((int64_t)at.y * s->in_w + at.x) * s->in_c;
    for (int i = 0; i < s->kernel_h; i++, image_row += down) {
        const uint8_t *from = image_row;
        uint8_t *patch = to;
        for (int j = 0; j < patches; j++, from += right, patch += stride)
            if (piece)
                copy_pieces(patch + i * row, from, row, piece);
            else
                sp_put(patch, i * row, from, row, bytes);
    }
}

/* Long rows patch by patch, as memory is written in order. */
SP_INLINE void put_whole_rows(const sp_conv_shape *s, struct patch at, int patches, void *to,
                              size_t stride, int bytes)
{
    const int row = s->kernel_w * at.channels;
    if (bytes == 2 || row < 4 || row > 64)
        for (int i = 0; i < patches; i++, at.x += s->stride_w)
            put_rows(s, at, 1, (char *)to + (size_t)i * stride, stride, 0, bytes);
    else if (row < 8)
        put_rows(s, at, patches, to, stride, 4, 1);
    else if (row < 16)
        put_rows(s, at, patches, to, stride, 8, 1);
    else if (row < 32)
        put_rows(s, at, patches, to, stride, 16, 1);
    else
        put_rows(s, at, patches, to, stride, 32, 1);
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

/* Neighbouring patches inside the image. */
SP_INLINE void put_inside(const sp_conv_shape *s, struct patch at, int patches, char *to,
                          size_t stride, int bytes)
{
    if (s->groups == 1 && s->dilation_w == 1) {
        put_whole_rows(s, at, patches, to, stride, bytes);
        return;
    }
    for (int i = 0; i < patches; i++, at.x += s->stride_w, to += stride)
        if (bytes == 2 || !put_narrow_taps(s, at, to))
            put_patch(s, at, to, bytes);
}

/* Neighbouring output pixels: from `first` to the one before `end`. */
struct span {
    int first, end;
};

/* Those whose patches lie inside the image; at.y: their first row. */
SP_INLINE struct span find_inside(const sp_conv_shape *s, struct patch at, struct span all)
{
    const int last_y = s->in_h - 1 - (s->kernel_h - 1) * s->dilation_h;
    const int last = s->in_w - 1 - (s->kernel_w - 1) * s->dilation_w + s->pad_left;
    const int first = SP_MAX(all.first, (s->pad_left + s->stride_w - 1) / s->stride_w);
    const int end = last < 0 ? 0 : SP_MIN(all.end, last / s->stride_w + 1);
    if (at.y < 0 || at.y > last_y || first >= end)
        return (struct span){all.end, all.end};
    return (struct span){first, end};
}

/* Part of a row of output pixels. */
SP_INLINE void put_span(const sp_conv_shape *s, struct patch at, struct span all, char *to,
                        size_t stride, int bytes)
{
    const struct span inside = find_inside(s, at, all);
    for (int i = all.first; i < all.end; i++, to += stride) {
        at.x = i * s->stride_w - s->pad_left;
        if (i == inside.first) {
            const int patches = inside.end - inside.first;
            put_inside(s, at, patches, to, stride, bytes);
            i += patches - 1;
            to += (size_t)(patches - 1) * stride;
        } else {
            put_patch(s, at, to, bytes);
        }
    }
}

SP_INLINE void put_patches(const sp_conv_s8 *p, const uint8_t *x, int group, int first, int rows,
                           void *y, size_t stride, int bytes)
{
    const sp_conv_shape *s = &p->shape;
    const int64_t image_bytes = (int64_t)s->in_h * s->in_w * s->in_c;
    struct patch at = {.channels = s->in_c / s->groups,
                       .padding = p->x_zero_point,
                       .end = x + s->batch * image_bytes};
    char *to = y;
    for (int pixel = first, end; pixel < first + rows; pixel = end) {
        const int row = pixel / s->out_w, row_start = row * s->out_w; /* of all images */
        end = SP_MIN(first + rows, row_start + s->out_w);
        at.image = x + row / s->out_h * image_bytes + group * at.channels;
        at.y = row % s->out_h * s->stride_h - s->pad_top;
        put_span(s, at, (struct span){pixel - row_start, end - row_start}, to, stride, bytes);
        to += (size_t)(end - pixel) * stride;
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
