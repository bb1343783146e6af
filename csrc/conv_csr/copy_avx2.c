/* Brings words into lanes by vectors of AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include <immintrin.h>

#include "csr.h"

/* Vectors of 8; the last one overlaps the one before. */
static void copy_neighbours(float *to, const float *from, int n)
{
    if (n < 8) {
        sp_copy_lanes(to, from, 4 * n);
        return;
    }
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

void sp_csr_copy_words_avx2(char *to_, const char *from_, int n, int step)
{
    float *to = (float *)to_;
    const float *from = (const float *)from_;
    if (step == 1) {
        copy_neighbours(to, from, n);
    } else if (step == 2 && n > 8) {
        for (int i = 0; i < n - 8; i += 8)
            _mm256_storeu_ps(to + i, every_second(_mm256_loadu_ps(from + 2 * i),
                                                  _mm256_loadu_ps(from + 2 * i + 8), 0));
        /* the last word is not followed by another one that may be read */
        const float *last = from + 2 * (n - 8) - 1;
        _mm256_storeu_ps(to + n - 8,
                         every_second(_mm256_loadu_ps(last), _mm256_loadu_ps(last + 8), 1));
    } else {
        for (int i = 0; i < n; i++)
            to[i] = from[(int64_t)step * i];
    }
}

SP_TARGET_END
#endif
