/* Copies of words by vectors of AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include <immintrin.h>
#include <string.h>

#include "copy_words.h"

/* Vectors of 8; the last one overlaps the one before. vectors: a constant up to 8. */
SP_INLINE void copy_neighbours(const struct sp_word_copy *copy, int vectors)
{
    float *to = (float *)copy->to;
    const float *from = (const float *)copy->from;
    const int last = copy->n - 8;
    for (int row = 0; row < copy->rows; row++, to += copy->to_row, from += copy->from_row) {
        SP_UNROLL for (int i = 0; i < vectors - 1; i++)
            _mm256_storeu_ps(to + 8 * i, _mm256_loadu_ps(from + 8 * i));
        _mm256_storeu_ps(to + last, _mm256_loadu_ps(from + last));
    }
}

/* Fewer than eight, in two halves that overlap. half: words. */
SP_INLINE void copy_halves(const struct sp_word_copy *copy, int half)
{
    const int last = copy->n - half;
    for (int row = 0; row < copy->rows; row++) {
        uint32_t *to = copy->to + row * copy->to_row;
        const uint32_t *from = copy->from + row * copy->from_row;
        memcpy(to, from, (size_t)half * 4);
        memcpy(to + last, from + last, (size_t)half * 4);
    }
}

static void copy_every(const struct sp_word_copy *copy)
{
    switch ((copy->n + 7) / 8) {
    case 8:
        copy_neighbours(copy, 8);
        return;
    case 7:
        copy_neighbours(copy, 7);
        return;
    case 6:
        copy_neighbours(copy, 6);
        return;
    case 5:
        copy_neighbours(copy, 5);
        return;
    case 4:
        copy_neighbours(copy, 4);
        return;
    case 3:
        copy_neighbours(copy, 3);
        return;
    case 2:
        copy_neighbours(copy, 2);
        return;
    }
    if (copy->n > 64)
        copy_neighbours(copy, (copy->n + 7) / 8);
    else if (copy->n == 8)
        copy_neighbours(copy, 1);
    else if (copy->n >= 4)
        copy_halves(copy, 4);
    else if (copy->n >= 2)
        copy_halves(copy, 2);
    else
        copy_halves(copy, 1);
}

/* first and second: 16 neighbouring words. */
SP_INLINE __m256 every_second(__m256 first, __m256 second, int odd)
{
    const __m256 kept = odd ? _mm256_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1))
                            : _mm256_shuffle_ps(first, second, _MM_SHUFFLE(2, 0, 2, 0));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(kept), _MM_SHUFFLE(3, 1, 2, 0)));
}

static void copy_every_second(const struct sp_word_copy *copy)
{
    const int n = copy->n;
    float *to = (float *)copy->to;
    const float *from = (const float *)copy->from;
    for (int row = 0; row < copy->rows; row++, to += copy->to_row, from += copy->from_row) {
        for (int i = 0; i < n - 8; i += 8)
            _mm256_storeu_ps(to + i, every_second(_mm256_loadu_ps(from + 2 * i),
                                                  _mm256_loadu_ps(from + 2 * i + 8), 0));
        /* the last word is not followed by another one that may be read */
        const float *last = from + 2 * (n - 8) - 1;
        _mm256_storeu_ps(to + n - 8,
                         every_second(_mm256_loadu_ps(last), _mm256_loadu_ps(last + 8), 1));
    }
}

/* The same for five to eight, in two halves that overlap. */
SP_INLINE __m128 every_second_half(const float *from, int odd)
{
    const __m128 first = _mm_loadu_ps(from), second = _mm_loadu_ps(from + 4);
    return odd ? _mm_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1))
               : _mm_shuffle_ps(first, second, _MM_SHUFFLE(2, 0, 2, 0));
}

static void copy_every_second_halves(const struct sp_word_copy *copy)
{
    const int n = copy->n;
    float *to = (float *)copy->to;
    const float *from = (const float *)copy->from;
    for (int row = 0; row < copy->rows; row++, to += copy->to_row, from += copy->from_row) {
        _mm_storeu_ps(to, every_second_half(from, 0));
        _mm_storeu_ps(to + n - 4, every_second_half(from + 2 * (n - 4) - 1, 1));
    }
}

void sp_copy_words_avx2(const struct sp_word_copy *copy)
{
    if (copy->step == 1)
        copy_every(copy);
    else if (copy->step == 2 && copy->n > 8)
        copy_every_second(copy);
    else if (copy->step == 2 && copy->n > 4)
        copy_every_second_halves(copy);
    else
        sp_copy_words_portable(copy);
}

SP_TARGET_END
#endif
