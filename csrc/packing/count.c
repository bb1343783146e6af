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
static struct counts count_row_avx2(const int8_t *w, int channels, int taps)
{
    return count_row(w, channels, taps);
}
SP_TARGET_END
#endif

void sp_count_weights(const int8_t *w, int rows, int channels, int taps, int64_t *sum,
                      int64_t *positive, int64_t *nonzeros, int64_t *blocks)
{
    struct counts (*count)(const int8_t *, int, int) = count_row_portable;
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX2))
        count = count_row_avx2;
#endif
    *nonzeros = *blocks = 0;
    for (int row = 0; row < rows; row++) {
        const struct counts c =
            count(w + (size_t)row * (size_t)channels * (size_t)taps, channels, taps);
        sum[row] = c.sum;
        positive[row] = c.positive;
        *nonzeros += c.nonzeros;
        *blocks += c.blocks;
    }
}
