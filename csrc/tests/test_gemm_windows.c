/* The window kernels: that packed windows cannot saturate, and what they compute, on the
 * activations that come closest. */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "gemm_s8/windows.h"

/* What weights are like: all in +-`reach`, `outliers` of 128 of them 127 or -128. */
struct kind {
    int x_max, reach, outliers, same_sign;
};

static int8_t *draw_weights(size_t n, struct kind kind)
{
    int8_t *w = allocate(n);
    for (size_t i = 0; i < n; i++) {
        const int outlier = random_between(0, 127) < kind.outliers;
        const int value = random_between(kind.same_sign ? kind.reach : -kind.reach, kind.reach);
        w[i] = (int8_t)(outlier ? (random_between(0, 1) ? 127 : -128) : value);
    }
    return w;
}

/* The largest magnitude that the sum of one lane can reach over some quads, by looking at each
 * weight. */
static int largest_lane(const int8_t *w, int columns, int k, int first, const uint8_t *place,
                        int quads, int x_max)
{
    int largest = 0;
    for (int lane = 0; lane < 2 * columns; lane++) {
        int positive = 0, negative = 0;
        for (int i = 0; i < 2 * quads; i++) {
            const int at = 4 * (first + place[i / 2]) + 2 * (lane % 2) + i % 2;
            const int value = at < k ? w[lane / 2 * k + at] : 0;
            positive += x_max * SP_MAX(value, 0);
            negative -= x_max * SP_MIN(value, 0);
        }
        largest = SP_MAX(largest, SP_MAX(positive, negative));
    }
    return largest;
}

/* Where a vector of 8 columns runs in int16, it had to; where not, it holds. */
static void check_single(int mask, const int8_t *w, int columns, int k, int first,
                         const uint8_t *place, int x_max)
{
    int largest[SP_WINDOW_COLUMNS / SP_VECTOR_COLUMNS] = {0};
    for (int j = 0; j < columns; j++) {
        const int width = SP_ROUND_UP(columns, SP_VECTOR_COLUMNS);
        int *of_vector = &largest[sp_window_slot(j, width) / SP_VECTOR_COLUMNS];
        const int of_column = largest_lane(w + j * k, 1, k, first, place, 1, x_max);
        *of_vector = SP_MAX(*of_vector, of_column);
    }
    for (int vector = 0; vector < SP_WINDOW_COLUMNS / SP_VECTOR_COLUMNS; vector++)
        CHECK((largest[vector] > INT16_MAX) == (mask >> vector & 1));
}

/* Walks a panel's chunks: windows hold, and all of k is there once. */
static void check_panel(const char *panel, const int8_t *w, int columns, int k, int x_max)
{
    char *seen = allocate((size_t)k + 4); /* one a quad */
    int first = 0, total = 0;
    for (const char *at = panel;;) {
        const struct sp_window_chunk *chunk = (const void *)at;
        const uint8_t *place = sp_window_places(chunk);
        for (int i = 0; i < chunk->runs; i++)
            for (int n = 0; n < chunk->run[i].count; n++) {
                const int kind = chunk->run[i].kind, quads = sp_window_quads(kind);
                if (kind >= SP_SINGLE)
                    check_single(kind - SP_SINGLE, w, columns, k, first, place, x_max);
                else
                    CHECK(largest_lane(w, columns, k, first, place, quads, x_max) <= INT16_MAX);
                for (int q = 0; q < quads; q++, total++, place++)
                    CHECK(*place < chunk->quads && !seen[first + *place]++);
            }
        first += chunk->quads;
        if (!chunk->next)
            break;
        at += chunk->next;
    }
    CHECK(first == (k + 3) / 4 && total == first);
    free(seen);
}

/* Row 2j drives the sums of column j as high as they go, row 2j + 1 as low. */
static uint8_t *extreme_rows(const int8_t *w, int columns, int k, int x_max)
{
    uint8_t *x = allocate((size_t)(2 * columns * k));
    for (int i = 0; i < 2 * columns * k; i++) {
        const int row = i / k, value = w[row / 2 * k + i % k];
        x[i] = (uint8_t)((row % 2 ? value < 0 : value > 0) ? x_max : 0);
    }
    return x;
}

static void test_kind(int ukernel, int columns, int k, struct kind kind, int threads,
                      sp_window_use *use)
{
    begin_case("%s, n %d, k %d, x up to %d, weights to %d, outliers %d, threads %d",
               sp_ukernels[ukernel].name, columns, k, kind.x_max, kind.reach, kind.outliers,
               threads);
    int8_t *w = draw_weights((size_t)(columns * k), kind);
    char *packed = allocate((size_t)sp_window_bytes(columns, k));
    int64_t *start = allocate((size_t)columns * sizeof *start);
    const int64_t used = sp_pack_windows(w, 1, columns, k, kind.x_max, packed, start, NULL, use);
    CHECK(used <= sp_window_bytes(columns, k));
    char *exact = allocate((size_t)used); /* so that no kernel may read more */
    memcpy(exact, packed, (size_t)used);
    for (int j = 0; j < columns; j += SP_WINDOW_COLUMNS)
        check_panel(exact + start[j / SP_WINDOW_COLUMNS], w + j * k,
                    SP_MIN(columns - j, SP_WINDOW_COLUMNS), k, kind.x_max);

    const int m = 2 * columns;
    uint8_t *x = extreme_rows(w, columns, k, kind.x_max);
    int32_t *bias = allocate((size_t)columns * sizeof *bias);
    int32_t *y = allocate((size_t)(m * columns) * sizeof *y);
    int32_t *wanted = allocate((size_t)(m * columns) * sizeof *wanted);
    for (int i = 0; i < m * columns; i++)
        for (int at = 0; at < k; at++)
            wanted[i] += x[i / columns * k + at] * w[i % columns * k + at];
    sp_gemm_s8 p = {m, columns, k, SP_ROUND_UP(k, 4), ukernel, exact, start, bias};
    run_step(SP_GEMM_S8, &p, x, NULL, y, threads);
    check_sums(y, wanted, (size_t)(m * columns));
    free(w), free(packed), free(exact), free(start), free(x), free(bias), free(y), free(wanted);
    end_case();
}

void test_gemm_windows(int threads)
{
    static const int columns[] = {1, 16, 17, 32, 33, 64, 70};
    static const int depths[] = {1, 3, 4, 5, 64, 147, 2700};
    static const struct kind kinds[] = {
        {127, 7, 0, 1},   {127, 15, 0, 0},  {127, 32, 0, 1}, {127, 43, 0, 1},
        {127, 64, 0, 1},  {127, 127, 0, 0}, {255, 63, 0, 0}, {255, 127, 0, 0},
        {255, 127, 0, 1}, {255, 20, 1, 0},  {127, 7, 1, 0},  {1, 127, 0, 0},
    };
    sp_window_use use = {{0}, 0};
    for (int u = -1; (u = next_ukernel("gemm_windows_s8", u)) >= 0;) {
        for (int i = 0; i < 7; i++)
            for (size_t j = 0; j < sizeof kinds / sizeof kinds[0]; j++)
                if (depths[i] < 1000 || j % 3 == 0)
                    test_kind(u, columns[(i + (int)j) % 7], depths[i], kinds[j], threads, &use);
        begin_case("every size of window is tested");
        for (int size = 0; size <= 8; size++)
            CHECK(use.vectors[size] > 0);
        end_case();
    }
}
