/* Brings pixels into lanes. */
#include "csr.h"

static inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static inline int ceil_div(int a, int b) { return floor_div(a + b - 1, b); }

/* Every `step`-th of n elements. */
static void copy_strided(char *to, const char *from, int n, int step, int element_bytes)
{
    if (step == 1) {
        memcpy(to, from, (size_t)n * (size_t)element_bytes);
    } else if (element_bytes == 1) {
        if (step == 2) /* a constant step is vectorized */
            for (int i = 0; i < n; i++)
                to[i] = from[2 * i];
        else
            for (int i = 0; i < n; i++)
                to[i] = from[(int64_t)step * i];
    } else {
        for (int i = 0; i < n; i++)
            memcpy(to + 4 * i, from + 4 * (int64_t)step * i, 4);
    }
}

/* Plane positions r of one axis hold input positions r * stride + phase - pad: the r whose
 * input exists and is read by an output. */
struct span {
    int first, last; /* [first, last) */
};
static struct span inside(int phase, int stride, int pad, int in, int needed)
{
    int last = SP_MIN(ceil_div(in + pad - phase, stride), needed);
    return (struct span){SP_MAX(ceil_div(pad - phase, stride), 0), last};
}

void sp_csr_fill_planes(const struct sp_csr_operator *op, const char *x, int images, int channel,
                        char *planes)
{
    const sp_conv_shape *s = op->shape;
    const sp_csr_lanes *l = op->lanes;
    const size_t bytes = (size_t)op->element_bytes;
    const int needed_h = s->out_h + (s->kernel_h - 1) * s->dilation_h / s->stride_h;
    const int needed_w = s->out_w + (s->kernel_w - 1) * s->dilation_w / s->stride_w;
    char *channel_planes = planes + (size_t)channel * (size_t)l->channel_lanes * bytes;
    memset(channel_planes, op->fill, (size_t)l->channel_lanes * bytes);
    for (int a = 0; a < l->phases_h; a++)
        for (int b = 0; b < l->phases_w; b++) {
            struct span rows = inside(a, s->stride_h, s->pad_top, s->in_h, needed_h);
            struct span columns = inside(b, s->stride_w, s->pad_left, s->in_w, needed_w);
            if (columns.first >= columns.last)
                continue;
            char *plane = channel_planes + (size_t)(a * l->phases_w + b) * l->phase_lanes * bytes;
            for (int image = 0; image < images; image++)
                for (int r = rows.first; r < rows.last; r++) {
                    int64_t row = ((int64_t)image * s->in_c + channel) * s->in_h + r * s->stride_h +
                                  a - s->pad_top;
                    int column = columns.first * s->stride_w + b - s->pad_left;
                    int64_t lane =
                        (int64_t)image * l->image_lanes + (int64_t)r * l->row_width + columns.first;
                    copy_strided(plane + lane * bytes, x + (row * s->in_w + column) * bytes,
                                 columns.last - columns.first, s->stride_w, op->element_bytes);
                }
        }
}

void sp_csr_gather(const struct sp_csr_operator *op, const char *x, int pieces,
                   const struct sp_csr_piece *piece, char *slab)
{
    const sp_conv_shape *s = op->shape;
    const size_t bytes = (size_t)op->element_bytes;
    const size_t channel_bytes = (size_t)s->in_h * s->in_w * bytes;
    for (int c = 0; c < s->in_c; c++) {
        char *lanes = slab + (size_t)c * SP_CSR_WIDTH * bytes;
        for (int i = 0; i < pieces; i++)
            copy_strided(lanes + piece[i].lane * bytes,
                         x + c * channel_bytes + piece[i].input * bytes, piece[i].length,
                         s->stride_w, op->element_bytes);
    }
}
