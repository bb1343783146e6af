/* Elementwise operators, layout changes and concatenation, against plain loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"

static void test_quantize(int n, int threads)
{
    const size_t size = (size_t)n;
    begin_case("quantize and dequantize, %d elements, threads %d", n, threads);
    uint8_t *a = random_bytes(size, EVEN_VALUES), *y = allocate(size);
    float *x = random_floats(size), *real = allocate(size * sizeof *real);
    x[0] = NAN;
    x[n / 2] = n > 1 ? INFINITY : x[0];
    sp_quantize q = {n, 0.03F, ODD_RANGE};
    run_step(SP_QUANTIZE, &q, x, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == (isnan(x[i]) ? 117 : expect_round(x[i] / 0.03F, ODD_RANGE)));
    sp_dequantize d = {n, 0.07F, 31};
    run_step(SP_DEQUANTIZE, &d, a, NULL, real, threads);
    for (int i = 0; i < n; i++)
        CHECK(real[i] == (float)(a[i] - 31) * 0.07F);
    free(a), free(y), free(x), free(real);
    end_case();
}

static void test_arithmetic(int n, int threads)
{
    const size_t size = (size_t)n;
    begin_case("add, mul, rescale, table, %d elements, threads %d", n, threads);
    uint8_t *a = random_bytes(size, EVEN_VALUES), *b = random_bytes(size, EVEN_VALUES);
    uint8_t *y = allocate(size), *entries = random_bytes(256, EVEN_VALUES);
    sp_add_s8 add = {n, 5, 200, 0.7F, 0.4F, ODD_RANGE};
    run_step(SP_ADD_S8, &add, a, b, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] ==
              expect_round((float)(a[i] - 5) * 0.7F + (float)(b[i] - 200) * 0.4F, ODD_RANGE));
    sp_mul_s8 mul = {1, n, 1, 0, 0, 128, 3, 0.004F, ODD_RANGE};
    run_step(SP_MUL_S8, &mul, a, b, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == expect_round((float)((a[i] - 128) * (b[i] - 3)) * 0.004F, ODD_RANGE));
    sp_rescale_s8 rescale = {n, 77, 0.5F, ODD_RANGE}; /* every other value is a tie */
    run_step(SP_RESCALE_S8, &rescale, a, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == expect_round((float)(a[i] - 77) * 0.5F, ODD_RANGE));
    sp_table_s8 table = {n, entries};
    run_step(SP_TABLE_S8, &table, a, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == entries[a[i]]);
    free(a), free(b), free(y), free(entries);
    end_case();
}

static void test_transpose(int batch, int rows, int columns, int element, int threads)
{
    const size_t matrix = (size_t)(rows * columns), n = (size_t)batch * matrix;
    const size_t bytes = (size_t)element;
    begin_case("transpose, %d matrices %d x %d of %d bytes, threads %d", batch, rows, columns,
               element, threads);
    sp_transpose t = {batch, rows, columns, element};
    uint8_t *x = random_bytes(n * bytes, EVEN_VALUES), *y = allocate(n * bytes);
    run_step(SP_TRANSPOSE, &t, x, NULL, y, threads);
    for (size_t i = 0; i < n; i++) {
        size_t at = i % matrix, r = at / (size_t)columns, c = at % (size_t)columns;
        size_t to = i - at + c * (size_t)rows + r;
        CHECK(memcmp(y + to * bytes, x + i * bytes, bytes) == 0);
    }
    free(x), free(y);
    end_case();
}

static void test_concat(int outer, int inner, int threads)
{
    const size_t n = (size_t)(outer * inner);
    begin_case("concat, %d rows of %d, threads %d", outer, inner, threads);
    uint8_t *a = random_bytes(n, EVEN_VALUES), *b = random_bytes(n, EVEN_VALUES);
    uint8_t *y = allocate(2 * n);
    sp_concat_part parts[] = {{outer, inner, 2 * inner, 0, 1, 0, 0, ODD_RANGE},
                              {outer, inner, 2 * inner, inner, 0, 9, 0.6F, ODD_RANGE}};
    sp_concat_s8 concat = {2, parts};
    run_step(SP_CONCAT_S8, &concat, a, b, y, threads);
    for (int i = 0; i < (int)n; i++) {
        const int to = i / inner * 2 * inner + i % inner;
        CHECK(y[to] == a[i]);
        CHECK(y[to + inner] == expect_round((float)(b[i] - 9) * 0.6F, ODD_RANGE));
    }
    free(a), free(b), free(y);
    end_case();
}

static void test_gather(int channels, int threads)
{
    static const int32_t rows[] = {0, -1, 1, 2, 2}, columns[] = {0, 1, 1, -1};
    static const sp_channel_run runs[] = {{0, 0, 2}, {1, 2, 1}, {-1, 3, 1}};
    begin_case("gather_pixels, %d channels, threads %d", channels, threads);
    const size_t in = (size_t)(2 * 3 * 2 * channels), out = (size_t)(2 * 5 * 4 * channels);
    uint8_t *x = random_bytes(in, EVEN_VALUES), *y = allocate(out);
    sp_gather_pixels p = {2, 3, 2, channels, 5, 4, 1, {99}, 3, rows, runs};
    run_step(SP_GATHER_PIXELS, &p, x, NULL, y, threads);
    for (int i = 0; i < (int)out; i++) {
        const int pixel = i / channels, image = pixel / 20;
        const int row = rows[pixel / 4 % 5], column = columns[pixel % 4];
        const int at = (image * 3 + row) * 2 + column;
        CHECK(y[i] == (row < 0 || column < 0 ? 99 : x[at * channels + i % channels]));
    }
    free(x), free(y);
    end_case();
}

void test_elementwise(int threads)
{
    static const int lengths[] = {1, 15, 16, 17, 63, 64, 65, 200, 70000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        test_quantize(lengths[i], threads);
        test_arithmetic(lengths[i], threads);
    }
    for (int rows = 1; rows < 40; rows += 3)
        for (int columns = 1; columns < 70; columns += 11) {
            test_transpose(2, rows, columns, 1, threads);
            test_transpose(2, rows, columns, 4, threads);
            test_concat(2 * rows, columns, threads);
        }
    for (int channels = 1; channels < 70; channels += 17)
        test_gather(channels, threads);
}
