/* The transforms of winograd_s8.h, written once in vectors of SP_VECTOR_BYTES bytes: each file of
 * an instruction set includes this after its target pragma. Lanes are channels. */
#include <string.h>

#include "target.h"
#include "winograd_s8.h"

enum { INPUT_LANES = SP_VECTOR_BYTES / 2, OUTPUT_LANES = SP_VECTOR_BYTES / 4 };
typedef uint8_t narrow __attribute__((vector_size(SP_VECTOR_BYTES / 2)));
typedef int16_t wide __attribute__((vector_size(SP_VECTOR_BYTES)));
typedef int8_t narrow_signed __attribute__((vector_size(SP_VECTOR_BYTES / 2)));
typedef uint32_t sums __attribute__((vector_size(SP_VECTOR_BYTES))); /* unsigned: they wrap */
typedef int32_t signed_sums __attribute__((vector_size(SP_VECTOR_BYTES)));

/* B' of six values, `stride` apart, in place. */
SP_INLINE void input_axis(wide *d, int stride)
{
    const wide d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride],
               d4 = d[4 * stride], d5 = d[5 * stride];
    const wide even = d4 - d2 * 4, odd = d3 - d1 * 4;
    const wide difference = d4 - d2, twice = (d3 - d1) * 2;
    d[0] = (d0 - d2) * 4 + difference;
    d[stride] = even + odd;
    d[2 * stride] = even - odd;
    d[3 * stride] = difference + twice;
    d[4 * stride] = difference - twice;
    d[5 * stride] = d5 - d3 - twice * 2;
}

/* INPUT_LANES channels from `at` on. */
SP_INLINE void input_vectors(const uint8_t *const *pixel, int at, int16_t *v,
                             size_t position_stride)
{
    wide d[SP_POSITIONS];
    SP_UNROLL for (int i = 0; i < SP_TILE_IN; i++)
    {
        SP_UNROLL for (int j = 0; j < SP_TILE_IN; j++)
        {
            narrow x;
            memcpy(&x, pixel[i * SP_TILE_IN + j] + at, sizeof x);
            d[i * SP_TILE_IN + j] = __builtin_convertvector(x, wide);
        }
        input_axis(d + i * SP_TILE_IN, 1);
    }
    SP_UNROLL for (int j = 0; j < SP_TILE_IN; j++)
    {
        input_axis(d + j, SP_TILE_IN);
        SP_UNROLL for (int i = j; i < SP_POSITIONS; i += SP_TILE_IN)
            memcpy(v + (size_t)i * position_stride + at, &d[i], sizeof d[i]);
    }
}

/* Fewer channels than a vector has: a copy with zeros behind them. */
static void input_few(const uint8_t *const *pixel, int channels, int16_t *v, size_t position_stride)
{
    uint8_t copy[SP_POSITIONS][INPUT_LANES] = {{0}};
    const uint8_t *copied[SP_POSITIONS];
    for (int i = 0; i < SP_POSITIONS; i++) {
        memcpy(copy[i], pixel[i], (size_t)channels);
        copied[i] = copy[i];
    }
    input_vectors(copied, 0, v, position_stride);
}

SP_INLINE void transform_input(const uint8_t *const *pixel, int channels, int16_t *v,
                               size_t position_stride)
{
    if (channels < INPUT_LANES) {
        input_few(pixel, channels, v, position_stride);
        return;
    }
    int at = 0;
    for (; at + INPUT_LANES <= channels; at += INPUT_LANES)
        input_vectors(pixel, at, v, position_stride);
    if (at < channels) /* overlaps the vector before */
        input_vectors(pixel, channels - INPUT_LANES, v, position_stride);
}

/* INPUT_LANES weights as int16. */
SP_INLINE wide widen_weights(const int8_t *w)
{
#ifdef SP_WIDEN_SIGNED /* gcc 12 converts signed vectors in halves */
    return (wide)SP_WIDEN_SIGNED(w);
#else
    narrow_signed x;
    memcpy(&x, w, sizeof x);
    return __builtin_convertvector(x, wide);
#endif
}

/* G of three values to six, `stride` apart. six: 6 in all lanes, where the compiler does not know
 * it: a product is quicker than the three steps it would make of it. */
SP_INLINE void weight_axis(const wide *g, wide six, wide *u, int stride)
{
    const wide outer = g[0] + g[2], far = g[0] + g[2] * 4, twice = g[1] + g[1];
    u[0] = g[0] * six;
    u[stride] = outer + g[1];
    u[2 * stride] = outer - g[1];
    u[3 * stride] = far + twice;
    u[4 * stride] = far - twice;
    u[5 * stride] = g[2] * six;
}

/* Two rows of G of three values, see sp_winograd_weights_fn. */
SP_INLINE void weight_rows(const wide *g, wide six, int first, wide *one, wide *other)
{
    if (first == 0) {
        *one = g[0] * six;
        *other = g[2] * six;
    } else {
        const wide even = first == 1 ? g[0] + g[2] : g[0] + g[2] * 4;
        const wide odd = first == 1 ? g[1] : g[1] + g[1];
        *one = even + odd;
        *other = even - odd;
    }
}

SP_INLINE void weight_vectors(const int8_t *w, wide six, int first, int16_t *u)
{
    wide half[2][SP_TAPS];
    SP_UNROLL for (int j = 0; j < SP_TAPS; j++)
    {
        wide g[SP_TAPS];
        SP_UNROLL for (int i = 0; i < SP_TAPS; i++) g[i] =
            widen_weights(w + (i * SP_TAPS + j) * SP_PAIR_WEIGHTS);
        weight_rows(g, six, first, &half[0][j], &half[1][j]);
    }
    SP_UNROLL for (int i = 0; i < 2; i++)
    {
        wide row[SP_TILE_IN];
        weight_axis(half[i], six, row, 1);
        SP_UNROLL for (int j = 0; j < SP_TILE_IN; j++)
            memcpy(u + (i * SP_TILE_IN + j) * SP_U_STRIDE, &row[j], sizeof row[j]);
    }
}

SP_INLINE void weight_pairs(const int8_t *w, int pairs, wide six, int first, int16_t *u)
{
    for (; pairs > 0; pairs--, w += SP_TAPS * SP_TAPS * SP_PAIR_WEIGHTS, u += SP_PAIR_WEIGHTS)
        for (int lane = 0; lane < SP_PAIR_WEIGHTS; lane += INPUT_LANES)
            weight_vectors(w + lane, six, first, u + lane);
}

SP_INLINE void transform_weights(const int8_t *w, int pairs, int first, int16_t *u)
{
    wide six = (wide){0} + 6;
    SP_PIN(six);
    if (first == 0)
        weight_pairs(w, pairs, six, 0, u);
    else if (first == 1)
        weight_pairs(w, pairs, six, 1, u);
    else
        weight_pairs(w, pairs, six, 3, u);
}

/* A' of six values m to four, `stride` apart. */
SP_INLINE void output_axis(const sums *m, sums *s, int stride)
{
    const sums p = m[1] + m[2], q = m[2] - m[1], u = m[3] + m[4], v = m[3] - m[4];
    s[0] = m[0] + (u - p * 4);
    s[stride] = q * 2 + v;
    s[2 * stride] = u - p;
    s[3 * stride] = q + v * 2 + m[5];
}

/* OUTPUT_LANES channels. m: their M, [36][16]. */
SP_INLINE void output_vectors(const int32_t *m, int32_t *sum, size_t row_stride,
                              size_t pixel_stride)
{
    static const int halvings[SP_TILE_OUT] = {0, 1, 2, 2};
    sums half[SP_TILE_OUT * SP_TILE_IN];
    SP_UNROLL for (int j = 0; j < SP_TILE_IN; j++)
    {
        sums column[SP_TILE_IN];
        SP_UNROLL for (int i = 0; i < SP_TILE_IN; i++)
            memcpy(&column[i], m + (i * SP_TILE_IN + j) * SP_M_COLUMNS, sizeof column[i]);
        output_axis(column, half + j, SP_TILE_IN);
    }
    SP_UNROLL for (int i = 0; i < SP_TILE_OUT; i++)
    {
        sums row[SP_TILE_OUT];
        output_axis(half + i * SP_TILE_IN, row, 1);
        SP_UNROLL for (int j = 0; j < SP_TILE_OUT; j++)
        {
            const signed_sums scaled = (signed_sums)(row[j] * SP_INVERSE_OF_9);
            const signed_sums exact = scaled >> (6 - halvings[i] - halvings[j]);
            memcpy(sum + (size_t)i * row_stride + (size_t)j * pixel_stride, &exact, sizeof exact);
        }
    }
}

SP_INLINE void transform_output(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                                size_t pixel_stride)
{
    for (int column = 0; column < columns; column += SP_M_COLUMNS)
        for (int lane = 0; lane < SP_M_COLUMNS; lane += OUTPUT_LANES)
            output_vectors(m + column * SP_POSITIONS + lane, sum + column + lane, row_stride,
                           pixel_stride);
}
