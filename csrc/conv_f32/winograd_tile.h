/* The transforms of winograd.h for the vector type of the file that includes this, after tile.h. */
#include "winograd.h"

/* y[i * step] = row i of B' times x[0..5]. */
SP_INLINE void transform_in(const V *x, V *y, int step)
{
    const V two = V_SET1(2), minus_four = V_SET1(-4), minus_five = V_SET1(-5), four = V_SET1(4);
    const V a = V_FMA(minus_four, x[2], x[4]), b = V_FMA(minus_four, x[1], x[3]);
    const V c = x[4] - x[2], e = (x[3] - x[1]) * two;
    y[0] = V_FMA(four, x[0], V_FMA(minus_five, x[2], x[4]));
    y[step] = a + b, y[2 * step] = a - b;
    y[3 * step] = c + e, y[4 * step] = c - e;
    y[5 * step] = V_FMA(four, x[1], V_FMA(minus_five, x[3], x[5]));
}

/* y[i * step] = row i of A' times x[0..5]. */
SP_INLINE void transform_out(const V *x, V *y, int step)
{
    const V a = x[1] + x[2], b = x[3] + x[4], c = x[1] - x[2], e = x[3] - x[4];
    y[0] = x[0] + a + b;
    y[step] = V_FMA(V_SET1(2), e, c);
    y[2 * step] = V_FMA(V_SET1(4), b, a);
    y[3 * step] = V_FMA(V_SET1(8), e, c) + x[5];
}

SP_INLINE void winograd_in(const struct sp_winograd_tile_f32 *t, size_t channel)
{
    V half[SP_W_IN * SP_W_IN];
    SP_UNROLL for (int j = 0; j < SP_W_IN; j++)
    {
        V column[SP_W_IN];
        SP_UNROLL for (int i = 0; i < SP_W_IN; i++) column[i] =
            V_LOAD(t->x[i * SP_W_IN + j] + channel);
        transform_in(column, half + j, SP_W_IN);
    }
    SP_UNROLL for (int i = 0; i < SP_W_IN; i++)
    {
        V row[SP_W_IN];
        transform_in(half + i * SP_W_IN, row, 1);
        SP_UNROLL for (int j = 0; j < SP_W_IN; j++)
            V_STORE(t->v + (size_t)(i * SP_W_IN + j) * t->v_position + channel, row[j]);
    }
}

SP_INLINE void winograd_out(const struct sp_winograd_tile_f32 *t, size_t channel)
{
    const V bias = V_LOAD(t->bias + channel);
    V half[SP_W_OUT * SP_W_IN];
    SP_UNROLL for (int j = 0; j < SP_W_IN; j++)
    {
        V column[SP_W_IN];
        SP_UNROLL for (int i = 0; i < SP_W_IN; i++) column[i] =
            V_LOAD(t->sums + (size_t)(i * SP_W_IN + j) * t->sums_position + channel);
        transform_out(column, half + j, SP_W_IN);
    }
    SP_UNROLL for (int i = 0; i < SP_W_OUT; i++)
    {
        V row[SP_W_OUT], sum[MOST_ROWS][MOST_VECTORS];
        transform_out(half + i * SP_W_IN, row, 1);
        SP_UNROLL for (int j = 0; j < SP_W_OUT; j++) sum[j][0] = row[j] + bias;
        finish_tile(finish_from(t->finish, (size_t)i * t->row + channel), SP_W_OUT, 1, sum);
    }
}

/* The last vector of channels overlaps the one before it and computes the same. */
#define WINOGRAD_KERNEL(name)                                                                      \
    void name(const struct sp_winograd_tile_f32 *t);                                               \
    void name(const struct sp_winograd_tile_f32 *t)                                                \
    {                                                                                              \
        const size_t channels = (size_t)t->channels;                                               \
        for (size_t c = 0; c < channels; c += V_LANES) {                                           \
            const size_t channel = SP_MIN(c, channels - V_LANES);                                  \
            if (t->sums)                                                                           \
                winograd_out(t, channel);                                                          \
            else                                                                                   \
                winograd_in(t, channel);                                                           \
        }                                                                                          \
    }
