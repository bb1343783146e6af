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
    sp_weight_totals found = {0}, wanted = {0};
    sp_count_weights(w, rows, channels, taps, sum, positive, &found);
    for (int row = 0; row < rows; row++) {
        int64_t all = 0, above = 0;
        for (int i = 0; i < length; i++) {
            const int value = w[row * length + i], first = i / taps % 4 == 0;
            all += value;
            above += SP_MAX(value, 0);
            wanted.nonzeros += value != 0;
            int any = 0;
            for (int j = 0; first && channels % 4 == 0 && j < 4; j++)
                any |= w[row * length + i + j * taps] != 0;
            wanted.blocks += any;
        }
        CHECK(sum[row] == all && positive[row] == above);
        wanted.most = SP_MAX(wanted.most, above);
        wanted.least = SP_MIN(wanted.least, all - above);
    }
    CHECK(found.nonzeros == wanted.nonzeros && found.blocks == wanted.blocks);
    CHECK(found.most == wanted.most && found.least == wanted.least);
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
static void check_windows(const int32_t (*sums)[4], const int32_t *place, int items, int64_t places,
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
    int64_t places = 0;
    int32_t *place = allocate((size_t)items * sizeof *place);
    int32_t *scratch = allocate((size_t)items * 10 * sizeof *scratch);
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
    static const int32_t offset[] = {5, 9, 11};
    static const int32_t slot[] = {1, 0, 2};
    static const int64_t count[] = {3}, start[] = {1};
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
        for (int at = slot[i] % k_group; k_group > 1 && at < 4; at += k_group)
            CHECK(word[at] == bytes[i]);
        CHECK(k_group > 1 || entry[1] == words[i]);
    }
    free(entries);
    end_case();
}

/* The non-zeros of two groups, in blocks of two channels, as plain loops find them. */
static void check_list(const int8_t *w, int rows, int channels, int taps)
{
    const int length = channels * taps, size = rows * length, block_channels = 2;
    const int groups = rows % 2 ? 1 : 2, blocks = SP_ROUND_UP(groups * channels, 2) / 2;
    int32_t *lane = allocate((size_t)length * sizeof *lane);
    int64_t *count = allocate((size_t)(blocks * rows) * sizeof *count);
    int32_t *offset = allocate((size_t)size * sizeof *offset);
    int8_t *value = allocate((size_t)size);
    float *floats = allocate((size_t)size * sizeof *floats);
    float *chosen = allocate((size_t)size * sizeof *chosen);
    for (int i = 0; i < length; i++)
        lane[i] = 3 * i;
    for (int i = 0; i < size; i++)
        floats[i] = w[i] ? w[i] : -0.0f;
    const sp_sparse_source source = {rows, channels, taps,           rows / groups,
                                     lane, 1000,     block_channels, 7};
    for (int of_floats = 0; of_floats < 2; of_floats++) {
        const int64_t listed =
            of_floats ? sp_list_nonzeros(NULL, floats, &source, count, offset, chosen, size)
                      : sp_list_nonzeros(w, NULL, &source, count, offset, value, size);
        int64_t at = 0;
        for (int block = 0; block < blocks; block++)
            for (int row = 0; row < rows; row++) {
                const int group = row / (rows / groups);
                const int64_t before = at;
                for (int i = 0; i < length; i++) {
                    const int8_t weight = w[row * length + i];
                    if (!weight || (group * channels + i / taps) / block_channels != block)
                        continue;
                    CHECK(offset[at] == 3 * i + 1000 * group - 7 * block);
                    CHECK(of_floats ? chosen[at] == (float)weight : value[at] == weight);
                    at++;
                }
                CHECK(count[block * rows + row] == at - before);
            }
        CHECK(listed == at);
        CHECK(at == 0 ||
              sp_list_nonzeros(w, NULL, &source, count, offset, value, listed - 1) == -1);
    }
    free(lane), free(count), free(offset), free(value), free(floats), free(chosen);
}

/* Blocks of four channels, as they are where every pair fits. */
static void check_blocks(const int8_t *w, int rows, int channels, int taps)
{
    const int words = channels / 4 * taps;
    int32_t *lane = allocate((size_t)words * sizeof *lane);
    int64_t *count = allocate((size_t)rows * sizeof *count);
    int32_t *offset = allocate((size_t)(rows * words * 2) * sizeof *offset);
    int8_t *value = allocate((size_t)(rows * words * 2) * 4);
    for (int i = 0; i < words; i++)
        lane[i] = 5 * i;
    const sp_sparse_source source = {rows, channels, taps, rows, lane, 0, channels / 4, 0};
    for (int x_max = 0; x_max < 256; x_max += 255) {
        const int64_t listed =
            sp_list_blocks(w, &source, x_max, count, offset, value, 2 * rows * words);
        int64_t at = 0;
        for (int row = 0; row < rows; row++) {
            const int64_t before = at;
            for (int i = 0; i < words; i++) {
                const int8_t *first = w + row * channels * taps + i / taps * 4 * taps + i % taps;
                int any = 0, sums[2][2] = {{0}};
                for (int j = 0; j < 4; j++) {
                    const int weight = first[j * taps];
                    any |= weight;
                    sums[j / 2][weight < 0] += abs(weight);
                }
                if (!any)
                    continue;
                const int most =
                    SP_MAX(SP_MAX(sums[0][0], sums[0][1]), SP_MAX(sums[1][0], sums[1][1]));
                const int parts = most * x_max > INT16_MAX ? 2 : 1;
                for (int part = 0; part < parts; part++, at++)
                    for (int j = 0; j < 4; j++) {
                        const int8_t kept =
                            parts == 1 || j % 2 == part ? first[j * taps] : (int8_t)0;
                        CHECK(value[4 * at + j] == kept && offset[at] == 5 * i);
                    }
            }
            CHECK(count[row] == at - before);
        }
        CHECK(listed == at);
        CHECK(at == 0 || sp_list_blocks(w, &source, x_max, count, offset, value, at - 1) == -1);
    }
    free(lane), free(count), free(offset), free(value);
}

/* A value is where its bit is, and nothing else is written. */
static void check_bits(const int8_t *w, int size)
{
    uint8_t *mask = allocate((size_t)(size + 7) / 8);
    double *value = allocate((size_t)size * sizeof *value);
    for (int bytes = 1; bytes <= 8; bytes *= 2) {
        char *dense = allocate((size_t)(size * bytes));
        int count = 0;
        memset(mask, 0, (size_t)(size + 7) / 8);
        for (int i = 0; i < size; i++)
            if (w[i]) {
                mask[i / 8] |= (uint8_t)(128 >> i % 8);
                memset((char *)value + count++ * bytes, w[i], (size_t)bytes);
            }
        CHECK(sp_expand_bits(mask, size, value, count, bytes, dense) == count);
        for (int i = 0; i < size * bytes; i++)
            CHECK((int8_t)dense[i] == w[i / bytes]);
        CHECK(count == 0 || sp_expand_bits(mask, size, value, count - 1, bytes, dense) == -1);
        free(dense);
    }
    CHECK(sp_expand_bits(mask, size, value, 0, 3, value) == -1);
    free(mask), free(value);
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
        check_list(w, rows, channels, taps);
        if (channels % 4 == 0)
            check_blocks(w, rows, channels, taps);
        check_bits(w, (int)count);
        free(w);
        end_case();
    }
}
