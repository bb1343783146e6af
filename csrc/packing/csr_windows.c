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
    LARGEST = 256, /* sum of two weights of one sign */
    SAMPLE = 64    /* segments by which the size of windows is chosen */
};

/* What a segment needs for its items, at most `capacity` of them. */
struct memory {
    int32_t *order; /* items by falling size                          */
    int32_t *sums;  /* [kinds][capacity], that no window may add beyond the limit */
    int32_t *total; /* of one kind, for each window                   */
    size_t capacity;
};

static struct memory divide_memory(int32_t *scratch, size_t capacity)
{
    return (struct memory){scratch, scratch + 2 * capacity, scratch + capacity, capacity};
}

/* order: the numbers of `count` items, largest first, equal ones as they come. */
static void sort_falling(const int32_t *item, const int32_t *size, int count, int32_t *order)
{
    int start[LARGEST + 2] = {0};
    for (int i = 0; i < count; i++)
        start[LARGEST - size[i] + 1]++;
    for (int i = 0; i < LARGEST; i++)
        start[i + 1] += start[i];
    for (int i = 0; i < count; i++)
        order[start[LARGEST - size[i]]++] = item ? item[i] : i;
}

/* ---- pairs ---- */

/* Joins the largest with the smallest while their sum is within the limit. rest: by falling size;
 * pairs: the first free one. Returns the pairs there are then. */
static int pair_same_sign(const int8_t *value, const int32_t *rest, int count, int limit, int pairs,
                          int64_t *slot)
{
    int first = 0, last = count - 1;
    for (; first <= last; first++, pairs++) {
        slot[rest[first]] = 2 * pairs;
        const int sum = SP_MAX(value[rest[first]], -value[rest[first]]) +
                        SP_MAX(value[rest[last]], -value[rest[last]]);
        if (first < last && sum <= limit)
            slot[rest[last--]] = 2 * pairs + 1;
    }
    return pairs;
}

/* The slot of each of a segment's values, 2 * pair + place in it. Returns the number of pairs. */
static int find_pairs(const int8_t *value, int count, int limit, struct memory m, int64_t *slot)
{
    int number[2] = {0, 0}; /* of positive and of negative values */
    for (int i = 0; i < count; i++)
        number[value[i] < 0]++;
    const int sign = number[1] > number[0], opposite = number[!sign];
    int32_t *item = m.sums, *size = m.total;
    for (int i = 0, at = 0; i < count; i++) { /* no branch: signs come at random */
        item[at] = i;
        size[at] = SP_MAX(value[i], -value[i]);
        at += (value[i] < 0) == sign;
    }
    sort_falling(item, size, number[sign], m.order);
    /* the smallest ones of the larger group are left over: these can be joined most easily */
    const int32_t *rest = m.order + opposite;
    const int left = number[sign] - opposite;
    for (int i = 0; i < count; i++)
        slot[i] = 0;
    for (int i = 0; i < left; i++)
        slot[rest[i]] = -1;
    int next[2] = {0, 0};
    for (int i = 0; i < count; i++)
        if (slot[i] == 0)
            slot[i] = 2 * next[value[i] < 0]++ + (value[i] < 0);
    return pair_same_sign(value, rest, left, limit, opposite, slot);
}

static void sum_pairs(const int8_t *value, int count, const int64_t *slot, int pairs,
                      struct memory m)
{
    int32_t *positive = m.sums, *negative = m.sums + m.capacity;
    memset(positive, 0, (size_t)pairs * sizeof *positive);
    memset(negative, 0, (size_t)pairs * sizeof *negative);
    for (int i = 0; i < count; i++) {
        positive[slot[i] / 2] += SP_MAX(value[i], 0);
        negative[slot[i] / 2] += SP_MAX(-value[i], 0);
    }
}

/* ---- windows ---- */

/* Orders items by what they add to any sum at most. */
static void order_items(int count, int kinds, struct memory m)
{
    for (int i = 0; i < count; i++) {
        int32_t largest = 0;
        for (int kind = 0; kind < kinds; kind++)
            largest = SP_MAX(largest, m.sums[(size_t)kind * m.capacity + (size_t)i]);
        m.total[i] = largest;
    }
    sort_falling(NULL, m.total, count, m.order);
}

/* Items are dealt to windows by falling size, back and forth, so that sums come out alike. */
static int fits(int count, int kinds, int windows, int limit, struct memory m)
{
    for (int kind = 0; kind < kinds; kind++) {
        const int32_t *sum = m.sums + (size_t)kind * m.capacity;
        memset(m.total, 0, (size_t)windows * sizeof *m.total);
        for (int rank = 0; rank < count;)
            for (int forth = 0; forth < 2; forth++)
                for (int i = 0; i < windows && rank < count; i++, rank++) {
                    int32_t *total = &m.total[forth ? windows - 1 - i : i];
                    *total += sum[m.order[rank]];
                    if (*total > limit)
                        return 0;
                }
    }
    return 1;
}

/* So many windows of up to `size` items as keep within the limit. */
static int count_windows(int count, int kinds, int size, int limit, struct memory m)
{
    int64_t least = (count + size - 1) / size;
    for (int kind = 0; kind < kinds; kind++) {
        int64_t sum = 0;
        for (int i = 0; i < count; i++)
            sum += m.sums[(size_t)kind * m.capacity + (size_t)i];
        least = SP_MAX(least, (sum + limit - 1) / limit);
    }
    int windows = (int)SP_MIN(least, count);
    while (windows < count && !fits(count, kinds, windows, limit, m))
        windows = SP_MIN(count, windows + windows / 16 + 1);
    return windows;
}

/* place: of each item, size * window + place in it. */
static void place_items(int count, int size, int windows, struct memory m, int64_t *place)
{
    for (int turn = 0, rank = 0; rank < count; turn++)
        for (int i = 0; i < windows && rank < count; i++, rank++)
            place[m.order[rank]] = (int64_t)(turn % 2 ? windows - 1 - i : i) * size + turn;
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
static int sample_step(int segments) { return SP_MAX(segments / SAMPLE, 1); }

/* Adds to how many windows of each size there would be. */
static void count_sizes(int count, int kinds, int limit, unsigned sizes, struct memory m,
                        int64_t *windows)
{
    windows[1] += count;
    for (int size = 2; size <= SP_CSR_LARGEST_WINDOW; size++)
        if (sizes >> size & 1)
            windows[size] += count_windows(count, kinds, size, limit, m);
}

int sp_pair_up(const int8_t *value, const int64_t *count, int segments, int limit,
               sp_window_costs costs, int32_t *scratch, int64_t capacity, int64_t *slot,
               int64_t *steps)
{
    struct memory m = divide_memory(scratch, (size_t)capacity);
    int64_t windows[SP_CSR_LARGEST_WINDOW + 1] = {0}, at = 0;
    for (int i = 0; i < segments; at += count[i++])
        if (i % sample_step(segments) == 0) {
            const int n = (int)count[i], pairs = find_pairs(value + at, n, limit, m, slot + at);
            sum_pairs(value + at, n, slot + at, pairs, m);
            order_items(pairs, 2, m);
            count_sizes(pairs, 2, limit, costs.sizes, m, windows);
        }
    const int size = cheapest(windows, costs);
    int64_t *place = (int64_t *)(scratch + 4 * capacity);
    at = 0;
    for (int i = 0; i < segments; at += count[i++]) {
        const int n = (int)count[i], pairs = find_pairs(value + at, n, limit, m, slot + at);
        steps[i] = pairs;
        if (size == 1)
            continue;
        sum_pairs(value + at, n, slot + at, pairs, m);
        order_items(pairs, 2, m);
        const int made = count_windows(pairs, 2, size, limit, m);
        place_items(pairs, size, made, m, place);
        for (int64_t j = at; j < at + n; j++)
            slot[j] = 2 * place[slot[j] / 2] + slot[j] % 2;
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
                     sp_window_costs costs, int32_t *scratch, int64_t capacity, int64_t *place,
                     int64_t *steps)
{
    struct memory m = divide_memory(scratch, (size_t)capacity);
    int64_t windows[SP_CSR_LARGEST_WINDOW + 1] = {0}, at = 0;
    for (int i = 0; i < segments; at += count[i++])
        if (i % sample_step(segments) == 0) {
            sum_blocks(block + 4 * at, (int)count[i], m);
            order_items((int)count[i], 4, m);
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
        order_items(n, 4, m);
        const int made = count_windows(n, 4, size, limit, m);
        place_items(n, size, made, m, place + at);
        steps[i] = (int64_t)made * size;
    }
    return size;
}
