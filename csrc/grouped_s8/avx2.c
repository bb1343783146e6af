/* AVX2 grouped micro-kernel: vpmaddwd of 16 widened inputs; sums of neighbouring lanes at the end.
 * Exact for uint8 activations and int16 weights. */
#include "grouped_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { MOST_SUMS = 8 /* vectors of sums that stay in registers */ };

SP_INLINE __m256i load_inputs(const uint8_t *x)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)x));
}

/* pixels * columns sums; columns: outputs of each group, from the one that w begins with. */
SP_INLINE void add_taps(const uint8_t *const *tap, int taps, size_t first, int pixels, int width,
                        int columns, const int16_t *w, __m256i *sum)
{
    SP_UNROLL for (int i = 0; i < pixels * columns; i++) sum[i] = _mm256_setzero_si256();
    for (int t = 0; t < taps; t++, w += width * SP_GROUPED_CHANNELS) {
        __m256i x[2];
        SP_UNROLL for (int i = 0; i < pixels; i++) x[i] = load_inputs(tap[i * taps + t] + first);
        SP_UNROLL for (int j = 0; j < columns; j++)
        {
            const __m256i weight =
                _mm256_load_si256((const __m256i *)(w + j * SP_GROUPED_CHANNELS));
            SP_UNROLL for (int i = 0; i < pixels; i++)
            {
                const __m256i product = _mm256_madd_epi16(x[i], weight);
                sum[i * columns + j] = _mm256_add_epi32(sum[i * columns + j], product);
            }
        }
    }
}

/* Four vectors, of two lanes a group: [group][column]. */
SP_INLINE void store_groups_of_4(const __m256i *s, int32_t *y)
{
    const __m256 a = _mm256_castsi256_ps(_mm256_hadd_epi32(s[0], s[1]));
    const __m256 b = _mm256_castsi256_ps(_mm256_hadd_epi32(s[2], s[3]));
    const __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)); /* groups 0, 2 */
    const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD));  /* groups 1, 3 */
    _mm256_storeu_si256((__m256i *)y, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(y + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}

/* Four columns of one vector each, their lanes added within 128 bits: [half][column]. */
SP_INLINE __m256i add_lanes(const __m256i *s)
{
    return _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
}

static void groups_of_4(const uint8_t *const *tap, int taps, size_t first, int pixels,
                        const int16_t *w, int32_t *sum)
{
    __m256i s[MOST_SUMS];
    int i = 0;
    for (; i + 2 <= pixels; i += 2) {
        add_taps(tap + (size_t)i * (size_t)taps, taps, first, 2, 4, 4, w, s);
        store_groups_of_4(s, sum + i * SP_GROUPED_CHANNELS);
        store_groups_of_4(s + 4, sum + (i + 1) * SP_GROUPED_CHANNELS);
    }
    if (i < pixels) {
        add_taps(tap + (size_t)i * (size_t)taps, taps, first, 1, 4, 4, w, s);
        store_groups_of_4(s, sum + i * SP_GROUPED_CHANNELS);
    }
}

static void groups_of_8(const uint8_t *const *tap, int taps, size_t first, int pixels,
                        const int16_t *w, int32_t *sum)
{
    for (int i = 0; i < pixels; i++, sum += SP_GROUPED_CHANNELS) {
        __m256i s[MOST_SUMS];
        add_taps(tap + (size_t)i * (size_t)taps, taps, first, 1, 8, 8, w, s);
        const __m256i low = add_lanes(s), high = add_lanes(s + 4); /* a half is a group */
        _mm256_storeu_si256((__m256i *)sum, _mm256_permute2x128_si256(low, high, 0x20));
        _mm256_storeu_si256((__m256i *)(sum + 8), _mm256_permute2x128_si256(low, high, 0x31));
    }
}

static void group_of_16(const uint8_t *const *tap, int taps, size_t first, int pixels,
                        const int16_t *w, int32_t *sum)
{
    for (int i = 0; i < pixels; i++, sum += SP_GROUPED_CHANNELS)
        for (int j = 0; j < 16; j += MOST_SUMS) {
            __m256i s[MOST_SUMS];
            add_taps(tap + (size_t)i * (size_t)taps, taps, first, 1, 16, MOST_SUMS,
                     w + j * SP_GROUPED_CHANNELS, s);
            const __m256i a = add_lanes(s), b = add_lanes(s + 4);
            const __m256i low = _mm256_permute2x128_si256(a, b, 0x20);
            const __m256i high = _mm256_permute2x128_si256(a, b, 0x31);
            _mm256_storeu_si256((__m256i *)(sum + j), _mm256_add_epi32(low, high));
        }
}

sp_grouped_s8_fn sp_grouped_s8_16_avx2;

void sp_grouped_s8_16_avx2(const uint8_t *const *tap, int taps, size_t first, int pixels, int width,
                           const int16_t *weights, int32_t *sum)
{
    if (width == 4)
        groups_of_4(tap, taps, first, pixels, weights, sum);
    else if (width == 8)
        groups_of_8(tap, taps, first, pixels, weights, sum);
    else
        group_of_16(tap, taps, first, pixels, weights, sum);
}

SP_TARGET_END
#endif
