/* im2col for a block of pixels and a range of K. */
#include <string.h>

#include "conv_f32.h"
#include "copy_short.h"

/* A stretch of input that is contiguous in memory and in K: a whole kernel row where its taps are
 * neighbours, else one tap. */
struct segment {
    int y, x; /* input position of its first tap, maybe outside */
    int taps;
};

enum { SHORT = 64 }; /* floats, for which a call costs more than the copy */

SP_INLINE void copy_floats(float *to, const float *from, int n)
{
    if (n <= SHORT)
        sp_copy_short((uint8_t *)to, (const uint8_t *)from, n * (int)sizeof *to);
    else
        memcpy(to, from, (size_t)n * sizeof *to);
}

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
    copy_floats(y, image + row * s->in_c + first, last - first);
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

/* A whole patch that lies inside the image, of neighbouring taps. */
static void copy_inner_patch(const sp_conv_shape *s, const float *first_tap, float *y)
{
    const int length = s->kernel_w * s->in_c;
    const int64_t step = (int64_t)s->dilation_h * s->in_w * s->in_c;
    for (int i = 0; i < s->kernel_h; i++)
        copy_floats(y + (int64_t)i * length, first_tap + i * step, length);
}

void sp_gather_f32(const sp_conv_shape *s, const float *x, int group, int64_t first, int rows,
                   int k_first, int k_last, float *y, size_t stride)
{
    const int channels = s->in_c / s->groups;
    const int64_t image_floats = (int64_t)s->in_h * s->in_w * s->in_c;
    const int whole = s->groups == 1 && s->dilation_w == 1 && k_first == 0 &&
                      k_last == s->kernel_h * s->kernel_w * s->in_c;
    const int last_y = s->in_h - (s->kernel_h - 1) * s->dilation_h, last_x = s->in_w - s->kernel_w;
    int ox = (int)(first % s->out_w), oy = (int)(first / s->out_w % s->out_h);
    const float *image = x + first / s->out_w / s->out_h * image_floats;
    for (int row = 0; row < rows; row++, y += stride) {
        const int at_y = oy * s->stride_h - s->pad_top, at_x = ox * s->stride_w - s->pad_left;
        if (whole && at_y >= 0 && at_y < last_y && at_x >= 0 && at_x <= last_x)
            copy_inner_patch(s, image + ((int64_t)at_y * s->in_w + at_x) * s->in_c, y);
        else
            copy_patch(s, image + group * channels, oy, ox, k_first, k_last, y);
        if (++ox == s->out_w) {
            ox = 0;
            if (++oy == s->out_h) {
                oy = 0;
                image += image_floats;
            }
        }
    }
}
