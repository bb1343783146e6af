/* Joins the non-zeros of sparse rows to pairs, and pairs or blocks to windows, whose sums int16
 * provably holds.
 *
 * vpmaddubsw computes a * x + b * y in int16 and saturates; a window of pairs is then added in
 * int16. With activations in [0, x_max] nothing can leave int16 where the sum of a window's
 * positive weights, and of its negative ones, is at most `limit`, 32767 / x_max: a pair is a window
 * of one. A positive weight with a negative one always fits, so these are joined first. A 1x4 block
 * is two pairs, each with int16 sums of its own. */
#include <string.h>

#include "internal.h"

enum {
    LARGEST_WEIGHT = 128,
    LARGEST = 2 * LARGEST_WEIGHT, /* sum of two weights of one sign */
    SAMPLE = 64                   /* segments by which the size of windows is chosen */
};

/* What a segment needs for its items, at most `capacity` of them. */
struct memory {
    int32_t *order;  /* items by falling size                          */
    int32_t *total;  /* of one kind, for each window; or each item's size */
    int32_t *sums;   /* [kinds][capacity], that no window may add beyond the limit */
    int32_t *sorted; /* the same, in `order` */
    size_t capacity;
};

static struct memory divide_memory(int32_t *scratch, size_t capacity)
{
    return (struct memory){scratch, scratch + capacity, scratch + 2 * capacity,
                           scratch + 6 * capacity, capacity};
}

/* order: the numbers of `count` items, largest first, equal ones as they come. */
static void sort_falling(const int32_t *size, int count, int32_t *order)
{
    int start[LARGEST + 2];
    int32_t largest = 0;
    for (int i = 0; i < count; i++)
        largest = SP_MAX(largest, size[i]);
    memset(start, 0, (size_t)(largest + 2) * sizeof *start);
    for (int i = 0; i < count; i++)
        start[largest - size[i] + 1]++;
    for (int i = 0; i < largest; i++)
        start[i + 1] += start[i];
    for (int i = 0; i < count; i++)
        order[start[largest - size[i]]++] = i;
}

/* ---- pairs ---- */

static int size_of(int value) { return SP_MAX(value, -value); }

/* Joins the largest with the smallest while their sum is within the limit. rest: of one sign, by
 * falling size; pairs: the first free one; sum: of each pair. Returns the pairs there are then. */
static int pair_same_sign(const int8_t *value, const int32_t *rest, int count, int limit, int pairs,
                          int32_t *sum, int32_t *slot)
{
    int first = 0, last = count - 1;
    for (; first <= last; first++, pairs++) {
        slot[rest[first]] = 2 * pairs;
        sum[pairs] = size_of(value[rest[first]]);
        const int both = sum[pairs] + size_of(value[rest[last]]);
        if (first < last && both <= limit) {
            slot[rest[last--]] = 2 * pairs + 1;
            sum[pairs] = both;
        }
    }
    return pairs;
}

/* Which values no value of the other sign is left for. */
struct left_over {
    int sign, count;               /* sign: 1 where they are negative */
    int largest;                   /* some of this size are left over, and all smaller ones */
    int start[LARGEST_WEIGHT + 1]; /* rank of each size's first value, the largest left over being
                                    * 0; those before it are not left over */
};

/* The smallest ones of the larger group: these can be joined most easily. */
static void find_left_over(const int8_t *value, int count, struct left_over *left)
{
    int32_t times[256] = {0}, negative = 0; /* that each byte is there */
    for (int i = 0; i < count; i++)
        times[(uint8_t)value[i]]++;
    for (int byte = 128; byte < 256; byte++)
        negative += times[byte];
    left->sign = 2 * negative > count;
    left->count = left->sign ? 2 * negative - count : count - 2 * negative;
    left->largest = 0;
    for (int before = left->count; before > 0;) {
        const int size = ++left->largest;
        before -= times[(uint8_t)(left->sign ? -size : size)];
        left->start[size] = before;
    }
}

/* The slot of each of a segment's values, 2 * pair + place in it, and each pair's sums of either
 * sign. Returns the number of pairs. */
static int find_pairs(const int8_t *value, int count, int limit, struct memory m, int32_t *slot)
{
    struct left_over left;
    find_left_over(value, count, &left);
    int negatives = 0, positives = 0;
    for (int i = 0; i < count; i++) {
        const int negative = value[i] < 0, own = left.sign ? -value[i] : value[i];
        if ((unsigned)own - 1 < (unsigned)left.largest) {
            const int rank = left.start[own]++;
            if (rank >= 0) {
                m.order[rank] = i;
                continue;
            }
        }
        /* no branch: signs come at random */
        const int pair = positives + (negatives - positives) * negative;
        m.sums[m.capacity * (size_t)negative + (size_t)pair] = size_of(value[i]);
        slot[i] = 2 * pair + negative;
        negatives += negative;
        positives += !negative;
    }
    int32_t *sum = m.sums + (left.sign ? m.capacity : 0);
    int32_t *none = m.sums + (left.sign ? 0 : m.capacity);
    const int pairs = pair_same_sign(value, m.order, left.count, limit, negatives, sum, slot);
    memset(none + negatives, 0, (size_t)(pairs - negatives) * sizeof *none);
    return pairs;
}

/* The sums that find_pairs() leaves, from the slots that it found. */
static void sum_pairs(const int8_t *value, const int32_t *slot, int count, int pairs,
                      struct memory m)
{
    for (int negative = 0; negative < 2; negative++)
        memset(m.sums + m.capacity * (size_t)negative, 0, (size_t)pairs * sizeof *m.sums);
    for (int i = 0; i < count; i++) {
        const size_t negative = value[i] < 0;
        m.sums[m.capacity * negative + (size_t)(slot[i] >> 1)] += size_of(value[i]);
    }
}

/* ---- windows ---- */

/* Orders items by what they add to any sum at most. Returns the largest sum of all of them. */
SP_INLINE int64_t order_items(int count, int kinds, struct memory m)
{
    for (int i = 0; i < count; i++) {
        int32_t largest = 0;
        for (int kind = 0; kind < kinds; kind++)
            largest = SP_MAX(largest, m.sums[(size_t)kind * m.capacity + (size_t)i]);
        m.total[i] = largest;
    }
    sort_falling(m.total, count, m.order);
    int64_t most = 0;
    for (int kind = 0; kind < kinds; kind++) {
        const int32_t *sums = m.sums + (size_t)kind * m.capacity;
        int32_t *sorted = m.sorted + (size_t)kind * m.capacity;
        int64_t sum = 0;
        for (int rank = 0; rank < count; rank++) {
            sorted[rank] = sums[m.order[rank]];
            sum += sorted[rank];
        }
        most = SP_MAX(most, sum);
    }
    return most;
}

/* Items are dealt to windows by falling size, back and forth, so that sums come out alike. */
static int fits(int count, int kinds, int windows, int limit, struct memory m)
{
    for (int kind = 0; kind < kinds; kind++) {
        const int32_t *sorted = m.sorted + (size_t)kind * m.capacity;
        int32_t largest = 0;
        memset(m.total, 0, (size_t)windows * sizeof *m.total);
        for (int rank = 0, back = 0; rank < count; rank += windows, back = !back) {
            const int n = SP_MIN(windows, count - rank);
            int32_t *total = back ? m.total + windows - n : m.total;
            for (int i = 0; i < n; i++)
                total[i] += sorted[back ? rank + n - 1 - i : rank + i];
        }
        for (int i = 0; i < windows; i++)
            largest = SP_MAX(largest, m.total[i]);
        if (largest > limit)
            return 0;
    }
    return 1;
}

/* So many windows of up to `size` items as keep within the limit. most: largest sum of all items.
 */
static int count_windows(int count, int kinds, int64_t most, int size, int limit, struct memory m)
{
    const int64_t least = SP_MAX((count + size - 1) / size, (most + limit - 1) / limit);
    int windows = (int)SP_MIN(least, count);
    while (windows < count && !fits(count, kinds, windows, limit, m))
        windows = SP_MIN(count, windows + windows / 16 + 1);
    return windows;
}

/* place: of each item, size * window + place in it. */
static void place_items(int count, int size, int windows, struct memory m, int32_t *place)
{
    for (int turn = 0, rank = 0; rank < count; turn++)
        for (int i = 0; i < windows && rank < count; i++, rank++)
            place[m.order[rank]] = (turn % 2 ? windows - 1 - i : i) * size + turn;
}

/* The size with the least time, of all for which `windows` counts how many there are. */
static int cheapest(const int64_t *windows, sp_window_costs costs)
{
    int best = 1;
    for (int size = 2; size <= SP_CSR_LARGEST_WINDOW; size++)
        if (costs.sizes >> size & 1 && windows[size] * (size * costs.item + costs.window) <
                                           windows[best] * (best * costs.item + costs.window))
            best = size;
    return best;
}

/* Some segments tell which size serves best: every so many-th one. */
static int in_sample(int segment, int segments)
{
    return segment % SP_MAX(segments / SAMPLE, 1) == 0;
}

/* Adds to how many windows of each size there would be. */
SP_INLINE void count_sizes(int count, int kinds, int limit, unsigned sizes, struct memory m,
                           int64_t *windows)
{
    const int64_t most = order_items(count, kinds, m);
    windows[1] += count;
    for (int size = 2; size <= SP_CSR_LARGEST_WINDOW; size++)
        if (sizes >> size & 1)
            windows[size] += count_windows(count, kinds, most, size, limit, m);
}

int sp_pair_up(const int8_t *value, const int64_t *count, int segments, int limit,
               sp_window_costs costs, int32_t *scratch, int64_t capacity, int32_t *slot,
               int64_t *steps)
{
    struct memory m = divide_memory(scratch, (size_t)capacity);
    int64_t windows[SP_CSR_LARGEST_WINDOW + 1] = {0}, at = 0;
    for (int i = 0; i < segments; at += count[i++])
        if (in_sample(i, segments)) {
            const int pairs = find_pairs(value + at, (int)count[i], limit, m, slot + at);
            count_sizes(pairs, 2, limit, costs.sizes, m, windows);
            steps[i] = pairs;
        }
    const int size = cheapest(windows, costs);
    int32_t *place = m.sums + 2 * m.capacity; /* pairs have two kinds of four */
    at = 0;
    for (int i = 0; i < segments; at += count[i++]) {
        const int n = (int)count[i], known = in_sample(i, segments);
        const int pairs = known ? (int)steps[i] : find_pairs(value + at, n, limit, m, slot + at);
        steps[i] = pairs;
        if (size == 1)
            continue;
        if (known)
            sum_pairs(value + at, slot + at, n, pairs, m);
        const int64_t most = order_items(pairs, 2, m);
        const int made = count_windows(pairs, 2, most, size, limit, m);
        place_items(pairs, size, made, m, place);
        for (int64_t j = at; j < at + n; j++)
            slot[j] = 2 * place[slot[j] >> 1] + (slot[j] & 1);
        steps[i] = (int64_t)made * size;
    }
    return size;
}

/* ---- blocks ---- */

/* What of each block goes into one int16 sum: positive and negative weights of its two pairs. */
static void sum_blocks(const int8_t *block, int count, struct memory m)
{
    for (int i = 0; i < count; i++)
        for (int pair = 0; pair < 2; pair++) {
            const int a = block[4 * i + 2 * pair], b = block[4 * i + 2 * pair + 1];
            int32_t *sum = m.sums + (size_t)pair * 2 * m.capacity + (size_t)i;
            sum[0] = SP_MAX(a, 0) + SP_MAX(b, 0);
            sum[m.capacity] = SP_MAX(-a, 0) + SP_MAX(-b, 0);
        }
}

int sp_window_blocks(const int8_t *block, const int64_t *count, int segments, int limit,
                     sp_window_costs costs, int32_t *scratch, int64_t capacity, int32_t *place,
                     int64_t *steps)
{
    struct memory m = divide_memory(scratch, (size_t)capacity);
    int64_t windows[SP_CSR_LARGEST_WINDOW + 1] = {0}, at = 0;
    for (int i = 0; i < segments; at += count[i++])
        if (in_sample(i, segments)) {
            sum_blocks(block + 4 * at, (int)count[i], m);
            count_sizes((int)count[i], 4, limit, costs.sizes, m, windows);
        }
    const int size = cheapest(windows, costs);
    at = 0;
    for (int i = 0; i < segments; at += count[i++]) {
        const int n = (int)count[i];
        steps[i] = n;
        if (size == 1) {
            for (int j = 0; j < n; j++)
                place[at + j] = j;
            continue;
        }
        sum_blocks(block + 4 * at, n, m);
        const int64_t most = order_items(n, 4, m);
        const int made = count_windows(n, 4, most, size, limit, m);
        place_items(n, size, made, m, place + at);
        steps[i] = (int64_t)made * size;
    }
    return size;
}
