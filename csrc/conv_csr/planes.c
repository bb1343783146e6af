/* Brings pixels into lanes. */
#include "csr.h"

static inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static inline int ceil_div(int a, int b) { return floor_div(a + b - 1, b); }

/* ---- every second element ---- */

/* Pairs of elements are read as one integer of twice the size, and truncated. `odd`: keep the
 * second of each pair. */
enum { LITTLE_ENDIAN_PAIRS = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ };

#define DEFINE_EVERY_SECOND(name, element, pair, count)                                            \
    typedef pair name##_pairs __attribute__((vector_size(count * sizeof(pair))));                  \
    typedef element name##_kept __attribute__((vector_size(count * sizeof(element))));             \
    static inline void name(char *to, const char *from, int odd)                                   \
    {                                                                                              \
        name##_pairs pairs;                                                                        \
        memcpy(&pairs, from, sizeof pairs);                                                        \
        if (odd == LITTLE_ENDIAN_PAIRS)                                                            \
            pairs >>= 8 * sizeof(element);                                                         \
        name##_kept kept = __builtin_convertvector(pairs, name##_kept);                            \
        memcpy(to, &kept, sizeof kept);                                                            \
    }
DEFINE_EVERY_SECOND(every_second_16_bytes, uint8_t, uint16_t, 16)
DEFINE_EVERY_SECOND(every_second_4_words, uint32_t, uint64_t, 4)

/* to[i] = from[2 * i] for i < n, n > CHUNK; reads nothing beyond the last of these. */
#define COPY_EVERY_SECOND(chunk, CHUNK, bytes)                                                     \
    do {                                                                                           \
        for (int i = 0; i < n - (CHUNK); i += (CHUNK))                                             \
            chunk(to + i * (bytes), from + 2 * i * (bytes), 0);                                    \
        const int last = n - (CHUNK);                                                              \
        chunk(to + last * (bytes), from + (2 * last - 1) * (bytes), 1);                            \
    } while (0)

SP_INLINE void copy_row_of_bytes(char *to, const char *from, int n, int step)
{
    if (step == 1)
        sp_copy_lanes(to, from, n);
    else if (step == 2 && n > 16)
        COPY_EVERY_SECOND(every_second_16_bytes, 16, 1);
    else
        for (int i = 0; i < n; i++)
            to[i] = from[(int64_t)step * i];
}

SP_INLINE void copy_row_of_words(char *to, const char *from, int n, int step)
{
    if (step == 1)
        sp_copy_lanes(to, from, 4 * n);
    else if (step == 2 && n > 4)
        COPY_EVERY_SECOND(every_second_4_words, 4, 4);
    else
        for (int i = 0; i < n; i++)
            memcpy(to + 4 * i, from + 4 * (int64_t)step * i, 4);
}

#define DEFINE_COPY(name, copy_row)                                                                \
    static void name(const struct sp_csr_copy *copy)                                               \
    {                                                                                              \
        char *to = copy->to;                                                                       \
        const char *from = copy->from;                                                             \
        for (int i = 0; i < copy->rows; i++, to += copy->to_row, from += copy->from_row) {         \
            copy_row(to, from, copy->n, copy->step);                                               \
            sp_fetch_ahead(copy, from);                                                            \
        }                                                                                          \
    }
DEFINE_COPY(copy_bytes, copy_row_of_bytes)
DEFINE_COPY(copy_words, copy_row_of_words)

static sp_csr_copy_fn *find_copy(const struct sp_csr_operator *op)
{
    if (op->element_bytes == 1)
        return copy_bytes;
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX2))
        return sp_csr_copy_words_avx2;
#endif
    return copy_words;
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
        gather_rows(first, s->in_c, channels, last->lane + last->length, op->lanes->block,
                    op->element_bytes, slab);
        return;
    }
    const int64_t end = (last->input + (int64_t)last->length * s->stride_w) * bytes;
    for (int i = 0; i < pieces; i++) {
        struct sp_csr_copy rows = {
            .to = slab + piece[i].lane * bytes,
            .from = x + channel * channel_bytes + piece[i].input * bytes,
            .to_row = op->lanes->block * bytes,
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

/* ---- taps ---- */

/* Of one output row, for one phase and one column of taps: of its columns [column, end) those that
 * are not padding. source: the input row. */
static void gather_tap_row(const sp_conv_shape *s, sp_csr_copy_fn *copy, struct sp_csr_copy *rows,
                           const char *source, int tap, int column, int end)
{
    const int shift = tap * s->dilation_w - s->pad_left;
    const int first = SP_MAX(ceil_div(-shift, s->stride_w), column);
    const int last = SP_MIN(SP_MIN(ceil_div(s->in_w - shift, s->stride_w), s->out_w), end);
    if (first >= last)
        return;
    rows->to += 4 * (first - column);
    rows->from = source + 4 * ((int64_t)first * s->stride_w + shift);
    rows->n = last - first;
    copy(rows);
}

void sp_csr_gather_taps(const struct sp_csr_operator *op, const char *x, int first, int width,
                        int channel, int channels, char *slab)
{
    const sp_conv_shape *s = op->shape;
    const sp_csr_lanes *l = op->lanes;
    const int64_t plane = 4 * (int64_t)s->in_h * s->in_w;
    const int lanes =
        width + (s->kernel_h - 1) * s->dilation_h / s->stride_h * l->row_width; /* that are read */
    sp_csr_copy_fn *const copy = find_copy(op);
    struct sp_csr_copy rows = {
        .to_row = 4 * (int64_t)l->channel_lanes,
        .from_row = plane,
        .rows = channels,
        .step = s->stride_w,
    };
    memset(slab, 0, 4 * (size_t)l->channel_lanes * (size_t)channels);
    x += channel * plane;
    for (int phase = 0; phase < l->phases_h; phase++)
        for (int tap = 0; tap < s->kernel_w; tap++, slab += 4 * (int64_t)l->phase_lanes)
            for (int lane = 0, next; lane < lanes; lane = next) {
                const int row = (first + lane) / l->row_width;
                const int column = (first + lane) % l->row_width;
                const int in_y = row * s->stride_h + phase - s->pad_top;
                next = SP_MIN(lane + l->row_width - column, lanes);
                if (in_y < 0 || in_y >= s->in_h)
                    continue;
                rows.to = slab + 4 * lane;
                gather_tap_row(s, copy, &rows, x + 4 * (int64_t)in_y * s->in_w, tap, column,
                               column + next - lane);
            }
}
