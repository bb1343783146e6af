/* A chunk of a strip: interleave its columns, then for each output row add up the taps of a few
 * pixels at once and finish them in registers.
 *
 * For the instruction set of the file that includes this after the epilogue's operations on vectors
 * (vectors_avx2.h, vectors_avx512.h), and defines:
 *   GROUP, PIXELS    input rows that are interleaved; vectors of pixels that registers hold
 *   load_octets, join        one vector from memory; from `pieces` places, a part from each
 *   interleave       GROUP rows of octets to four vectors of sums' width. It works within 128-bit
 *                    lanes, as pack_lanes does, which therefore puts the channels back in order
 *   add_products     adds each sum's GROUP products
 *   spread           int32 values of a chunk in that order: those of vector v */
#include "copy_short.h"
#include "depthwise_s8.h"

/* A vector holds `pieces` pixels of the chunk. What the loops need, where no store can change it.
 */
struct strip {
    const struct sp_depthwise_run *run;
    int pieces, width; /* channels of a piece */
    int count;         /* of which exist: fewer in a convolution of fewer than 16 */
    int stride, kernel_w, dilation, groups;
    size_t channels; /* bytes from pixel to pixel in the results */
    int is_rare;     /* a residual, a table, fewer channels, large multipliers */
    octets *columns;
};

SP_INLINE struct strip make_strip(const struct sp_depthwise_run *run)
{
    const sp_conv_shape *s = &run->p->shape;
    const int width = run->chunk.width;
    return (struct strip){
        .run = run,
        .pieces = BYTES / width,
        .width = width,
        .count = SP_MIN(width, s->in_c),
        .stride = s->stride_w,
        .kernel_w = s->kernel_w,
        .dilation = s->dilation_w,
        .groups = run->band.groups,
        .channels = (size_t)s->in_c,
        .is_rare =
            run->residual || run->p->epilogue.table || !run->p->epilogue.fits || s->in_c < width,
        .columns = (octets *)run->columns,
    };
}

/* ---- columns ---- */

/* A row's pieces one by one, as some may lie outside the image, or hold fewer channels. */
SP_INLINE octets load_edge(const struct strip *p, int row, int column)
{
    if (p->width == BYTES)
        return load_octets(sp_input_at(p->run, row, column));
    uint8_t copy[BYTES] = {0};
    for (int j = 0; j < p->pieces; j++)
        sp_copy_short(copy + j * p->width, sp_input_at(p->run, row, column + j * p->stride),
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
    size_t step[GROUP], apart[GROUP];
    SP_UNROLL for (int i = 0; i < GROUP; i++)
    {
        step[i] = p->run->step[group * GROUP + i];
        x[i] = p->run->row[group * GROUP + i] + (size_t)(first + from) * step[i];
        apart[i] = (size_t)p->stride * step[i];
    }
    octets *column = p->columns + (from * p->groups + group) * VECTORS;
    const int groups = p->groups;
    for (int c = from; c < to; c++, column += groups * VECTORS) {
        octets row[GROUP];
        SP_UNROLL for (int i = 0; i < GROUP; i++)
        {
            row[i] = join(x[i], apart[i], pieces);
            x[i] += step[i];
        }
        interleave(row, column);
    }
}

/* Input columns [first, first + count). */
static void fill_columns(const struct strip *p, int first, int count)
{
    const int last =
        p->run->p->shape.in_w - (p->pieces - 1) * p->stride; /* then pieces lie outside */
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

/* A window whose sizes are constants where this is inlined, or not. */
struct window {
    int known, kernel_w, groups, dilation;
};

enum { COLUMN = VECTORS * (int)sizeof(octets) /* bytes of a group */ };

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

/* ---- results ---- */

SP_INLINE void scale(const struct lanes *lanes, const sums *total, reals *real)
{
    SP_UNROLL for (int v = 0; v < VECTORS; v++) real[v] =
        multiply(to_reals(total[v]), lanes->multiplier[v]);
}

SP_INLINE void add_residual(const struct strip *p, const struct constants *k, size_t at, int left,
                            reals *real)
{
    uint8_t copy[BYTES] = {0};
    for (int i = 0; i < SP_MIN(p->pieces, left); i++)
        sp_copy_short(copy + i * p->width, p->run->residual + at + (size_t)i * p->channels,
                      p->count);
    octets row[GROUP] = {load_octets(copy)}, wide[VECTORS]; /* beside zeros, bytes become int32 */
    interleave(row, wide);
    if (p->run->p->epilogue.residual_mode == SP_RESIDUAL_QUANTIZED)
        requantize_middle(real, k->conv_output, k->conv_multiplier);
    SP_UNROLL for (int v = 0; v < VECTORS; v++)
    {
        const sums shifted = add_sums(wide[v], k->minus_residual_zero_point);
        real[v] = add(real[v], multiply(to_reals(shifted), k->residual_multiplier));
    }
}

/* The results of a vector, from byte `at` on: `left` pixels, of which it may hold more. */
static void finish_any(const struct strip *p, const struct lanes *lanes, size_t at, int left,
                       const sums *total)
{
    const uint8_t *table = p->run->p->epilogue.table;
    reals real[VECTORS];
    uint8_t copy[BYTES];
    scale(lanes, total, real);
    if (p->run->residual)
        add_residual(p, &lanes->constants, at, left, real);
    const octets packed = pack_lanes(real, &lanes->constants.packer, 0);
    memcpy(copy, &packed, BYTES);
    for (int i = 0; table && i < BYTES; i++)
        copy[i] = table[copy[i]];
    for (int i = 0; i < SP_MIN(p->pieces, left); i++)
        sp_copy_short(p->run->y + at + (size_t)i * p->channels, copy + i * p->width, p->count);
}

SP_INLINE void store_pieces(uint8_t *y, size_t apart, int pieces, octets packed)
{
    uint8_t *part[VECTORS];
    SP_UNROLL for (int i = 0; i < pieces; i++) part[i] = y + (size_t)i * apart;
    store_parts(part, pieces, packed);
}

/* The common case of it. */
SP_INLINE void finish_whole(const struct strip *p, const struct lanes *lanes, size_t at,
                            const sums *total)
{
    reals real[VECTORS];
    scale(lanes, total, real);
    const octets packed = pack_lanes(real, &lanes->constants.packer, 1);
    uint8_t *y = p->run->y + at;
    if (p->pieces == 1)
        store_pieces(y, p->channels, 1, packed);
    else if (p->pieces == 2)
        store_pieces(y, p->channels, 2, packed);
    else
        store_pieces(y, p->channels, MOST_PIECES, packed);
}

/* ---- the walk ---- */

/* Not inlined: a call beside them would drive the sums out of the registers. */
static __attribute__((noinline)) void finish_rare(const struct strip *p, const struct lanes *lanes,
                                                  size_t at, int left, int count,
                                                  sums (*total)[VECTORS])
{
    for (int i = 0; i < count; i++)
        finish_any(p, lanes, at + (size_t)(i * p->pieces) * p->channels, left - i * p->pieces,
                   total[i]);
}

/* `count` vectors of pixels from pixel x of the strip on, which has n. */
SP_INLINE void some_pixels(const struct strip *p, const struct lanes *lanes, struct window window,
                           const octets *w, size_t start, int x, int n, int count)
{
    sums total[PIXELS][VECTORS];
    const uint8_t *column[PIXELS];
    const size_t pixel_bytes = (size_t)(p->stride * window.groups) * COLUMN;
    const size_t at = start + (size_t)x * p->channels;
    SP_UNROLL for (int i = 0; i < count; i++)
    {
        column[i] = (const uint8_t *)p->columns + (size_t)(x + i * p->pieces) * pixel_bytes;
        SP_UNROLL for (int v = 0; v < VECTORS; v++) total[i][v] = lanes->bias[v];
    }
    add_taps(window, column, w, count, total);
    if (p->is_rare || n - x < count * p->pieces) {
        sums copy[PIXELS][VECTORS]; /* so that `total` needs no address */
        SP_UNROLL for (int i = 0; i < count; i++)
        {
            SP_UNROLL for (int v = 0; v < VECTORS; v++) copy[i][v] = total[i][v];
        }
        finish_rare(p, lanes, at, n - x, count, copy);
        return;
    }
    SP_UNROLL for (int i = 0; i < count; i++)
        finish_whole(p, lanes, at + (size_t)(i * p->pieces) * p->channels, total[i]);
}

/* An output row of the strip. The last vectors may repeat pixels. */
SP_INLINE void strip_row(const struct strip *p, const struct lanes *lanes, struct window window,
                         int row)
{
    const octets *w =
        (const octets *)p->run->weights + row * window.kernel_w * window.groups * VECTORS;
    const int n = p->run->pixels, vectors = (n + p->pieces - 1) / p->pieces;
    const size_t start = (size_t)row * (size_t)p->run->p->shape.out_w * p->channels;
    if (vectors < PIXELS) {
        for (int x = 0; x < n; x += p->pieces)
            some_pixels(p, lanes, window, w, start, x, n, 1);
        return;
    }
    for (int v = 0; v < vectors; v += PIXELS) {
        const int x = SP_MIN(v, vectors - PIXELS) * p->pieces;
        some_pixels(p, lanes, window, w, start, x, n, PIXELS);
    }
}

SP_INLINE void whole_strip(const struct sp_depthwise_run *run, struct window window)
{
    const struct strip p = make_strip(run);
    const struct lanes lanes = load_lanes(&p);
    const int last = (run->pixels - 1) / p.pieces * p.pieces; /* first pixel of the last vector */
    fill_columns(&p, run->first * p.stride - run->p->shape.pad_left,
                 last * p.stride + sp_reach(&run->p->shape) + 1);
    for (int row = 0; row < run->rows; row++)
        strip_row(&p, &lanes, window, row);
}

SP_INLINE void any_strip(const struct sp_depthwise_run *run)
{
    const sp_conv_shape *s = &run->p->shape;
    const int groups = run->band.groups, dilation = s->dilation_w;
    const int groups_3 = (3 + GROUP - 1) / GROUP, groups_5 = (5 + GROUP - 1) / GROUP;
    if (s->kernel_w == 3 && groups == groups_3 && dilation == 1)
        whole_strip(run, (struct window){1, 3, groups_3, 1});
    else if (s->kernel_w == 5 && groups == groups_5 && dilation == 1)
        whole_strip(run, (struct window){1, 5, groups_5, 1});
    else
        whole_strip(run, (struct window){0, s->kernel_w, groups, dilation});
}
