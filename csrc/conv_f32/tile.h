/* The float32 micro-kernels, for one vector type. The file that includes this defines V (a vector
 * of floats), V_LANES, V_LOAD, V_STORE, V_SET1, V_FMA(a, b, c) = a * b + c, V_MIN and V_MAX (which
 * give the second operand where one is NaN). */
#include "conv_f32.h"

enum { MOST_ROWS = 28, MOST_VECTORS = 12, LINE_BYTES = 64, WEIGHTS_AHEAD = 2048 };

SP_INLINE struct sp_finish_f32 finish_from(struct sp_finish_f32 f, size_t at)
{
    f.y += at;
    f.residual = f.residual ? f.residual + at : NULL;
    return f;
}

/* Finished sums to where they go. What is the same for all vectors is asked once: short sums have
 * few products to hide it behind. */
SP_INLINE void finish_tile(struct sp_finish_f32 f, int rows, int vectors,
                           V sum[MOST_ROWS][MOST_VECTORS])
{
    const V lo = V_SET1(f.lo), hi = V_SET1(f.hi);
    if (f.residual) {
        SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++)
            sum[i][j] += V_LOAD(f.residual + (size_t)i * f.stride + j * V_LANES);
    }
    SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++) V_STORE(
        f.y + (size_t)i * f.stride + j * V_LANES, V_MIN(hi, V_MAX(lo, sum[i][j]))); /* NaN passes */
}

/* Weights mostly come from beyond the L2 cache: where they are one stream, too late without this.
 */
SP_INLINE void fetch_ahead(const float *w, int vectors)
{
    SP_UNROLL for (int at = 0; at < vectors * (int)sizeof(V); at += LINE_BYTES)
        __builtin_prefetch((const char *)w + WEIGHTS_AHEAD + at);
}

/* rows, panels and vectors (of a panel) are constants where this is inlined, so that the sums stay
 * in registers. */
SP_INLINE void gemm_tile(const struct sp_tile_f32 *t, int rows, int panels, int vectors)
{
    const int nr = vectors * V_LANES, all = panels * vectors;
    const size_t lda = t->lda, panel = t->panel;
    const float *a = t->a, *w = t->w;
    V sum[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < all; j++) sum[i][j] =
        V_LOAD((t->start ? t->start : t->sums + i * all * V_LANES) + j * V_LANES);
    for (int k = 0; k < t->k; k++, a++, w += nr) {
        SP_UNROLL for (int p = 0; p < panels; p++)
        {
            const float *wp = w + (size_t)p * panel;
            if (panels == 1)
                fetch_ahead(wp, vectors);
            V weight[MOST_VECTORS];
            SP_UNROLL for (int j = 0; j < vectors; j++) weight[j] = V_LOAD(wp + j * V_LANES);
            SP_UNROLL for (int i = 0; i < rows; i++)
            {
                V x = V_SET1(a[(size_t)i * lda]);
                SP_UNROLL for (int j = 0; j < vectors; j++) sum[i][p * vectors + j] =
                    V_FMA(x, weight[j], sum[i][p * vectors + j]);
            }
        }
    }
    if (t->finish)
        finish_tile(*t->finish, rows, all, sum);
    else
        SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < all; j++)
            V_STORE(t->sums + (i * all + j) * V_LANES, sum[i][j]);
}

SP_INLINE void gemm_few(const struct sp_tile_f32 *t, int vectors)
{
    if (t->rows == 2)
        gemm_tile(t, 2, 2, vectors);
    else if (t->panels == 2)
        gemm_tile(t, 1, 2, vectors);
    else
        gemm_tile(t, 1, 4, vectors);
}

/* A micro-kernel with code for each number of rows up to mr. */
#define GEMM_ROWS(rows, mr, vectors)                                                               \
    case rows:                                                                                     \
        if (rows <= (mr))                                                                          \
            gemm_tile(t, rows, 1, vectors);                                                        \
        break;
#define GEMM_KERNEL(name, mr, vectors)                                                             \
    void name(const struct sp_tile_f32 *t);                                                        \
    void name(const struct sp_tile_f32 *t)                                                         \
    {                                                                                              \
        if (t->panels > 1) {                                                                       \
            gemm_few(t, vectors);                                                                  \
            return;                                                                                \
        }                                                                                          \
        switch (t->rows) {                                                                         \
            GEMM_ROWS(1, mr, vectors)                                                              \
            GEMM_ROWS(2, mr, vectors)                                                              \
            GEMM_ROWS(3, mr, vectors)                                                              \
            GEMM_ROWS(4, mr, vectors)                                                              \
            GEMM_ROWS(5, mr, vectors)                                                              \
            GEMM_ROWS(6, mr, vectors)                                                              \
            GEMM_ROWS(7, mr, vectors)                                                              \
            GEMM_ROWS(8, mr, vectors)                                                              \
            GEMM_ROWS(9, mr, vectors)                                                              \
            GEMM_ROWS(10, mr, vectors)                                                             \
            GEMM_ROWS(11, mr, vectors)                                                             \
            GEMM_ROWS(12, mr, vectors)                                                             \
            GEMM_ROWS(13, mr, vectors)                                                             \
            GEMM_ROWS(14, mr, vectors)                                                             \
        }                                                                                          \
    }

/* `vectors` of channels of `pixels` (both constants) output pixels: enough sums that the next
 * addition to one need not wait for the last. */
SP_INLINE void depthwise_tile(const struct sp_depthwise_row_f32 *r, int pixels, int vectors,
                              size_t pixel, size_t channel)
{
    V sum[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int p = 0; p < pixels; p++) SP_UNROLL for (int v = 0; v < vectors; v++)
        sum[p][v] = V_LOAD(r->bias + channel + v * V_LANES);
    const float *x0 = r->x + pixel * r->x_pixel + channel, *w0 = r->w + channel;
    for (int i = 0; i < r->rows; i++, x0 += r->x_row, w0 += r->w_row) {
        const float *x = x0, *w = w0;
        for (int j = 0; j < r->columns; j++, x += r->x_column, w += r->w_column) {
            SP_UNROLL for (int v = 0; v < vectors; v++)
            {
                V weight = V_LOAD(w + v * V_LANES);
                SP_UNROLL for (int p = 0; p < pixels; p++) sum[p][v] =
                    V_FMA(V_LOAD(x + (size_t)p * r->x_pixel + v * V_LANES), weight, sum[p][v]);
            }
        }
    }
    finish_tile(finish_from(r->finish, pixel * r->finish.stride + channel), pixels, vectors, sum);
}

/* All channels of `pixels` output pixels, `vectors` at a time (both constants). */
SP_INLINE void depthwise_pixels(const struct sp_depthwise_row_f32 *r, int pixels, int vectors,
                                size_t pixel)
{
    const size_t channels = (size_t)r->channels, width = (size_t)(vectors * V_LANES);
    size_t c = 0;
    for (; c + width <= channels; c += width)
        depthwise_tile(r, pixels, vectors, pixel, c);
    /* the last vector overlaps the one before it and computes the same */
    for (; c < channels; c += V_LANES)
        depthwise_tile(r, pixels, 1, pixel, SP_MIN(c, channels - V_LANES));
}

/* One channel at a time, for fewer channels than a vector has. */
static void depthwise_scalars(const struct sp_depthwise_row_f32 *r, size_t pixel)
{
    const struct sp_finish_f32 *f = &r->finish;
    for (size_t c = 0; c < (size_t)r->channels; c++) {
        float sum = r->bias[c];
        for (size_t i = 0; i < (size_t)r->rows; i++)
            for (size_t j = 0; j < (size_t)r->columns; j++)
                sum += r->x[pixel * r->x_pixel + i * r->x_row + j * r->x_column + c] *
                       r->w[i * r->w_row + j * r->w_column + c];
        size_t at = pixel * f->stride + c;
        sum = f->residual ? sum + f->residual[at] : sum;
        sum = sum < f->lo ? f->lo : sum;
        f->y[at] = sum > f->hi ? f->hi : sum;
    }
}

SP_INLINE void depthwise_row(const struct sp_depthwise_row_f32 *r)
{
    const size_t channels = (size_t)r->channels, count = (size_t)r->count;
    size_t pixel = 0;
    if (channels >= V_LANES) {
        for (; pixel + 4 <= count; pixel += 4)
            depthwise_pixels(r, 4, 2, pixel);
        for (; pixel < count; pixel++)
            depthwise_pixels(r, 1, 4, pixel);
    }
    for (; pixel < count; pixel++)
        depthwise_scalars(r, pixel);
}

#define DEPTHWISE_KERNEL(name)                                                                     \
    void name(const struct sp_depthwise_row_f32 *r);                                               \
    void name(const struct sp_depthwise_row_f32 *r) { depthwise_row(r); }
