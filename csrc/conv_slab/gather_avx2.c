/* Brings taps into lanes by vectors of AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include <immintrin.h>

#include "slab.h"

enum { LANES = 8 };

SP_INLINE void copy_vectors(const float *x, int channels, float *to, int64_t step, int vectors)
{
    for (int c = 0; c < channels; c++, x += SP_SLAB_WIDTH, to += step)
        SP_UNROLL for (int i = 0; i < vectors; i++)
            _mm256_storeu_ps(to + LANES * i, _mm256_loadu_ps(x + LANES * i));
}

static void copy_whole(const float *x, int channels, float *to, int64_t step, int vectors)
{
    switch (vectors) {
#define COPY(n)                                                                                    \
    case n:                                                                                        \
        copy_vectors(x, channels, to, step, n);                                                    \
        return;
        COPY(1)
        COPY(2)
        COPY(3)
        COPY(4)
        COPY(5)
        COPY(6)
        COPY(7)
        COPY(8)
#undef COPY
    }
}

/* The lanes that are not wanted may lie outside of memory: they are not read. */
static __m256i mask_of(int lanes)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(lanes), bit), bit);
}

/* One vector from `places` pieces. */
static void join_places(const struct sp_slab_piece *piece, int places, const float *x, int channels,
                        float *to, int64_t step)
{
    const __m256i mask = mask_of(piece[0].lanes);
    const float *first = x + piece[0].from;
    if (places == 1) {
        for (int c = 0; c < channels; c++, first += SP_SLAB_WIDTH, to += step)
            _mm256_storeu_ps(to, _mm256_maskload_ps(first, mask));
        return;
    }
    if (places == 2) {
        const __m256i other = mask_of(piece[1].lanes);
        const float *second = x + piece[1].from;
        for (int c = 0; c < channels;
             c++, first += SP_SLAB_WIDTH, second += SP_SLAB_WIDTH, to += step)
            _mm256_storeu_ps(to, _mm256_or_ps(_mm256_maskload_ps(first, mask),
                                              _mm256_maskload_ps(second, other)));
        return;
    }
    for (int c = 0; c < channels; c++, x += SP_SLAB_WIDTH, to += step) {
        __m256 joined = _mm256_setzero_ps();
        for (int i = 0; i < places; i++)
            joined = _mm256_or_ps(joined,
                                  _mm256_maskload_ps(x + piece[i].from, mask_of(piece[i].lanes)));
        _mm256_storeu_ps(to, joined);
    }
}

void sp_slab_gather_pieces_avx2(const struct sp_slab_gather *gather, const float *x, int channels,
                                float *lanes)
{
    const int64_t step = (int64_t)gather->shape->kernel_h * gather->shape->kernel_w * gather->row;
    for (int i = 0; i < gather->pieces; i++) {
        const struct sp_slab_piece *piece = &gather->piece[i];
        if (piece->lanes == (1 << LANES) - 1)
            copy_whole(x + piece->from, channels, lanes + piece->to, step, piece->vectors);
        else
            join_places(piece, piece->others + 1, x, channels, lanes + piece->to, step);
        i += piece->others;
    }
}

SP_TARGET_END
#endif
