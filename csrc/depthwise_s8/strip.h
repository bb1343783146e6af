/* A chunk of a strip: interleave its columns, then for each output row add up the taps of a few
 * pixels at once and finish them in registers. Where few taps see a column, it is interleaved in
 * registers beside the sums; storing it would take longer.
 *
 * For the instruction set of the file that includes this after the epilogue's operations on vectors
 * (vectors_avx2.h, vectors_avx512.h), and defines:
 *   GROUP, PIXELS    input rows that are interleaved; vectors of pixels that registers hold
 *   load_octets, join        one vector from memory; from `pieces` places, a part from each
 *   interleave       GROUP rows of octets to four vectors of sums' width. It works within 128-bit
 *                    lanes, as pack_lanes does, which therefore puts the channels back in order
 *   add_products     adds each sum's GROUP products
 *   spread           int32 values of a chunk in that order: those of vector v */
#include "columns.h"

/* ---- results ---- */

SP_INLINE void scale(const struct lanes *lanes, const sums *total, reals *real)
{
    SP_UNROLL for (int v = 0; v < VECTORS; v++) real[v] =
        multiply(to_reals(total[v]), lanes->multiplier[v]);
}

SP_INLINE void add_residual(const struct strip *p, const struct constants *k, size_t at, int pieces,
                            reals *real)
{
    uint8_t copy[BYTES] = {0};
    for (int i = 0; i < pieces; i++)
        sp_copy_short(copy + i * p->width, p->run->residual + at + (size_t)i * piece_bytes(p),
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

/* The results of a vector's first `pieces`, from byte `at` on. */
static void finish_any(const struct strip *p, const struct lanes *lanes, size_t at, int pieces,
                       const sums *total)
{
    reals real[VECTORS];
    uint8_t copy[BYTES];
    scale(lanes, total, real);
    if (p->run->residual)
        add_residual(p, &lanes->constants, at, pieces, real);
    const octets packed = pack_lanes(real, &lanes->constants.packer, 0);
    memcpy(copy, &packed, BYTES);
    for (int i = 0; i < pieces; i++)
        sp_copy_short(p->run->y + at + (size_t)i * piece_bytes(p), copy + i * p->width, p->count);
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
        store_pieces(y, piece_bytes(p), 1, packed);
    else if (p->pieces == 2)
        store_pieces(y, piece_bytes(p), 2, packed);
    else
        store_pieces(y, piece_bytes(p), MOST_PIECES, packed);
}

/* ---- the walk ---- */

/* Vectors from x on. Not inlined: a call beside them would drive the sums out of the registers. */
static __attribute__((noinline)) void finish_rare(const struct strip *p, const struct lanes *lanes,
                                                  size_t at, int x, int count,
                                                  sums (*total)[VECTORS])
{
    for (int i = 0; i < count; i++) {
        const int pieces = (p->run->pixels - (x + i) + p->vectors - 1) / p->vectors;
        finish_any(p, lanes, at + (size_t)i * p->channels, SP_MIN(pieces, p->pieces), total[i]);
    }
}

/* Where a vector's columns come from: they are stored; or they are interleaved when needed, as all
 * lie inside the image, or each may lie outside. */
enum way { STORED, INSIDE, EDGE };

struct source {
    enum way way;
    struct window window;
    int pieces; /* a constant where inside */
    const octets *w;
    size_t start; /* the output row's first pixel among the results */
};

SP_INLINE struct source make_source(const struct strip *p, struct window window, enum way way,
                                    int pieces, int row)
{
    return (struct source){
        .way = way,
        .window = window,
        .pieces = pieces,
        .w = p->weights + row * window.kernel_w * window.groups * VECTORS,
        .start = (size_t)row * (size_t)p->run->p->shape.out_w,
    };
}

SP_INLINE void add_pixels(const struct strip *p, const struct source *from, int x, int count,
                          sums (*total)[VECTORS])
{
    const struct window s = from->window;
    const int first = p->first + x * p->stride;
    if (from->way == INSIDE) {
        add_inside(p, s, from->pieces, first, from->w, count, total);
    } else if (from->way == EDGE) {
        add_edge(p, s, first, from->w, total[0]);
    } else {
        const size_t pixel_bytes = (size_t)(p->stride * s.groups) * COLUMN;
        const uint8_t *column[PIXELS];
        SP_UNROLL for (int i = 0; i < count; i++) column[i] =
            (const uint8_t *)p->columns + (size_t)(x + i) * pixel_bytes;
        add_taps(s, column, from->w, count, total);
    }
}

/* `count` vectors of an output row, from vector x on. */
SP_INLINE void some_pixels(const struct strip *p, const struct lanes *lanes,
                           const struct source *from, int x, int count)
{
    const size_t at = (from->start + (size_t)x) * p->channels;
    sums total[PIXELS][VECTORS];
    SP_UNROLL for (int i = 0; i < count; i++)
    {
        SP_UNROLL for (int v = 0; v < VECTORS; v++) total[i][v] = lanes->bias[v];
    }
    add_pixels(p, from, x, count, total);
    if (p->is_rare || x + count > p->whole) {
        sums copy[PIXELS][VECTORS]; /* so that `total` needs no address */
        SP_UNROLL for (int i = 0; i < count; i++)
        {
            SP_UNROLL for (int v = 0; v < VECTORS; v++) copy[i][v] = total[i][v];
        }
        finish_rare(p, lanes, at, x, count, copy);
        return;
    }
    SP_UNROLL for (int i = 0; i < count; i++)
        finish_whole(p, lanes, at + (size_t)i * p->channels, total[i]);
}

/* Vectors [first, last) of an output row. The last ones may repeat some. */
SP_INLINE void some_vectors(const struct strip *p, const struct lanes *lanes,
                            const struct source *from, int first, int last)
{
    if (from->way == EDGE || last - first < PIXELS) {
        for (int v = first; v < last; v++)
            some_pixels(p, lanes, from, v, 1);
        return;
    }
    for (int v = first; v < last; v += PIXELS)
        some_pixels(p, lanes, from, SP_MIN(v, last - PIXELS), PIXELS);
}

SP_INLINE void stored_strip(const struct strip *p, const struct lanes *lanes, struct window window)
{
    fill_columns(p, p->first, (p->vectors - 1) * p->stride + sp_reach(&p->run->p->shape) + 1);
    const int rows = SP_MIN(p->run->rows, p->run->band.rows);
    for (int row = 0; row < rows; row++) {
        const struct source from = make_source(p, window, STORED, 0, row);
        some_vectors(p, lanes, &from, 0, p->vectors);
    }
}

/* Those vectors whose columns all lie inside the image: [first, last). */
struct inside {
    int first, last;
};

SP_INLINE struct inside find_inside(const struct strip *p)
{
    const int right = p->first + (p->pieces - 1) * piece_columns(p) + sp_reach(&p->run->p->shape);
    const int spare = p->run->p->shape.in_w - 1 - right; /* columns right of the first vector */
    const int first = (SP_MAX(-p->first, 0) + p->stride - 1) / p->stride;
    const int last = spare < 0 ? 0 : SP_MIN(spare / p->stride + 1, p->vectors);
    return (struct inside){SP_MIN(first, last), last};
}

SP_INLINE void lone_strip(const struct strip *p, const struct lanes *lanes, struct window window)
{
    const struct source edge = make_source(p, window, EDGE, 0, 0);
    const struct source one = make_source(p, window, INSIDE, 1, 0);
    const struct source two = make_source(p, window, INSIDE, 2, 0);
    const struct source most = make_source(p, window, INSIDE, MOST_PIECES, 0);
    const struct inside inside = find_inside(p);
    for (int from = 0, to; from < p->vectors; from = to) {
        const int is_edge = from < inside.first || from >= inside.last;
        to = from < inside.first ? inside.first : is_edge ? p->vectors : inside.last;
        if (is_edge)
            some_vectors(p, lanes, &edge, from, to);
        else if (p->pieces == 1)
            some_vectors(p, lanes, &one, from, to);
        else if (p->pieces == MOST_PIECES)
            some_vectors(p, lanes, &most, from, to);
        else if (MOST_PIECES > 2)
            some_vectors(p, lanes, &two, from, to);
    }
}

/* Whether the columns serve one output row, at stride 2: then few taps see each. */
SP_INLINE int is_lone(const struct strip *p, struct window window)
{
    return window.known && window.groups * GROUP < window.kernel_w + 2 && p->run->band.rows == 1 &&
           p->stride == LONE_STRIDE && p->count == p->width;
}

SP_INLINE void whole_strip(const struct sp_depthwise_run *run, struct window window)
{
    struct sp_depthwise_run bands = *run;
    const struct strip p = make_strip(&bands);
    const struct lanes lanes = load_lanes(&p);
    const int lone = is_lone(&p, window);
    do {
        if (lone)
            lone_strip(&p, &lanes, window);
        else
            stored_strip(&p, &lanes, window);
    } while (sp_next_band(&bands, window.groups * GROUP) > 0);
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
