/* What is asked of every weight before a kernel is chosen for it, counted in one pass. */
#include "internal.h"

#include <string.h>

enum { PART = 1 << 15 }; /* weights whose sums surely fit int32 */

static void sum_row(const int8_t *w, int64_t count, int64_t *sum, int64_t *positive,
                    int64_t *nonzeros)
{
    *sum = *positive = 0;
    for (int64_t start = 0; start < count; start += PART) {
        const int8_t *part = w + start;
        const int length = (int)SP_MIN(count - start, PART);
        int32_t all = 0, above = 0, zeros = 0;
        for (int i = 0; i < length; i++) {
            all += part[i];
            above += SP_MAX(part[i], 0);
            zeros += part[i] == 0;
        }
        *sum += all;
        *positive += above;
        *nonzeros += length - zeros;
    }
}

/* Four neighbouring channels of a row: `taps` blocks. */
static int count_blocks(const int8_t *w, int taps)
{
    int count = 0;
    for (int i = 0; i < taps; i++)
        count += (w[i] | w[taps + i] | w[2 * taps + i] | w[3 * taps + i]) != 0;
    return count;
}

static int64_t count_row_blocks(const int8_t *w, int channels, int taps)
{
    int64_t count = 0;
    if (taps > 1) {
        for (int c = 0; c < channels; c += 4)
            count += count_blocks(w + (size_t)c * (size_t)taps, taps);
        return count;
    }
    for (int c = 0; c < channels; c += 4) {
        uint32_t block;
        memcpy(&block, w + c, sizeof block);
        count += block != 0;
    }
    return count;
}

void sp_count_weights(const int8_t *w, int rows, int channels, int taps, int64_t *sum,
                      int64_t *positive, int64_t *nonzeros, int64_t *blocks)
{
    const int64_t length = (int64_t)channels * taps;
    *nonzeros = *blocks = 0;
    for (int row = 0; row < rows; row++, w += length) {
        sum_row(w, length, &sum[row], &positive[row], nonzeros);
        if (channels % 4 == 0)
            *blocks += count_row_blocks(w, channels, taps);
    }
}
