/* Sparse float32 micro-kernel in vectors of eight lanes: compiled for the instruction set of the
 * file that includes this.
 *
 * Each product reads its pixels from memory, and two reads a cycle are what L1 gives: an entry
 * costs only one more, for offset and weight together. */
#ifndef SPARING_CSR_ROWS_F32_H
#define SPARING_CSR_ROWS_F32_H

#include <immintrin.h>

#include "finish_f32.h"

/* Residual, clamp, store. The clamps return their second operand where it is NaN. */
SP_INLINE void finish_vectors_f32(const struct sp_csr_work *work, int row, int vectors, __m256 *acc)
{
    const sp_conv_csr_f32 *p = work->params;
    const __m256 lo = _mm256_set1_ps(p->lo), hi = _mm256_set1_ps(p->hi);
    _Alignas(32) float lanes[SP_CSR_F32_WIDTH];
    const int64_t at = row * work->channel_step;
    const int whole = work->piece[0].length == 8 * vectors; /* the lanes are neighbours in y */
    float *y = whole ? (float *)work->y + at + work->piece[0].output : lanes;
    if (p->has_residual) {
        const float *residual =
            whole ? (const float *)work->residual + at + work->piece[0].output : lanes;
        if (!whole)
            copy_pieces_f32(work, lanes, (float *)work->residual + at, 0);
        SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] =
            _mm256_add_ps(acc[i], _mm256_loadu_ps(residual + 8 * i));
    }
    SP_UNROLL for (int i = 0; i < vectors; i++)
        _mm256_storeu_ps(y + 8 * i, _mm256_min_ps(hi, _mm256_max_ps(lo, acc[i])));
    if (!whole)
        copy_pieces_f32(work, lanes, (float *)work->y + at, 1);
}

/* Fetches a row's place in the output, and its residual: rows follow no order that the hardware
 * could foresee. */
enum { FETCH_ROWS = 4 }; /* how long before */

SP_INLINE void fetch_row(const struct sp_csr_work *work, int row, int vectors)
{
    const int64_t at = row * work->channel_step + work->piece[0].output;
    const char *y = (const char *)((const float *)work->y + at);
    SP_UNROLL for (int i = 0; i < vectors; i += 2) __builtin_prefetch(y + 32 * i, 1);
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
        if (segment->last && s + FETCH_ROWS < work->segments)
            fetch_row(work, segment[FETCH_ROWS].row, vectors);
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
