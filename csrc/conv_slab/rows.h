/* The micro-kernel in vectors of eight lanes: compiled for the instruction set of the file that
 * includes this.
 *
 * Each product reads its pixels from memory, and two reads a cycle are what L1 gives: an entry
 * costs only one more, for lane and weight together. */
#ifndef SPARING_SLAB_ROWS_H
#define SPARING_SLAB_ROWS_H

#include <immintrin.h>

#include "slab.h"

enum { LANES = 8, VECTORS = SP_SLAB_WIDTH / LANES };

/* The instruction is older than all that these files are compiled for, but not in their list. */
SP_INLINE void sp_fetch_to_write(const float *p)
{
#ifdef SP_EMULATE
    (void)p;
#else
    __asm__ volatile("prefetchw %0" : : "m"(*p));
#endif
}

/* Where the sums of a row stand in what partial, y and residual point to: those of the slab, then
 * the tail's. */
SP_INLINE int64_t place(const struct sp_slab_work *work, int row, int vectors, int i)
{
    const int64_t at = sp_slab_row(row);
    return i < vectors ? at + LANES * i : at + work->tail_y + LANES * (i - vectors);
}

/* Fetches what the end of a segment reads and writes: rows follow no order that the hardware could
 * foresee. */
enum { FETCH_ROWS = 4 }; /* how long before */

SP_INLINE void fetch_segment(const struct sp_slab_work *work, const sp_csr_segment *segment,
                             int vectors)
{
    const int64_t at = sp_slab_row(segment->row);
    if (!segment->first) {
        SP_UNROLL for (int i = 0; i < vectors; i += 2)
            sp_fetch_to_write(work->partial + at + LANES * i);
    }
    if (!segment->last)
        return;
    SP_UNROLL for (int i = 0; i < vectors; i += 2) sp_fetch_to_write(work->y + at + LANES * i);
    if (!work->residual)
        return;
    SP_UNROLL for (int i = 0; i < vectors; i += 2)
        __builtin_prefetch(work->residual + at + LANES * i);
}

/* Residual, clamp, store. Both ends of the clamp return their second operand where it is NaN. */
SP_INLINE void finish_row(const struct sp_slab_work *work, int row, int vectors, int tail,
                          __m256 *acc)
{
    const __m256 lo = _mm256_set1_ps(work->params->lo), hi = _mm256_set1_ps(work->params->hi);
    if (work->residual) {
        SP_UNROLL for (int i = 0; i < vectors + tail; i++) acc[i] =
            _mm256_add_ps(acc[i], _mm256_loadu_ps(work->residual + place(work, row, vectors, i)));
    }
    SP_UNROLL for (int i = 0; i < vectors + tail; i++) _mm256_storeu_ps(
        work->y + place(work, row, vectors, i), _mm256_min_ps(hi, _mm256_max_ps(lo, acc[i])));
}

/* The tail's rows are as wide as it is itself. */
SP_INLINE void add_entry(const float *x, const float *tail_x, const uint64_t *entry, int vectors,
                         int tail, __m256 *acc)
{
    const __m128i bits = _mm_cvtsi32_si128((int)(*entry >> 32));
    const __m256 weight = _mm256_broadcastss_ps(_mm_castsi128_ps(bits));
    const uint32_t lane = (uint32_t)*entry;
    SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] =
        _mm256_fmadd_ps(weight, _mm256_loadu_ps(x + lane + LANES * i), acc[i]);
    SP_UNROLL for (int i = 0; i < tail; i++) acc[vectors + i] = _mm256_fmadd_ps(
        weight, _mm256_loadu_ps(tail_x + lane / VECTORS * tail + LANES * i), acc[vectors + i]);
}

/* The sums of all non-zeros of a segment, added to acc. chains: sums for each lane, so that few
 * vectors need not wait for each other. Returns the segment's end. */
SP_INLINE const uint64_t *add_entries(const struct sp_slab_work *work, const uint64_t *entry,
                                      int steps, int vectors, int tail, int chains, __m256 *acc)
{
    const float *x = work->x, *tail_x = work->tail_x;
    const uint64_t *const end = entry + steps;
    SP_UNROLL for (int i = vectors; i < chains * vectors; i++) acc[i] = _mm256_setzero_ps();
    if (chains > 1)
        for (; entry + chains <= end; entry += chains) {
            SP_UNROLL for (int c = 0; c < chains; c++)
                add_entry(x, tail_x, entry + c, vectors, 0, acc + c * vectors);
        }
    for (; entry < end; entry++)
        add_entry(x, tail_x, entry, vectors, tail, acc);
    SP_UNROLL for (int i = vectors; i < chains * vectors; i++) acc[i % vectors] =
        _mm256_add_ps(acc[i % vectors], acc[i]);
    return end;
}

SP_INLINE void run_rows(const struct sp_slab_work *given, int vectors, int tail, int chains)
{
    /* a copy, which no store to y can change: its fields stay in registers */
    const struct sp_slab_work copy = *given, *const work = &copy;
    const uint64_t *entry = work->entries; /* sp_slab_entry, the weight above the lane */
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        const int row = segment->row;
        __m256 acc[VECTORS + SP_SLAB_TAIL / LANES];
        if (s + FETCH_ROWS < work->segments)
            fetch_segment(work, segment + FETCH_ROWS, vectors);
        if (segment->first) {
            const __m256 bias = _mm256_set1_ps(work->params->bias[row]);
            SP_UNROLL for (int i = 0; i < vectors + tail; i++) acc[i] = bias;
        } else {
            SP_UNROLL for (int i = 0; i < vectors + tail; i++) acc[i] =
                _mm256_loadu_ps(work->partial + place(work, row, vectors, i));
        }
        entry = add_entries(work, entry, segment->steps, vectors, tail, chains, acc);
        if (segment->last) {
            finish_row(work, row, vectors, tail, acc);
        } else {
            SP_UNROLL for (int i = 0; i < vectors + tail; i++)
                _mm256_storeu_ps(work->partial + place(work, row, vectors, i), acc[i]);
        }
    }
}

#define DEFINE_ROWS(vectors, tail, chains)                                                         \
    static void rows_##vectors##_##tail(const struct sp_slab_work *work)                           \
    {                                                                                              \
        run_rows(work, vectors, tail, chains);                                                     \
    }
DEFINE_ROWS(1, 0, 8)
DEFINE_ROWS(2, 0, 4)
DEFINE_ROWS(3, 0, 2)
DEFINE_ROWS(4, 0, 2)
DEFINE_ROWS(5, 0, 1)
DEFINE_ROWS(6, 0, 1)
DEFINE_ROWS(7, 0, 1)
DEFINE_ROWS(8, 0, 1)
DEFINE_ROWS(8, 1, 1)
DEFINE_ROWS(8, 2, 1)
#undef DEFINE_ROWS

static void run_any_width(const struct sp_slab_work *work)
{
    static sp_slab_fn *const rows[] = {rows_1_0, rows_2_0, rows_3_0, rows_4_0, rows_5_0,
                                       rows_6_0, rows_7_0, rows_8_0, rows_8_1, rows_8_2};
    rows[(work->width + work->tail_width) / LANES - 1](work);
}

#endif
