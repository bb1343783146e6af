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

void test_packing(void)
{
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
