/* Depthwise with vpdpbusd on 256-bit vectors: the bytes of four taps of 32 channels are
 * interleaved, and the instruction adds each channel's four products to its sum. Exact: it does not
 * saturate. For the instruction set of the file that includes this and defines add_products(sum, x,
 * w). */
#include "depthwise_s8.h"

enum { CHANNELS = 32, TAPS = 4, VECTORS = 4 };

SP_INLINE __m256i load(const uint8_t *x) { return _mm256_loadu_si256((const __m256i *)x); }

/* Interleaving works within 128-bit lanes: total[j] holds channels 4j ... 4j + 3 and 16 + 4j ...
 * 16 + 4j + 3, and the weights are packed in the same order. */
SP_INLINE void add_taps(__m256i *total, const uint8_t *const *tap, size_t at, const int8_t *w)
{
    const __m256i a = load(tap[0] + at), b = load(tap[1] + at);
    const __m256i c = load(tap[2] + at), d = load(tap[3] + at);
    const __m256i ab_low = _mm256_unpacklo_epi8(a, b), ab_high = _mm256_unpackhi_epi8(a, b);
    const __m256i cd_low = _mm256_unpacklo_epi8(c, d), cd_high = _mm256_unpackhi_epi8(c, d);
    const __m256i x[VECTORS] = {
        _mm256_unpacklo_epi16(ab_low, cd_low),
        _mm256_unpackhi_epi16(ab_low, cd_low),
        _mm256_unpacklo_epi16(ab_high, cd_high),
        _mm256_unpackhi_epi16(ab_high, cd_high),
    };
    SP_UNROLL for (int j = 0; j < VECTORS; j++) total[j] =
        add_products(total[j], x[j], ((const __m256i *)w)[j]);
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
SP_INLINE void chunk(const struct sp_depthwise_run *run, int groups, int first, const int8_t *w)
{
    for (int i = 0; i < run->pixels; i++) {
        const size_t at = (size_t)i * run->step + (size_t)first;
        __m256i total[VECTORS];
        SP_UNROLL for (int j = 0; j < VECTORS; j++) total[j] = _mm256_setzero_si256();
        for (int g = 0; g < groups; g++)
            add_taps(total, run->tap + TAPS * g, at, w + TAPS * CHANNELS * g);
        store(run->sum + (size_t)i * (size_t)run->channels + first, total);
    }
}

SP_INLINE void all_chunks(const struct sp_depthwise_run *run)
{
    const int8_t *w = run->weights;
    for (int c = 0, n = 0; c < run->channels; c += CHANNELS, n++) {
        const int first = sp_chunk_start(n, CHANNELS, run->channels);
        if (run->groups == 3) /* 3x3 */
            chunk(run, 3, first, w);
        else if (run->groups == 7) /* 5x5 */
            chunk(run, 7, first, w);
        else
            chunk(run, run->groups, first, w);
        w += run->groups * TAPS * CHANNELS;
    }
}
