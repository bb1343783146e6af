/* A strip's columns, and the sums of their taps: the first half of strip.h, which says what the
 * file that includes this defines. */
#include "copy_short.h"
#include "depthwise_s8.h"

/* Vector v of a strip holds `pieces` pixels of the chunk: v, vectors + v, 2 vectors + v ..., so
 * that neighbouring vectors see the same columns. What the loops need, where no store can change
 * it. */
struct strip {
    const struct sp_depthwise_run *run;
    int pieces, width; /* channels of a piece */
    int count;         /* of which exist: fewer in a convolution of fewer than 16 */
    int stride, groups;
    int vectors, whole; /* in all, and with as many pixels as they can hold */
    const octets *weights;
    int first;       /* input column of the first tap of the first pixel */
    size_t channels; /* bytes from pixel to pixel */
    int is_rare;     /* a residual, fewer channels, large multipliers */
    octets *columns;
};

SP_INLINE struct strip make_strip(const struct sp_depthwise_run *run)
{
    const sp_conv_shape *s = &run->p->shape;
    const int width = run->chunk.width, pieces = BYTES / width;
    const int vectors = (run->pixels + pieces - 1) / pieces;
    return (struct strip){
        .run = run,
        .pieces = pieces,
        .width = width,
        .count = SP_MIN(width, s->in_c),
        .stride = s->stride_w,
        .groups = run->band.groups,
        .vectors = vectors,
        .whole = run->pixels - (pieces - 1) * vectors,
        .weights = (const octets *)run->weights,
        .first = run->first * s->stride_w - s->pad_left,
        .channels = (size_t)s->in_c,
        .is_rare = run->residual || !run->p->epilogue.fits || s->in_c < width,
        .columns = (octets *)run->columns,
    };
}

/* Columns and bytes from piece to piece. */
SP_INLINE int piece_columns(const struct strip *p) { return p->vectors * p->stride; }
SP_INLINE size_t piece_bytes(const struct strip *p) { return (size_t)p->vectors * p->channels; }

/* ---- columns ---- */

/* A column inside the image. */
SP_INLINE const uint8_t *column_of(const struct strip *p, int row, int column)
{
    return p->run->row[row] + (size_t)column * p->channels + p->run->chunk.first;
}

/* A row's pieces one by one, as some may lie outside the image, or hold fewer channels. */
SP_INLINE octets load_edge(const struct strip *p, int row, int column)
{
    if (p->width == BYTES)
        return load_octets(sp_input_at(p->run, row, column));
    uint8_t copy[BYTES] = {0};
    for (int j = 0; j < p->pieces; j++)
        sp_copy_short(copy + j * p->width, sp_input_at(p->run, row, column + j * piece_columns(p)),
                      p->count);
    return load_octets(copy);
}

/* Columns [from, to) counted from input column `first`. */
static void edge_columns(const struct strip *p, int group, int first, int from, int to)
{
    for (int c = from; c < to; c++) {
        octets row[GROUP];
        SP_UNROLL for (int i = 0; i < GROUP; i++) row[i] =
            load_edge(p, group * GROUP + i, first + c);
        interleave(row, p->columns + (c * p->groups + group) * VECTORS);
    }
}

SP_INLINE void inner_columns(const struct strip *p, int group, int first, int from, int to,
                             int pieces)
{
    const uint8_t *x[GROUP];
    const size_t apart = (size_t)piece_columns(p) * p->channels;
    SP_UNROLL for (int i = 0; i < GROUP; i++) x[i] = column_of(p, group * GROUP + i, first + from);
    octets *column = p->columns + (from * p->groups + group) * VECTORS;
    const int groups = p->groups;
    for (int c = from; c < to; c++, column += groups * VECTORS) {
        octets row[GROUP];
        SP_UNROLL for (int i = 0; i < GROUP; i++)
        {
            row[i] = join(x[i], apart, pieces);
            x[i] += p->channels;
        }
        interleave(row, column);
    }
}

/* Input columns [first, first + count). */
static void fill_columns(const struct strip *p, int first, int count)
{
    const int last =
        p->run->p->shape.in_w - (p->pieces - 1) * piece_columns(p); /* then pieces lie outside */
    const int all = p->count < p->width ? 0 : count;
    const int from = SP_MIN(SP_MAX(-first, 0), all);
    const int to = SP_MAX(SP_MIN(last - first, all), from);
    for (int g = 0; g < p->groups; g++) {
        edge_columns(p, g, first, 0, from);
        if (p->pieces == 1)
            inner_columns(p, g, first, from, to, 1);
        else if (p->pieces == 2)
            inner_columns(p, g, first, from, to, 2);
        else
            inner_columns(p, g, first, from, to, MOST_PIECES);
        edge_columns(p, g, first, to, count);
    }
}

/* ---- sums ---- */

/* What all pixels of a chunk share. */
struct lanes {
    struct constants constants;
    sums bias[VECTORS];
    reals multiplier[VECTORS];
};

SP_INLINE struct lanes load_lanes(const struct strip *p)
{
    const sp_epilogue *e = &p->run->p->epilogue;
    const int first = p->run->chunk.first;
    struct lanes lanes;
    lanes.constants = make_constants(e);
    SP_UNROLL for (int v = 0; v < VECTORS; v++)
    {
        lanes.bias[v] = spread(e->bias + first, p->width, v);
        lanes.multiplier[v] = as_reals(spread((const int32_t *)e->multiplier + first, p->width, v));
    }
    return lanes;
}

/* Adds a tap to `count` vectors of pixels, whose columns begin `at` bytes from x[i]. */
SP_INLINE void add_tap(const uint8_t *const *x, size_t at, const octets *w, int count,
                       sums (*total)[VECTORS])
{
    SP_UNROLL for (int v = 0; v < VECTORS; v++)
    {
        const octets weight = w[v];
        SP_UNROLL for (int i = 0; i < count; i++)
        {
            const octets column = *(const octets *)(x[i] + at + (size_t)v * sizeof(octets));
            total[i][v] = add_products(total[i][v], column, weight);
            SP_PIN(total[i][v]);
        }
    }
}

SP_INLINE void add_column(const octets *column, const octets *w, sums *total)
{
    SP_UNROLL for (int v = 0; v < VECTORS; v++)
    {
        total[v] = add_products(total[v], column[v], w[v]);
        SP_PIN(total[v]);
    }
}

/* A window whose sizes are constants where this is inlined, or not. */
struct window {
    int known, kernel_w, groups, dilation;
};

enum {
    COLUMN = VECTORS * (int)sizeof(octets), /* bytes of a group */
    MOST_ROWS = 8,                          /* input rows of a known window */
    LONE_STRIDE = 2                         /* where no other output row sees the columns */
};

SP_INLINE void add_taps(struct window s, const uint8_t *const *x, const octets *w, int count,
                        sums (*total)[VECTORS])
{
    if (s.known) {
        SP_UNROLL for (int i = 0; i < s.kernel_w * s.groups; i++)
            add_tap(x, (size_t)(i * COLUMN), w + i * VECTORS, count, total);
        return;
    }
    for (int j = 0; j < s.kernel_w; j++)
        for (int g = 0; g < s.groups; g++, w += VECTORS)
            add_tap(x, (size_t)(j * s.dilation * s.groups + g) * COLUMN, w, count, total);
}

/* The same without stored columns: all of a known window lie inside the image, the first is input
 * column `first`. Each is interleaved once for all the pixels that see it. */
SP_INLINE void add_inside(const struct strip *p, struct window s, int pieces, int first,
                          const octets *w, int count, sums (*total)[VECTORS])
{
    const size_t apart = (size_t)piece_columns(p) * p->channels;
    const uint8_t *x[MOST_ROWS];
    SP_UNROLL for (int i = 0; i < s.groups * GROUP; i++) x[i] = column_of(p, i, first);
    SP_UNROLL for (int c = 0; c < (count - 1) * LONE_STRIDE + s.kernel_w; c++)
    {
        SP_UNROLL for (int g = 0; g < s.groups; g++)
        {
            octets row[GROUP], column[VECTORS];
            SP_UNROLL for (int i = 0; i < GROUP; i++) row[i] =
                join(x[g * GROUP + i] + (size_t)c * p->channels, apart, pieces);
            interleave(row, column);
            SP_UNROLL for (int i = 0; i < count; i++)
            {
                const int tap = c - i * LONE_STRIDE;
                if (tap >= 0 && tap < s.kernel_w)
                    add_column(column, w + (tap * s.groups + g) * VECTORS, total[i]);
            }
        }
    }
}

/* The same for one vector, of which columns may lie outside the image. */
SP_INLINE void add_edge(const struct strip *p, struct window s, int first, const octets *w,
                        sums *total)
{
    for (int j = 0; j < s.kernel_w; j++)
        for (int g = 0; g < s.groups; g++, w += VECTORS) {
            octets row[GROUP], column[VECTORS];
            SP_UNROLL for (int i = 0; i < GROUP; i++) row[i] =
                load_edge(p, g * GROUP + i, first + j);
            interleave(row, column);
            add_column(column, w, total);
        }
}
