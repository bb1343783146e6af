/* im2col for a block of pixels and a range of K. */
#include <string.h>

#include "conv_f32.h"

/* A stretch of input that is contiguous in memory and in K: a whole kernel row where its taps are
 * neighbours, else one tap. */
struct segment {
    int y, x; /* input position of its first tap, maybe outside */
    int taps;
};

/* Copies floats [first, last) of a segment, some of which lie in the padding. */
static void copy_border(const sp_conv_shape *s, const float *image, struct segment at, int channels,
                        int first, int last, float *y)
{
    int inside_first = first, inside_last = first; /* nothing inside */
    if (at.y >= 0 && at.y < s->in_h) {
        int skipped = SP_MIN(SP_MAX(-at.x, 0), at.taps);
        int end = SP_MIN(SP_MAX(s->in_w - at.x, skipped), at.taps);
        inside_first = SP_MIN(SP_MAX(skipped * channels, first), last);
        inside_last = SP_MIN(SP_MAX(end * channels, inside_first), last);
    }
    int64_t row = (int64_t)at.y * s->in_w + at.x;
    memset(y, 0, (size_t)(inside_first - first) * sizeof *y);
    if (inside_last > inside_first)
        memcpy(y + (inside_first - first), image + row * s->in_c + inside_first,
               (size_t)(inside_last - inside_first) * sizeof *y);
    memset(y + (inside_last - first), 0, (size_t)(last - inside_last) * sizeof *y);
}

static void copy_segment(const sp_conv_shape *s, const float *image, struct segment at,
                         int channels, int first, int last, float *y)
{
    int inside = at.y >= 0 && at.y < s->in_h && at.x >= 0 && at.x + at.taps <= s->in_w;
    if (!inside) {
        copy_border(s, image, at, channels, first, last, y);
        return;
    }
    int64_t row = (int64_t)at.y * s->in_w + at.x;
    memcpy(y, image + row * s->in_c + first, (size_t)(last - first) * sizeof *y);
}

static void copy_patch(const sp_conv_shape *s, const float *image, int oy, int ox, int k_first,
                       int k_last, float *y)
{
    const int channels = s->in_c / s->groups;
    const int whole_rows = s->groups == 1 && s->dilation_w == 1;
    const int taps = whole_rows ? s->kernel_w : 1, across = whole_rows ? 1 : s->kernel_w;
    const int length = taps * channels;
    int i = k_first / length; /* segment */
    int row = i / across, column = i % across;
    for (int start = i * length; start < k_last; start += length) {
        int first = SP_MAX(k_first - start, 0), last = SP_MIN(k_last - start, length);
        struct segment at = {
            oy * s->stride_h - s->pad_top + row * s->dilation_h,
            ox * s->stride_w - s->pad_left + column * s->dilation_w,
            taps,
        };
        copy_segment(s, image, at, channels, first, last, y);
        y += last - first;
        column = column + 1 < across ? column + 1 : 0;
        row += column == 0;
    }
}

void sp_gather_f32(const sp_conv_shape *s, const float *x, int group, int64_t first, int rows,
                   int k_first, int k_last, float *y, size_t stride)
{
    const int64_t pixels = (int64_t)s->out_h * s->out_w;
    const int64_t image_floats = (int64_t)s->in_h * s->in_w * s->in_c;
    for (int row = 0; row < rows; row++, y += stride) {
        int64_t image = (first + row) / pixels;
        int pixel = (int)((first + row) % pixels);
        copy_patch(s, x + image * image_floats + group * (s->in_c / s->groups), pixel / s->out_w,
                   pixel % s->out_w, k_first, k_last, y);
    }
}
