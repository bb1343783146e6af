/* Sparse float32 micro-kernel in vectors of eight lanes: compiled for the instruction set of the
 * file that includes this.
 *
 * Each product reads its pixels from memory, and two reads a cycle are what L1 gives: an entry
 * costs only one more, for offset and weight together. */
#ifndef SPARING_CSR_ROWS_F32_H
#define SPARING_CSR_ROWS_F32_H

#include <immintrin.h>

#include "finish_f32.h"

/* The instruction is older than all that these files are compiled for, but not in their list. */
SP_INLINE void sp_fetch_to_write(const char *p)
{
#ifdef SP_EMULATE
    (void)p;
#else
    __asm__ volatile("prefetchw %0" : : "m"(*p));
#endif
}

struct bounds_f32 {
    __m256 lo, hi;
};

SP_INLINE struct bounds_f32 bounds_of(const sp_conv_csr_f32 *p)
{
    return (struct bounds_f32){_mm256_set1_ps(p->lo), _mm256_set1_ps(p->hi)};
}

SP_INLINE __m256 clamp_f32(struct bounds_f32 b, __m256 v)
{ /* both return their second operand where it is NaN */
    return _mm256_min_ps(b.hi, _mm256_max_ps(b.lo, v));
}

/* Fewer floats than a vector has. */
SP_INLINE void copy_rest(float *to, const float *from, int n)
{
    if (n & 4)
        memcpy(to, from, 16), to += 4, from += 4;
    if (n & 2)
        memcpy(to, from, 8), to += 2, from += 2;
    if (n & 1)
        *to = *from;
}

/* The lanes are neighbours in the image, `rest` of them in the last vector. */
SP_INLINE void finish_run_f32(const struct sp_csr_work *work, int64_t at, int vectors, int rest,
                              __m256 *acc)
{
    const sp_conv_csr_f32 *p = work->params;
    const struct bounds_f32 bounds = bounds_of(p);
    const int whole = rest == 8 ? vectors : vectors - 1;
    float *y = (float *)work->y + at, last[8];
    const float *residual = (const float *)work->residual + at;
    if (p->has_residual) {
        SP_UNROLL for (int i = 0; i < whole; i++) acc[i] =
            _mm256_add_ps(acc[i], _mm256_loadu_ps(residual + 8 * i));
        if (rest != 8) {
            _mm256_storeu_ps(last, _mm256_setzero_ps());
            copy_rest(last, residual + 8 * whole, rest);
            acc[whole] = _mm256_add_ps(acc[whole], _mm256_loadu_ps(last));
        }
    }
    SP_UNROLL for (int i = 0; i < whole; i++)
        _mm256_storeu_ps(y + 8 * i, clamp_f32(bounds, acc[i]));
    if (rest != 8) {
        _mm256_storeu_ps(last, clamp_f32(bounds, acc[whole]));
        copy_rest(y + 8 * whole, last, rest);
    }
}

/* Residual, clamp, store. */
SP_INLINE void finish_vectors_f32(const struct sp_csr_work *work, int row, int vectors, __m256 *acc)
{
    const sp_conv_csr_f32 *p = work->params;
    const int64_t at = row * work->channel_step;
    const struct sp_csr_piece *first = &work->piece[0];
    if (first->length == 8 * vectors) {
        finish_run_f32(work, at + first->output, vectors, 8, acc);
        return;
    }
    if (work->pieces == 1 && first->lane == 0 && first->length > 8 * (vectors - 1)) {
        finish_run_f32(work, at + first->output, vectors, first->length % 8, acc);
        return;
    }
    const struct bounds_f32 bounds = bounds_of(p);
    _Alignas(32) float lanes[SP_CSR_F32_WIDTH];
    if (p->has_residual) {
        copy_pieces_f32(work, lanes, (float *)work->residual + at, 0);
        SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] =
            _mm256_add_ps(acc[i], _mm256_load_ps(lanes + 8 * i));
    }
    SP_UNROLL for (int i = 0; i < vectors; i++)
        _mm256_store_ps(lanes + 8 * i, clamp_f32(bounds, acc[i]));
    copy_pieces_f32(work, lanes, (float *)work->y + at, 1);
}

/* Fetches what the end of a segment reads and writes: rows follow no order that the hardware could
 * foresee. */
enum { FETCH_ROWS = 4 }; /* how long before */

SP_INLINE void fetch_segment(const struct sp_csr_work *work, const sp_csr_segment *segment,
                             int vectors)
{
    if (!segment->first) {
        const char *partial = (const char *)partial_f32(work, segment->row);
        SP_UNROLL for (int i = 0; i < vectors; i += 2) sp_fetch_to_write(partial + 32 * i);
    }
    if (!segment->last)
        return;
    const int64_t at = segment->row * work->channel_step + work->piece[0].output;
    const char *y = (const char *)((const float *)work->y + at);
    SP_UNROLL for (int i = 0; i < vectors; i += 2) sp_fetch_to_write(y + 32 * i);
    if (!work->residual)
        return;
    const char *residual = (const char *)((const float *)work->residual + at);
    SP_UNROLL for (int i = 0; i < vectors; i += 2) __builtin_prefetch(residual + 32 * i);
}

SP_INLINE void run_rows_f32(const struct sp_csr_work *work, int vectors)
{
    const uint64_t *entry = work->entries; /* sp_csr_single, the weight above the offset */
    const float *x = work->x, *bias = ((const sp_conv_csr_f32 *)work->params)->bias;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        float *partial = partial_f32(work, segment->row);
        __m256 acc[SP_CSR_F32_WIDTH / 8];
        if (s + FETCH_ROWS < work->segments)
            fetch_segment(work, segment + FETCH_ROWS, vectors);
        if (segment->first) {
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] = _mm256_set1_ps(bias[segment->row]);
        } else {
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] = _mm256_load_ps(partial + 8 * i);
        }
        for (const uint64_t *end = entry + segment->steps; entry < end; entry++) {
            const __m128i bits = _mm_cvtsi32_si128((int)(*entry >> 32));
            const __m256 weight = _mm256_broadcastss_ps(_mm_castsi128_ps(bits));
            const float *lanes = x + (uint32_t)*entry;
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] =
                _mm256_fmadd_ps(weight, _mm256_loadu_ps(lanes + 8 * i), acc[i]);
        }
        if (segment->last) {
            finish_vectors_f32(work, segment->row, vectors, acc);
        } else {
            SP_UNROLL for (int i = 0; i < vectors; i++) _mm256_store_ps(partial + 8 * i, acc[i]);
        }
    }
}

#define DEFINE_ROWS(vectors)                                                                       \
    static void rows_f32_##vectors(const struct sp_csr_work *work) { run_rows_f32(work, vectors); }
DEFINE_ROWS(1)
DEFINE_ROWS(2)
DEFINE_ROWS(3)
DEFINE_ROWS(4)
DEFINE_ROWS(5)
DEFINE_ROWS(6)
DEFINE_ROWS(7)
DEFINE_ROWS(8)
DEFINE_ROWS(9)
#undef DEFINE_ROWS

/* For any width of whole vectors. */
static sp_csr_fn *const rows_f32[SP_CSR_F32_WIDTH / 8] = {rows_f32_1, rows_f32_2, rows_f32_3,
                                                          rows_f32_4, rows_f32_5, rows_f32_6,
                                                          rows_f32_7, rows_f32_8, rows_f32_9};

#endif
