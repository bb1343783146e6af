/* Brings pixels into lanes. */
#include "copy_words.h"
#include "csr.h"

static inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static inline int ceil_div(int a, int b) { return floor_div(a + b - 1, b); }

/* ---- copies of rows ---- */

/* Pairs of bytes are read as one integer of twice the size, and truncated. `odd`: keep the second
 * of each pair. */
enum { LITTLE_ENDIAN_PAIRS = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, CHUNK = 16 };
typedef uint16_t pairs __attribute__((vector_size(2 * CHUNK)));
typedef uint8_t kept_bytes __attribute__((vector_size(CHUNK)));

static inline void every_second(char *to, const char *from, int odd)
{
    pairs all;
    memcpy(&all, from, sizeof all);
    if (odd == LITTLE_ENDIAN_PAIRS)
        all >>= 8;
    kept_bytes kept = __builtin_convertvector(all, kept_bytes);
    memcpy(to, &kept, sizeof kept);
}

/* Reads nothing beyond the last of the elements. */
SP_INLINE void copy_row(char *to, const char *from, int n, int step)
{
    if (step == 1) {
        sp_copy_lanes(to, from, n);
    } else if (step == 2 && n > CHUNK) {
        const int last = n - CHUNK;
        for (int i = 0; i < last; i += CHUNK)
            every_second(to + i, from + 2 * i, 0);
        every_second(to + last, from + 2 * last - 1, 1);
    } else {
        for (int i = 0; i < n; i++)
            to[i] = from[(int64_t)step * i];
    }
}

static void copy_bytes(const struct sp_csr_copy *copy)
{
    char *to = copy->to;
    const char *from = copy->from;
    for (int i = 0; i < copy->rows; i++, to += copy->to_row, from += copy->from_row) {
        copy_row(to, from, copy->n, copy->step);
        sp_fetch_ahead(copy, from);
    }
}

static void copy_words(const struct sp_csr_copy *copy)
{
    sp_word_copy_in_use()(&(struct sp_word_copy){.to = (uint32_t *)copy->to,
                                                 .from = (const uint32_t *)copy->from,
                                                 .to_row = copy->to_row / 4,
                                                 .from_row = copy->from_row / 4,
                                                 .rows = copy->rows,
                                                 .n = copy->n,
                                                 .step = copy->step});
}

static sp_csr_copy_fn *find_copy(const struct sp_csr_operator *op)
{
    return op->element_bytes == 1 ? copy_bytes : copy_words;
}

/* ---- planes ---- */

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
    const int64_t bytes = op->element_bytes;
    const int needed_h = s->out_h + (s->kernel_h - 1) * s->dilation_h / s->stride_h;
    const int needed_w = s->out_w + (s->kernel_w - 1) * s->dilation_w / s->stride_w;
    sp_csr_copy_fn *const copy = find_copy(op);
    char *channel_planes = planes + (int64_t)channel * l->channel_lanes * bytes;
    memset(channel_planes, op->fill, (size_t)(l->channel_lanes * bytes));
    for (int a = 0; a < l->phases_h; a++)
        for (int b = 0; b < l->phases_w; b++) {
            struct span rows = inside(a, s->stride_h, s->pad_top, s->in_h, needed_h);
            struct span columns = inside(b, s->stride_w, s->pad_left, s->in_w, needed_w);
            if (columns.first >= columns.last)
                continue;
            char *plane = channel_planes + (int64_t)(a * l->phases_w + b) * l->phase_lanes * bytes;
            struct sp_csr_copy rows_of_image = {
                .to_row = l->row_width * bytes,
                .from_row = (int64_t)s->stride_h * s->in_w * bytes,
                .rows = SP_MAX(rows.last - rows.first, 0),
                .n = columns.last - columns.first,
                .step = s->stride_w,
            };
            for (int image = 0; image < images; image++) {
                const int64_t first_row = ((int64_t)image * s->in_c + channel) * s->in_h +
                                          rows.first * s->stride_h + a - s->pad_top;
                const int64_t column = columns.first * s->stride_w + b - s->pad_left;
                rows_of_image.from = x + (first_row * s->in_w + column) * bytes;
                rows_of_image.to = plane + ((int64_t)image * l->image_lanes +
                                            (int64_t)rows.first * l->row_width + columns.first) *
                                               bytes;
                copy(&rows_of_image);
            }
        }
}

/* Images of one pixel: a matrix, whose rows become lanes. */
static void gather_rows(const char *x, int in_c, int channels, int rows, int block,
                        int element_bytes, char *slab)
{
    const int line = 64 / element_bytes; /* rows often lie in the same sets of a cache */
    for (int first = 0; first < channels; first += line)
        for (int i = 0; i < rows; i++)
            for (int c = first; c < SP_MIN(first + line, channels); c++) {
                const int64_t from = (int64_t)i * in_c + c, to = (int64_t)c * block + i;
                if (element_bytes == 1)
                    slab[to] = x[from];
                else
                    memcpy(slab + 4 * to, x + 4 * from, 4);
            }
}

/* Of what the next block reads of a channel. */
enum { FETCH_BYTES = 1024 };

void sp_csr_gather(const struct sp_csr_operator *op, const char *x, int pieces,
                   const struct sp_csr_piece *piece, int channel, int channels, int fetch,
                   char *slab)
{
    const sp_conv_shape *s = op->shape;
    const int64_t bytes = op->element_bytes;
    const int64_t channel_bytes = (int64_t)s->in_h * s->in_w * bytes;
    sp_csr_copy_fn *const copy = find_copy(op);
    const struct sp_csr_piece *last = &piece[pieces - 1];
    const char *first = x + channel * channel_bytes + piece[0].input * bytes;
    if (s->in_h * s->in_w == 1) {
        gather_rows(first, s->in_c, channels, last->lane + last->length, SP_CSR_WIDTH,
                    op->element_bytes, slab);
        return;
    }
    const int64_t end = (last->input + (int64_t)last->length * s->stride_w) * bytes;
    for (int i = 0; i < pieces; i++) {
        struct sp_csr_copy rows = {
            .to = slab + piece[i].lane * bytes,
            .from = x + channel * channel_bytes + piece[i].input * bytes,
            .to_row = SP_CSR_WIDTH * bytes,
            .from_row = channel_bytes,
            .rows = channels,
            .n = piece[i].length,
            .step = s->stride_w,
        };
        if (fetch && i == 0 && bytes == 1) {
            rows.fetch = end - piece[0].input * bytes;
            rows.fetch_bytes = SP_MIN(rows.fetch, FETCH_BYTES);
        }
        copy(&rows);
    }
}
