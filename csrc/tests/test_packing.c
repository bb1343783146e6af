/* What is counted of weights and how they are ordered, against plain loops. */
#include <stdlib.h>
#include <string.h>

#include "checks.h"

/* w: [rows][channels][taps]. */
static void check_counts(const int8_t *w, int rows, int channels, int taps)
{
    const int length = channels * taps;
    int64_t *sum = allocate((size_t)rows * sizeof *sum);
    int64_t *positive = allocate((size_t)rows * sizeof *positive);
    int64_t nonzeros = 0, blocks = 0, wanted_nonzeros = 0, wanted_blocks = 0;
    sp_count_weights(w, rows, channels, taps, sum, positive, &nonzeros, &blocks);
    for (int row = 0; row < rows; row++) {
        int64_t all = 0, above = 0;
        for (int i = 0; i < length; i++) {
            const int value = w[row * length + i], first = i / taps % 4 == 0;
            all += value;
            above += SP_MAX(value, 0);
            wanted_nonzeros += value != 0;
            int any = 0;
            for (int j = 0; first && channels % 4 == 0 && j < 4; j++)
                any |= w[row * length + i + j * taps] != 0;
            wanted_blocks += any;
        }
        CHECK(sum[row] == all && positive[row] == above);
    }
    CHECK(nonzeros == wanted_nonzeros && blocks == wanted_blocks);
    free(sum), free(positive);
}

static void check_order(const int8_t *w, int rows, int channels, int taps)
{
    const int length = channels * taps;
    int8_t *ordered = allocate((size_t)(rows * length));
    sp_order_as_patches(w, rows, channels, taps, ordered);
    for (int i = 0; i < rows * length; i++)
        CHECK(ordered[i] == w[i / length * length + i % channels * taps + i % length / channels]);
    free(ordered);
}

/* Every item has a place of its own, and no window of items passes the limit. sums: [items][4]. */
static void check_windows(const int32_t (*sums)[4], const int64_t *place, int items, int64_t places,
                          int window, int limit)
{
    int32_t (*total)[4] = allocate((size_t)places * sizeof *total);
    int *taken = allocate((size_t)places * sizeof *taken);
    for (int i = 0; i < items; i++) {
        CHECK(place[i] >= 0 && place[i] < places && !taken[place[i]]++);
        for (int kind = 0; kind < 4; kind++) {
            int32_t *sum = &total[place[i] / window][kind];
            *sum += sums[i][kind];
            CHECK(*sum <= limit);
        }
    }
    free(total), free(taken);
}

/* One segment of `items` non-zeros, or of blocks [4]. */
static void check_csr(int items, int reach, int x_max, int blocks)
{
    static const sp_window_costs costs = {10, 4, 1 << 2 | 1 << 3 | 1 << 4};
    const int each = blocks ? 4 : 1, limit = 32767 / x_max;
    const int64_t count = items;
    int8_t *w = allocate((size_t)(items * each));
    int32_t (*sums)[4] = allocate((size_t)items * sizeof *sums);
    int64_t *place = allocate((size_t)items * sizeof *place), places = 0;
    int32_t *scratch = allocate((size_t)items * 6 * sizeof *scratch);
    for (int i = 0; i < items * each; i++) {
        w[i] = (int8_t)random_between(1, reach);
        w[i] = (int8_t)(random_between(0, 1) ? -w[i] : w[i]);
        sums[i / each][i % each / 2 * 2 + (w[i] < 0)] += SP_MAX(w[i], -w[i]);
    }
    const int window = (blocks ? sp_window_blocks : sp_pair_up)(w, &count, 1, limit, costs, scratch,
                                                                items, place, &places);
    check_windows((const int32_t (*)[4])sums, place, items, blocks ? places : 2 * places,
                  blocks ? window : 2 * window, limit);
    free(w), free(sums), free(place), free(scratch);
}

static void test_csr_windows(void)
{
    static const int sizes[] = {0, 1, 2, 7, 64, 500}, reaches[] = {3, 20, 63, 127};
    for (int i = 0; i < 6 * 4; i++) {
        begin_case("windows of %d weights up to %d", sizes[i / 4], reaches[i % 4]);
        for (int blocks = 0; blocks < 2; blocks++) {
            check_csr(sizes[i / 4], reaches[i % 4], 127, blocks);
            if (!blocks || reaches[i % 4] < 64) /* else a block may not fit alone */
                check_csr(sizes[i / 4], reaches[i % 4], 255, blocks);
        }
        end_case();
    }
}

/* Entries of k_group non-zeros of one row of slots: offsets, then the word of weights. */
static void test_csr_entries(int k_group)
{
    begin_case("sparse entries of %d", k_group);
    static const int64_t offset[] = {5, 9, 11}, slot[] = {1, 0, 2}, count[] = {3}, start[] = {1};
    static const int8_t bytes[] = {1, -2, 3};
    static const int32_t words[] = {1, -2, 3};
    int32_t *entries = allocate(4 * 5 * sizeof *entries);
    sp_fill_csr(offset, slot, k_group == 1 ? (const void *)words : bytes, count, start, 1, k_group,
                entries);
    for (int i = 0; i < 3; i++) {
        const int32_t *entry = entries + (1 + slot[i] / k_group) * (k_group + 1);
        int8_t word[4];
        memcpy(word, entry + k_group, sizeof word);
        CHECK(entry[slot[i] % k_group] == offset[i]);
        for (int at = (int)slot[i] % k_group; k_group > 1 && at < 4; at += k_group)
            CHECK(word[at] == bytes[i]);
        CHECK(k_group > 1 || entry[1] == words[i]);
    }
    free(entries);
    end_case();
}

void test_packing(void)
{
    test_csr_windows();
    for (int k_group = 1; k_group <= 4; k_group *= 2)
        test_csr_entries(k_group);
    static const int shapes[][3] = {{1, 1, 1},  {3, 4, 1},    {5, 64, 1}, {2, 7, 9},
                                    {4, 12, 9}, {3, 130, 25}, {2, 1, 49}, {1, 40000, 1}};
    for (int i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++) {
        const int rows = shapes[i][0], channels = shapes[i][1], taps = shapes[i][2];
        begin_case("packing, %d rows of %d x %d", rows, channels, taps);
        const size_t count = (size_t)(rows * channels * taps);
        int8_t *w = allocate(count);
        for (size_t j = 0; j < count; j++)
            w[j] = random_between(0, 2) ? 0 : (int8_t)random_between(-128, 127);
        check_counts(w, rows, channels, taps);
        check_order(w, rows, channels, taps);
        free(w);
        end_case();
    }
}
