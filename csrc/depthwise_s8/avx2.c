/* AVX2 depthwise micro-kernels: two taps are interleaved, widened to int16 and multiplied by
 * vpmaddwd, which adds each channel's two products. Exact for uint8 activations and int16
 * weights. */
#include "copy_short.h"
#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

/* ---- 32 channels ---- */

enum { CHANNELS = 32, VECTORS = 4 };

/* Interleaving works within 128-bit lanes: total[j] holds channels 4j ... 4j + 3 and 16 + 4j ...
 * 16 + 4j + 3, and the weights are packed in the same order. */
SP_INLINE void add_taps(__m256i *total, const uint8_t *const *tap, size_t at, const int16_t *w)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i a = _mm256_loadu_si256((const __m256i *)(tap[0] + at));
    const __m256i b = _mm256_loadu_si256((const __m256i *)(tap[1] + at));
    const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
    const __m256i x[VECTORS] = {
        _mm256_unpacklo_epi8(low, zero),
        _mm256_unpackhi_epi8(low, zero),
        _mm256_unpacklo_epi8(high, zero),
        _mm256_unpackhi_epi8(high, zero),
    };
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const __m256i products = _mm256_madd_epi16(x[j], ((const __m256i *)w)[j]);
        total[j] = _mm256_add_epi32(total[j], products);
        SP_PIN(total[j]);
    }
}

SP_INLINE void store(int32_t *sum, const __m256i *total)
{
    __m256i *to = (__m256i *)sum;
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(total[0], total[1], 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(total[2], total[3], 0x20));
    _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(total[0], total[1], 0x31));
    _mm256_storeu_si256(to + 3, _mm256_permute2x128_si256(total[2], total[3], 0x31));
}

/* `groups` is a constant where this is inlined, but for uncommon windows. */
SP_INLINE void chunk(const struct sp_depthwise_run *run, int groups, int first, const int16_t *w)
{
    for (int i = 0; i < run->pixels; i++) {
        const size_t at = (size_t)i * run->step + (size_t)first;
        __m256i total[VECTORS];
        SP_UNROLL for (int j = 0; j < VECTORS; j++) total[j] = _mm256_setzero_si256();
        for (int g = 0; g < groups; g++)
            add_taps(total, run->tap + 2 * g, at, w + 2 * CHANNELS * g);
        store(run->sum + (size_t)i * (size_t)run->channels + first, total);
    }
}

sp_depthwise_s8_fn sp_depthwise_s8_32_avx2;

void sp_depthwise_s8_32_avx2(const struct sp_depthwise_run *run)
{
    const int16_t *w = run->weights;
    for (int c = 0, n = 0; c < run->channels; c += CHANNELS, n++) {
        const int first = sp_chunk_start(n, CHANNELS, run->channels);
        if (run->groups == 5) /* 3x3 */
            chunk(run, 5, first, w);
        else
            chunk(run, run->groups, first, w);
        w += run->groups * 2 * CHANNELS;
    }
}

/* ---- 16 channels, or fewer in all ---- */

enum { FEW = 16 };

SP_INLINE __m128i load_some(const uint8_t *x, int count)
{
    if (count == FEW)
        return _mm_loadu_si128((const __m128i *)x);
    uint8_t some[FEW] = {0};
    sp_copy_short(some, x, count);
    return _mm_loadu_si128((const __m128i *)some);
}

SP_INLINE void store_some(int32_t *sum, __m256i low, __m256i high, int count)
{
    int32_t some[FEW];
    int32_t *to = count == FEW ? sum : some;
    _mm256_storeu_si256((__m256i *)to, low);
    _mm256_storeu_si256((__m256i *)(to + 8), high);
    if (count != FEW)
        memcpy(sum, some, (size_t)count * sizeof *sum);
}

SP_INLINE void small_chunk(const struct sp_depthwise_run *run, int first, int count,
                           const int16_t *w)
{
    for (int i = 0; i < run->pixels; i++) {
        const size_t at = (size_t)i * run->step + (size_t)first;
        __m256i low = _mm256_setzero_si256(), high = low; /* channels 0-7, 8-15 */
        for (int g = 0; g < run->groups; g++) {
            const __m256i *weights = (const __m256i *)(w + (size_t)g * 2 * FEW);
            const __m128i a = load_some(run->tap[2 * g] + at, count);
            const __m128i b = load_some(run->tap[2 * g + 1] + at, count);
            const __m256i x0 = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            const __m256i x1 = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(x0, weights[0]));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(x1, weights[1]));
        }
        store_some(run->sum + (size_t)i * (size_t)run->channels + first, low, high, count);
    }
}

sp_depthwise_s8_fn sp_depthwise_s8_16_avx2;

void sp_depthwise_s8_16_avx2(const struct sp_depthwise_run *run)
{
    const int16_t *w = run->weights;
    if (run->channels < FEW) {
        small_chunk(run, 0, run->channels, w);
        return;
    }
    for (int c = 0, n = 0; c < run->channels; c += FEW, n++) {
        small_chunk(run, sp_chunk_start(n, FEW, run->channels), FEW, w);
        w += run->groups * 2 * FEW;
    }
}

SP_TARGET_END
#endif
