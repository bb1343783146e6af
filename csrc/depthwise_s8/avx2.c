/* AVX2 depthwise micro-kernel: two taps of 16 channels are interleaved, widened to int16 and
 * multiplied by vpmaddwd. Exact for every uint8 activation and int16 weight. */
#include "depthwise_s8.h"
#include "gemm_s8/rows.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { CHANNELS = 16 };

SP_INLINE __m128i load_channels(const uint8_t *x, int count)
{
    if (count == CHANNELS)
        return _mm_loadu_si128((const __m128i *)x);
    uint8_t some[CHANNELS] = {0};
    sp_copy_short(some, x, count);
    return _mm_loadu_si128((const __m128i *)some);
}

SP_INLINE void store_channels(int32_t *sum, __m256i low, __m256i high, int count)
{
    if (count == CHANNELS) {
        _mm256_storeu_si256((__m256i *)sum, low);
        _mm256_storeu_si256((__m256i *)(sum + 8), high);
        return;
    }
    int32_t some[CHANNELS];
    _mm256_storeu_si256((__m256i *)some, low);
    _mm256_storeu_si256((__m256i *)(some + 8), high);
    memcpy(sum, some, (size_t)count * sizeof *sum);
}

SP_INLINE void chunk(const struct sp_depthwise_run *run, int first, int count, const int16_t *w)
{
    for (int i = 0; i < run->pixels; i++) {
        const size_t at = (size_t)i * run->step + (size_t)first;
        __m256i low = _mm256_setzero_si256(), high = low; /* channels 0-7, 8-15 */
        for (int g = 0; g < run->groups; g++) {
            const __m256i *weights = (const __m256i *)(w + (size_t)g * 2 * CHANNELS);
            const __m128i a = load_channels(run->tap[2 * g] + at, count);
            const __m128i b = load_channels(run->tap[2 * g + 1] + at, count);
            const __m256i x0 = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            const __m256i x1 = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(x0, weights[0]));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(x1, weights[1]));
        }
        store_channels(run->sum + (size_t)i * (size_t)run->channels + first, low, high, count);
    }
}

sp_depthwise_s8_fn sp_depthwise_s8_16_avx2;

void sp_depthwise_s8_16_avx2(const struct sp_depthwise_run *run)
{
    const int16_t *w = run->weights;
    if (run->channels < CHANNELS) {
        chunk(run, 0, run->channels, w);
        return;
    }
    for (int c = 0, n = 0; c < run->channels; c += CHANNELS, n++) {
        chunk(run, sp_chunk_start(n, CHANNELS, run->channels), CHANNELS, w);
        w += run->groups * 2 * CHANNELS;
    }
}

SP_TARGET_END
#endif
