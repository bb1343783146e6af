/* The float32 micro-kernels, for one vector type. The file that includes this defines V (a vector
 * of floats), V_LANES, V_LOAD, V_STORE, V_SET1, V_FMA(a, b, c) = a * b + c, V_MIN and V_MAX (which
 * give the second operand where one is NaN). */
#include "conv_f32.h"

enum { MOST_ROWS = 28, MOST_VECTORS = 4 };

SP_INLINE V clamped(V sum, V lo, V hi) { return V_MIN(hi, V_MAX(lo, sum)); /* NaN passes */ }

SP_INLINE V finish_vector(const struct sp_finish_f32 *f, V sum, size_t at)
{
    if (f->residual)
        sum += V_LOAD(f->residual + at);
    return clamped(sum, V_SET1(f->lo), V_SET1(f->hi));
}

/* A tile's sums to where they go. What is the same for all vectors is asked once: a short K has
 * few products to hide it behind. */
SP_INLINE void gemm_finish(const struct sp_tile_f32 *t, int rows, int vectors,
                           V sum[MOST_ROWS][MOST_VECTORS])
{
    if (!t->finish) {
        SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++)
            V_STORE(t->sums + (i * vectors + j) * V_LANES, sum[i][j]);
        return;
    }
    const struct sp_finish_f32 f = *t->finish;
    const V lo = V_SET1(f.lo), hi = V_SET1(f.hi);
    if (f.residual) {
        SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++)
            sum[i][j] += V_LOAD(f.residual + (size_t)i * f.stride + j * V_LANES);
    }
    SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++)
        V_STORE(f.y + (size_t)i * f.stride + j * V_LANES, clamped(sum[i][j], lo, hi));
}

/* rows and vectors are constants where this is inlined, so that the sums stay in registers. */
SP_INLINE void gemm_tile(const struct sp_tile_f32 *t, int rows, int vectors)
{
    const int nr = vectors * V_LANES;
    const size_t lda = t->lda;
    const float *a = t->a, *w = t->w;
    V sum[MOST_ROWS][MOST_VECTORS];
    SP_UNROLL for (int i = 0; i < rows; i++) SP_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
        V_LOAD((t->start ? t->start : t->sums + i * nr) + j * V_LANES);
    for (int k = 0; k < t->k; k++, a++, w += nr) {
        V weight[MOST_VECTORS];
        SP_UNROLL for (int j = 0; j < vectors; j++) weight[j] = V_LOAD(w + j * V_LANES);
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            V x = V_SET1(a[(size_t)i * lda]);
            SP_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = V_FMA(x, weight[j], sum[i][j]);
        }
    }
    gemm_finish(t, rows, vectors, sum);
}

/* A micro-kernel with code for each number of rows up to mr. */
#define GEMM_ROWS(rows, mr, vectors)                                                               \
    case rows:                                                                                     \
        if (rows <= (mr))                                                                          \
            gemm_tile(t, rows, vectors);                                                           \
        break;
#define GEMM_KERNEL(name, mr, vectors)                                                             \
    void name(const struct sp_tile_f32 *t);                                                        \
    void name(const struct sp_tile_f32 *t)                                                         \
    {                                                                                              \
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

/* One vector of channels of `pixels` (a constant) output pixels. */
SP_INLINE void depthwise_vectors(const struct sp_depthwise_row_f32 *r, int pixels, size_t pixel,
                                 size_t channel)
{
    enum { MOST_PIXELS = 4 };
    V sum[MOST_PIXELS];
    SP_UNROLL for (int p = 0; p < pixels; p++) sum[p] = V_LOAD(r->bias + channel);
    const float *x0 = r->x + pixel * r->x_pixel + channel, *w0 = r->w + channel;
    for (int i = 0; i < r->rows; i++, x0 += r->x_row, w0 += r->w_row) {
        const float *x = x0, *w = w0;
        for (int j = 0; j < r->columns; j++, x += r->x_column, w += r->w_column) {
            V weight = V_LOAD(w);
            SP_UNROLL for (int p = 0; p < pixels; p++) sum[p] =
                V_FMA(V_LOAD(x + (size_t)p * r->x_pixel), weight, sum[p]);
        }
    }
    SP_UNROLL for (int p = 0; p < pixels; p++)
    {
        size_t at = (pixel + (size_t)p) * r->finish.stride + channel;
        V_STORE(r->finish.y + at, finish_vector(&r->finish, sum[p], at));
    }
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
    if (channels >= V_LANES)
        for (; pixel < count;) {
            int four = count - pixel >= 4;
            /* the last vector of channels overlaps the one before it and computes the same */
            for (size_t c = 0; c < channels; c += V_LANES) {
                size_t channel = SP_MIN(c, channels - V_LANES);
                if (four)
                    depthwise_vectors(r, 4, pixel, channel);
                else
                    depthwise_vectors(r, 1, pixel, channel);
            }
            pixel += four ? 4 : 1;
        }
    for (; pixel < count; pixel++)
        depthwise_scalars(r, pixel);
}

#define DEPTHWISE_KERNEL(name)                                                                     \
    void name(const struct sp_depthwise_row_f32 *r);                                               \
    void name(const struct sp_depthwise_row_f32 *r) { depthwise_row(r); }
