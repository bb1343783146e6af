/* Brings words into lanes by vectors of AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include <immintrin.h>

#include "csr.h"

/* Vectors of 8; the last one overlaps the one before. */
SP_INLINE void copy_neighbours(float *to, const float *from, int n)
{
    for (int i = 0; i < n - 8; i += 8)
        _mm256_storeu_ps(to + i, _mm256_loadu_ps(from + i));
    _mm256_storeu_ps(to + n - 8, _mm256_loadu_ps(from + n - 8));
}

/* first and second: 16 neighbouring words. */
SP_INLINE __m256 every_second(__m256 first, __m256 second, int odd)
{
    const __m256 kept = odd ? _mm256_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1))
                            : _mm256_shuffle_ps(first, second, _MM_SHUFFLE(2, 0, 2, 0));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(kept), _MM_SHUFFLE(3, 1, 2, 0)));
}

SP_INLINE void copy_every_second(float *to, const float *from, int n)
{
    for (int i = 0; i < n - 8; i += 8)
        _mm256_storeu_ps(to + i, every_second(_mm256_loadu_ps(from + 2 * i),
                                              _mm256_loadu_ps(from + 2 * i + 8), 0));
    /* the last word is not followed by another one that may be read */
    const float *last = from + 2 * (n - 8) - 1;
    _mm256_storeu_ps(to + n - 8, every_second(_mm256_loadu_ps(last), _mm256_loadu_ps(last + 8), 1));
}

void sp_csr_copy_words_avx2(const struct sp_csr_copy *copy)
{
    const int n = copy->n, step = copy->step;
    char *to = copy->to;
    const char *from = copy->from;
    for (int row = 0; row < copy->rows; row++, to += copy->to_row, from += copy->from_row) {
        if (step == 1 && n >= 8)
            copy_neighbours((float *)to, (const float *)from, n);
        else if (step == 1)
            sp_copy_lanes(to, from, 4 * n);
        else if (step == 2 && n > 8)
            copy_every_second((float *)to, (const float *)from, n);
        else
            for (int i = 0; i < n; i++)
                memcpy(to + 4 * i, from + 4 * (int64_t)step * i, 4);
        sp_fetch_ahead(copy, from);
    }
}

SP_TARGET_END
#endif
