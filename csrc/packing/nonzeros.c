/* Lists the non-zeros of sparse weights for csrc/conv_csr and csrc/conv_block, segment by segment:
 * those of a row within a block of input channels. */
#include <string.h>

#include "internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef struct {
    int32_t *offset;
    void *value;
    int64_t length, capacity;
} nonzero_list;

/* Bit i is set where byte i of eight is not zero. */
static uint64_t nonzero_bytes(const int8_t *w)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t x;
    memcpy(&x, w, sizeof x);
    x = (((x & low) + low) | x) & ~low;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return (x >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

static uint64_t find_bytes(const int8_t *w, int count)
{
    uint64_t found = 0;
    int i = 0;
#ifdef __SSE2__
    for (; i + 16 <= count; i += 16) {
        const __m128i part = _mm_loadu_si128((const __m128i *)(w + i));
        const int zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_setzero_si128()));
        found |= (uint64_t)(~zeros & 0xffff) << i;
    }
#endif
    for (; i + 8 <= count; i += 8)
        found |= nonzero_bytes(w + i) << i;
    for (; i < count; i++)
        found |= (uint64_t)(w[i] != 0) << i;
    return found;
}

static uint64_t find_floats(const float *w, int count)
{
    uint64_t found = 0;
    for (int i = 0; i < count; i++)
        found |= (uint64_t)(w[i] != 0) << i; /* NaN is not zero, -0.0 is */
    return found;
}

/* Appends the non-zeros among `count` weights; 0 where they exceed the list's capacity. lane: of
 * each weight; `add` is added to it. */
static int append(const int8_t *bytes, const float *floats, int64_t count, const int32_t *lane,
                  int64_t add, nonzero_list *list)
{
    int32_t *offset = list->offset; /* apart from the list, which stores of bytes might change */
    int8_t *small = bytes ? list->value : NULL;
    float *large = bytes ? NULL : list->value;
    int64_t to = list->length;
    const int64_t capacity = list->capacity;
    for (int64_t first = 0; first < count; first += 64) {
        const int part = (int)SP_MIN(count - first, 64);
        uint64_t found =
            bytes ? find_bytes(bytes + first, part) : find_floats(floats + first, part);
        if (capacity - to < 64 && to + __builtin_popcountll(found) > capacity)
            return 0;
        for (; found; found &= found - 1, to++) {
            const int64_t i = first + __builtin_ctzll(found);
            offset[to] = (int32_t)(lane[i] + add);
            if (bytes)
                small[to] = bytes[i];
            else
                large[to] = floats[i];
        }
    }
    list->length = to;
    return 1;
}

int64_t sp_list_nonzeros(const int8_t *bytes, const float *floats, const sp_sparse_source *s,
                         int64_t *count, int32_t *offset, void *value, int64_t capacity)
{
    const int groups = s->rows / SP_MAX(s->group_rows, 1);
    const int64_t inputs = (int64_t)groups * s->channels, length = (int64_t)s->channels * s->taps;
    nonzero_list list = {offset, value, 0, capacity};
    for (int64_t block = 0, first = 0; first < inputs; block++, first += s->block_channels) {
        const int64_t end = SP_MIN(first + s->block_channels, inputs);
        for (int row = 0; row < s->rows; row++) {
            const int group = row / s->group_rows;
            const int64_t before = (int64_t)group * s->channels, listed = list.length;
            const int64_t from = SP_MAX(first - before, 0) * s->taps;
            const int64_t to = SP_MIN(end - before, s->channels) * s->taps;
            const int64_t add = group * s->group_lanes - block * s->block_lanes;
            const int64_t at = row * length + from;
            if (to > from && !append(bytes ? bytes + at : NULL, floats ? floats + at : NULL,
                                     to - from, s->lane + from, add, &list))
                return -1;
            *count++ = list.length - listed;
        }
    }
    return list.length;
}

/* ---- blocks of four channels ---- */

/* Whether a pair of weights times x_max always fits int16. */
static int pair_fits(int a, int b, int x_max)
{
    const int positive = SP_MAX(a, 0) + SP_MAX(b, 0), negative = SP_MAX(-a, 0) + SP_MAX(-b, 0);
    return SP_MAX(positive, negative) * x_max <= INT16_MAX;
}

static int append_block(const int8_t *w, int32_t lane, nonzero_list *list)
{
    if (list->length == list->capacity)
        return 0;
    list->offset[list->length] = lane;
    memcpy((int8_t *)list->value + 4 * list->length++, w, 4);
    return 1;
}

/* The same, in two blocks with a weight of each pair where a pair does not fit. */
static int append_halves(const int8_t *w, int32_t lane, int x_max, nonzero_list *list)
{
    if (pair_fits(w[0], w[1], x_max) && pair_fits(w[2], w[3], x_max))
        return append_block(w, lane, list);
    const int8_t even[4] = {w[0], 0, w[2], 0}, odd[4] = {0, w[1], 0, w[3]};
    return append_block(even, lane, list) && append_block(odd, lane, list);
}

int64_t sp_list_blocks(const int8_t *w, const sp_sparse_source *s, int x_max, int64_t *count,
                       int32_t *offset, int8_t *value, int64_t capacity)
{
    nonzero_list list = {offset, value, 0, capacity};
    const int taps = s->taps;
    for (int row = 0; row < s->rows; row++) {
        const int64_t listed = list.length, add = row / s->group_rows * s->group_lanes;
        const int32_t *lane = s->lane;
        for (int channel = 0; channel < s->channels; channel += 4, w += 4 * taps)
            for (int tap = 0; tap < taps; tap++, lane++) {
                const int8_t block[4] = {w[tap], w[taps + tap], w[2 * taps + tap],
                                         w[3 * taps + tap]};
                if (block[0] | block[1] | block[2] | block[3])
                    if (!append_halves(block, (int32_t)(*lane + add), x_max, &list))
                        return -1;
            }
        *count++ = list.length - listed;
    }
    return list.length;
}
