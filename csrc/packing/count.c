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

static void add_sums_avx2(const int8_t *w, int64_t count, struct counts *c)
{
    const __m256i none = _mm256_setzero_si256(), sign = _mm256_set1_epi8(-128);
    const __m256i one = _mm256_set1_epi8(1);
    __m256i shifted = none, positive = none, zeros = none;
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(w + i));
        const __m256i zero = _mm256_and_si256(_mm256_cmpeq_epi8(x, none), one);
        shifted = _mm256_add_epi64(shifted, _mm256_sad_epu8(_mm256_xor_si256(x, sign), none));
        positive = _mm256_add_epi64(positive, _mm256_sad_epu8(_mm256_max_epi8(x, none), none));
        zeros = _mm256_add_epi64(zeros, _mm256_sad_epu8(zero, none));
    }
    c->sum += total(shifted) - 128 * i;
    c->positive += total(positive);
    c->nonzeros += i - total(zeros);
    add_sums(w + i, count - i, c);
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
    struct counts c = {0, 0, 0, 0};
    add_sums_avx2(w, (int64_t)channels * taps, &c);
    if (channels % 4 == 0 && taps > 1 && taps <= FEW_TAPS)
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
