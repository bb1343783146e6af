/* What is asked of every weight before a kernel is chosen for it, counted in one pass. */
#include <string.h>

#include "target.h"

enum { PART = 1 << 15 }; /* weights whose sums surely fit int32 */

struct counts {
    int64_t sum, positive, nonzeros, blocks;
};

SP_INLINE void add_sums(const int8_t *w, int64_t count, struct counts *c)
{
    for (int64_t start = 0; start < count; start += PART) {
        const int8_t *part = w + start;
        const int length = (int)SP_MIN(count - start, PART);
        int32_t sum = 0, positive = 0, zeros = 0;
        for (int i = 0; i < length; i++) {
            sum += part[i];
            positive += SP_MAX(part[i], 0);
            zeros += part[i] == 0;
        }
        c->sum += sum;
        c->positive += positive;
        c->nonzeros += length - zeros;
    }
}

/* Blocks of four neighbouring channels, `taps` for each four. */
SP_INLINE void add_blocks(const int8_t *w, int channels, int taps, struct counts *c)
{
    int64_t blocks = 0;
    if (taps == 1) {
        for (int i = 0; i < channels; i += 4) {
            uint32_t block;
            memcpy(&block, w + i, sizeof block);
            blocks += block != 0;
        }
    } else {
        for (int i = 0; i < channels; i += 4, w += 4 * (size_t)taps)
            for (int tap = 0; tap < taps; tap++)
                blocks += (w[tap] | w[taps + tap] | w[2 * taps + tap] | w[3 * taps + tap]) != 0;
    }
    c->blocks += blocks;
}

SP_INLINE struct counts count_row(const int8_t *w, int channels, int taps)
{
    struct counts c = {0, 0, 0, 0};
    add_sums(w, (int64_t)channels * taps, &c);
    if (channels % 4 == 0)
        add_blocks(w, channels, taps, &c);
    return c;
}

static struct counts count_row_portable(const int8_t *w, int channels, int taps)
{
    return count_row(w, channels, taps);
}

#ifdef SP_X86
SP_TARGET_AVX2

/* Sums of bytes, as vpsadbw gives them, 0 to 255 each. */
SP_INLINE int64_t total(__m256i sums)
{
    const __m128i half =
        _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return _mm_cvtsi128_si64(half) + _mm_extract_epi64(half, 1);
}

struct sums_avx2 {
    __m256i shifted, positive, zeros, zero_words;
};

SP_INLINE void add_vector(__m256i w, struct sums_avx2 *s)
{
    const __m256i none = _mm256_setzero_si256(), sign = _mm256_set1_epi8(-128);
    const __m256i zero = _mm256_and_si256(_mm256_cmpeq_epi8(w, none), _mm256_set1_epi8(1));
    s->shifted = _mm256_add_epi64(s->shifted, _mm256_sad_epu8(_mm256_xor_si256(w, sign), none));
    s->positive = _mm256_add_epi64(s->positive, _mm256_sad_epu8(_mm256_max_epi8(w, none), none));
    s->zeros = _mm256_add_epi64(s->zeros, _mm256_sad_epu8(zero, none));
    s->zero_words = _mm256_sub_epi32(s->zero_words, _mm256_cmpeq_epi32(w, none));
}

/* The last weights of a row, fewer than a vector, among zeros. */
SP_INLINE __m256i load_rest(const int8_t *w, int64_t count)
{
    static const int8_t kept[64] = {[32] = -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                    -1,        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                    -1,        -1, -1, -1, -1, -1, -1, -1, -1, -1};
    const int64_t rest = count % 32;
    if (count < 32) {
        int8_t padded[32] = {0};
        memcpy(padded, w, (size_t)rest);
        return _mm256_loadu_si256((const __m256i *)padded);
    }
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(w + count - 32)),
                            _mm256_loadu_si256((const __m256i *)(kept + rest)));
}

/* blocks: of four neighbouring weights. */
static struct counts count_vectors(const int8_t *w, int64_t count)
{
    const __m256i none = _mm256_setzero_si256();
    struct sums_avx2 s = {none, none, none, none};
    for (int64_t i = 0; i + 32 <= count; i += 32)
        add_vector(_mm256_loadu_si256((const __m256i *)(w + i)), &s);
    if (count % 32)
        add_vector(load_rest(w, count), &s);
    const int64_t padded = SP_ROUND_UP(count, 32);
    const __m256i low = _mm256_and_si256(s.zero_words, _mm256_set1_epi64x(0xffffffff));
    const __m256i zero_words = _mm256_add_epi64(low, _mm256_srli_epi64(s.zero_words, 32));
    return (struct counts){total(s.shifted) - 128 * padded, total(s.positive),
                           padded - total(s.zeros), padded / 4 - total(zero_words)};
}

enum { FEW_TAPS = 16 }; /* that one vector holds */

/* As add_blocks, for a few taps: the four channels of each block are loaded side by side. */
static void add_blocks_avx2(const int8_t *w, int channels, int taps, struct counts *c)
{
    const unsigned own = (1u << taps) - 1;
    int channel = 0;
    for (; channel + 8 <= channels && 4 * taps >= FEW_TAPS; channel += 4, w += 4 * taps) {
        __m128i any = _mm_setzero_si128();
        for (int i = 0; i < 4; i++)
            any = _mm_or_si128(any, _mm_loadu_si128((const __m128i *)(w + i * taps)));
        const int zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128()));
        c->blocks += __builtin_popcount(~(unsigned)zeros & own);
    }
    add_blocks(w, channels - channel, taps, c);
}

static struct counts count_row_avx2(const int8_t *w, int channels, int taps)
{
    struct counts c = count_vectors(w, (int64_t)channels * taps);
    if (taps == 1 && channels % 4 == 0)
        return c;
    c.blocks = 0;
    if (channels % 4 == 0 && taps <= FEW_TAPS)
        add_blocks_avx2(w, channels, taps, &c);
    else if (channels % 4 == 0)
        add_blocks(w, channels, taps, &c);
    return c;
}
SP_TARGET_END
#endif

void sp_count_weights(const int8_t *w, int rows, int channels, int taps, int64_t *sum,
                      int64_t *positive, sp_weight_totals *totals)
{
    struct counts (*count)(const int8_t *, int, int) = count_row_portable;
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX2))
        count = count_row_avx2;
#endif
    *totals = (sp_weight_totals){0, 0, 0, 0};
    for (int row = 0; row < rows; row++) {
        const struct counts c =
            count(w + (size_t)row * (size_t)channels * (size_t)taps, channels, taps);
        sum[row] = c.sum;
        positive[row] = c.positive;
        totals->nonzeros += c.nonzeros;
        totals->blocks += c.blocks;
        totals->most = SP_MAX(totals->most, c.positive);
        totals->least = SP_MIN(totals->least, c.sum - c.positive);
    }
}
