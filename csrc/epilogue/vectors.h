/* The epilogue on four vectors of sums at once, for the instruction set of the file that includes
 * this and defines the operations below. The four vectors are neighbouring channels of one pixel,
 * or half or a quarter as many channels of two or four pixels: the widest that fits what is left.
 *
 * Requantization differs from requantize.h in its steps, not in its results. The upper end of the
 * range is clamped in float, before the conversion, which a large value would overflow; where all
 * values are known to fit int32 (sp_epilogue.fits), it is clamped last. The conversion rounds half
 * to even. The lower end is always clamped last: packing saturates small values, and so does the
 * conversion, to the smallest int32.
 *
 * The file defines: LANES (of a vector); `sums` and `reals`, vectors of int32 and float; `octets`,
 * four vectors' worth of uint8; load_sums, load_reals, add_sums, to_reals, add, multiply, minimum,
 * maximum, round_even, all_reals, all_sums; widen (LANES uint8 to sums) and widen_some (those below
 * n; any n); struct packer, make_packer, pack, pack_lanes, store_parts and copy_some (see there).
 */
#include <string.h>

#include "epilogue.h"

enum { VECTORS = 4, BYTES = VECTORS * LANES };

/* What is the same for all pixels of a block of channels. */
struct channels {
    int first, count;
    sums bias[VECTORS]; /* of one pixel's vectors */
    reals multiplier[VECTORS];
};

/* `pixels` neighbouring pixels. */
struct place {
    const int32_t *sum[VECTORS];
    const uint8_t *residual[VECTORS];
    uint8_t *y[VECTORS];
};

/* Where fewer than `pixels` are left, the last one repeats. */
SP_INLINE struct place find_pixels(const struct sp_rows *r, const struct channels *c, int row,
                                   int pixels, int left)
{
    struct place p = {0};
    SP_UNROLL for (int i = 0; i < pixels; i++)
    {
        const size_t at = (size_t)(row + SP_MIN(i, left - 1));
        p.sum[i] = r->sum + at * r->sum_stride + c->first;
        p.residual[i] = r->residual ? r->residual + at * r->stride + c->first : NULL;
        p.y[i] = r->y + at * r->stride + c->first;
    }
    return p;
}

SP_INLINE void load_totals(struct place p, int pixels, sums *total)
{
    const int each = VECTORS / pixels; /* vectors of a pixel */
    SP_UNROLL for (int j = 0; j < VECTORS; j++) total[j] =
        load_sums(p.sum[j / each] + j % each * LANES);
}

/* acc * m */
SP_INLINE void scale_totals(const struct channels *c, int pixels, const sums *total, reals *real)
{
    const int each = VECTORS / pixels;
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const sums acc = add_sums(total[j], c->bias[j % each]);
        real[j] = multiply(to_reals(acc), c->multiplier[j % each]);
    }
}

/* (r - zero_point) * multiplier */
SP_INLINE void scale_residual(const struct channels *c, struct place p, int pixels,
                              sums minus_zero_point, reals multiplier, reals *real)
{
    const int each = VECTORS / pixels;
    const int whole = c->count == each * LANES;
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const uint8_t *r = p.residual[j / each] + j % each * LANES;
        const sums wide = whole ? widen(r) : widen_some(r, c->count - j % each * LANES);
        const sums shifted = add_sums(wide, minus_zero_point);
        real[j] = multiply(to_reals(shifted), multiplier);
    }
}

SP_INLINE void store(const struct channels *c, struct place p, int pixels, octets packed)
{
    const int each = BYTES / pixels;
    uint8_t copy[BYTES];
    if (c->count == each) {
        store_parts(p.y, pixels, packed);
        return;
    }
    memcpy(copy, &packed, BYTES);
    SP_UNROLL for (int i = 0; i < pixels; i++)
        copy_some(p.y[i], copy + i * each, SP_MIN(c->count, each));
}

/* rint, clamp: values between, in units of the conv's own output. */
SP_INLINE void requantize_middle(reals *real, sp_range r, reals multiplier)
{
    const reals low = all_reals((float)(r.lo - r.zero_point));
    const reals high = all_reals((float)(r.hi - r.zero_point));
    SP_UNROLL for (int j = 0; j < VECTORS; j++) real[j] =
        multiply(round_even(minimum(maximum(real[j], low), high)), multiplier);
}

/* What is the same for all pixels of all blocks. */
struct constants {
    struct packer packer;
    sums minus_residual_zero_point;
    reals residual_multiplier, conv_multiplier;
    sp_range conv_output;
};

SP_INLINE struct constants make_constants(const sp_epilogue *e)
{
    return (struct constants){
        make_packer(e->output),
        all_sums(-e->residual_zero_point),
        all_reals(e->residual_multiplier),
        all_reals(e->conv_multiplier),
        e->conv_output,
    };
}

/* mode, fits: the epilogue's, constants where this is inlined. */
SP_INLINE void finish_totals(const struct constants *k, const struct channels *c, struct place p,
                             int pixels, int mode, int fits, const sums *total)
{
    reals real[VECTORS], residual[VECTORS];
    scale_totals(c, pixels, total, real);
    if (mode == SP_RESIDUAL_QUANTIZED)
        requantize_middle(real, k->conv_output, k->conv_multiplier);
    if (mode != SP_RESIDUAL_NONE) {
        scale_residual(c, p, pixels, k->minus_residual_zero_point, k->residual_multiplier,
                       residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++) real[j] = add(real[j], residual[j]);
    }
    store(c, p, pixels, pack(real, &k->packer, fits));
}

SP_INLINE void finish_rows(const struct constants *k, const struct channels *c,
                           const struct sp_rows *r, int pixels, int mode)
{
    sums total[VECTORS];
    for (int row = 0; row < r->rows; row += pixels) {
        const int left = r->rows - row;
        const struct place p = left >= pixels ? find_pixels(r, c, row, pixels, pixels)
                                              : find_pixels(r, c, row, pixels, left);
        load_totals(p, pixels, total);
        finish_totals(k, c, p, pixels, mode, 0, total);
    }
}

/* Channels from `first` on, as many as `pixels` pixels leave vectors for. */
SP_INLINE struct channels load_channels(const sp_epilogue *e, const struct sp_rows *r, int first,
                                        int pixels)
{
    const int each = VECTORS / pixels;
    struct channels c = {.first = first, .count = SP_MIN(r->count - first, each * LANES)};
    SP_UNROLL for (int j = 0; j < each; j++)
    {
        c.bias[j] = load_sums(e->bias + r->first + first + j * LANES);
        c.multiplier[j] = load_reals(e->multiplier + r->first + first + j * LANES);
    }
    return c;
}

/* Returns how many channels it finished. */
SP_INLINE int finish_block(const sp_epilogue *e, const struct sp_rows *r, int first, int pixels)
{
    const struct constants k = make_constants(e);
    const struct channels c = load_channels(e, r, first, pixels);
    if (e->residual_mode == SP_RESIDUAL_NONE)
        finish_rows(&k, &c, r, pixels, SP_RESIDUAL_NONE);
    else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
        finish_rows(&k, &c, r, pixels, SP_RESIDUAL_ACCUMULATOR);
    else
        finish_rows(&k, &c, r, pixels, SP_RESIDUAL_QUANTIZED);
    return c.count;
}
