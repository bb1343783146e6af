/* Integer products and dense convolutions of every gemm_s8 micro-kernel, against plain loops. */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "conv_s8/tiled.h"

/* Weights of the micro-kernel's type, the lowest value included. */
static int16_t *draw_weights(const struct sp_ukernel_entry *kernel, size_t n, enum values kind)
{
    const int hi = kernel->weight_bytes == 1 ? 127 : 255; /* s16 holds differences of two s8 */
    return random_weights(n, -hi - (kernel->weight_bytes == 1), hi, kind);
}

static void test_gemm(int ukernel, int m, int n, int k, enum values kind, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    begin_case("gemm_s8 %s, m %d, n %d, k %d, values %d, threads %d", kernel->name, m, n, k, kind,
               threads);
    uint8_t *x = random_bytes((size_t)(m * k), kind);
    int16_t *w = draw_weights(kernel, (size_t)(n * k), kind);
    void *packed = pack_panels(w, 1, n, k, kernel);
    int32_t *bias = allocate((size_t)n * sizeof *bias);
    int32_t *y = allocate((size_t)(m * n) * sizeof *y), *wanted = allocate((size_t)(m * n) * 4);
    for (int j = 0; j < n; j++)
        bias[j] = (int32_t)next_random();
    for (int i = 0; i < m * n; i++) {
        uint32_t sum = (uint32_t)bias[i % n];
        for (int at = 0; at < k; at++)
            sum += (uint32_t)(x[i / n * k + at] * w[i % n * k + at]);
        wanted[i] = (int32_t)sum;
    }
    sp_gemm_s8 p = {m, n, k, SP_ROUND_UP(k, kernel->k_group), ukernel, packed, NULL, bias};
    run_step(SP_GEMM_S8, &p, x, NULL, y, threads);
    check_sums(y, wanted, (size_t)(m * n));
    free(x), free(w), free(packed), free(bias), free(y), free(wanted);
    end_case();
}

/* Weights with each row of taps filled up to `row_bytes`. */
static int16_t *fill_rows(const sp_conv_shape *s, const int16_t *w, int row_bytes)
{
    const int row = s->kernel_w * s->in_c, rows = s->out_c * s->kernel_h;
    int16_t *filled = allocate((size_t)(rows * row_bytes) * sizeof *filled);
    for (int i = 0; i < rows; i++)
        memcpy(filled + i * row_bytes, w + i * row, (size_t)row * sizeof *w);
    return filled;
}

static void test_conv(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int k = s.kernel_h * s.kernel_w * s.in_c / s.groups, zero_point = variant * 37 % 256;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("conv_s8 %s, %s, values %d, variant %d, threads %d", kernel->name, shape, kind,
               variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = draw_weights(kernel, (size_t)(s.out_c * k), kind);
    struct epilogue_case e = make_epilogue(s.out_c, k, w, zero_point, variant);
    sp_conv_s8 p = {.shape = s, .ukernel = ukernel, .x_zero_point = zero_point};
    p.epilogue = e.epilogue, p.k_padded = SP_ROUND_UP(k, kernel->k_group);
    int16_t *filled = NULL;
    if (variant % 3 != 0 && s.groups == 1 && s.dilation_w == 1 && sp_tiled_serves(&p)) {
        p.row_bytes = SP_ROUND_UP(s.kernel_w * s.in_c, kernel->k_group);
        p.k_padded = s.kernel_h * p.row_bytes;
        filled = fill_rows(&s, w, p.row_bytes);
    }
    void *packed = pack_panels(filled ? filled : w, s.groups, s.out_c / s.groups,
                               filled ? p.k_padded : k, kernel);
    p.weights = packed;
    int32_t *sum = convolve(&s, x, w, zero_point);
    const size_t pixels = out_elements(&s) / (size_t)s.out_c;
    uint8_t *wanted = expect_epilogue(&e, sum, residual, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));
    run_step(SP_CONV_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
    check_bytes(y, wanted, out_elements(&s));
    free(x), free(residual), free(w), free(filled), free(packed), free(sum), free(wanted), free(y);
    free_epilogue(&e);
    end_case();
}

void test_products(int threads)
{
    static const int columns[] = {1, 15, 16, 17, 33, 64, 65, 130};
    static const int depths[] = {1, 2, 3, 4, 5, 15, 16, 17, 37, 64};
    const struct window point = {1, 1, 1, 0}, same = {3, 1, 1, 1};
    for (int u = -1; (u = next_ukernel("gemm_s8", u)) >= 0;) {
        for (int m = 1; m <= 14; m++)
            test_gemm(u, m, columns[m % 8], depths[m % 10], m % VALUE_KINDS, threads);
        for (int i = 0; i < 10; i++)
            test_gemm(u, 5, columns[i % 8], depths[i], i % VALUE_KINDS, threads);
        test_gemm(u, 3, 16, 70000, HIGHEST_VALUES, threads); /* sums wrap: 70000 * 255 * 127 */
        test_gemm(u, 120, 40, 33, EVEN_VALUES, threads);     /* two blocks of rows */
        for (int i = 0; i < 12; i++)
            test_conv(u, make_shape(5, 4, 3 + i, columns[i % 8], 1, same), i % VALUE_KINDS, i,
                      threads);
        for (int i = 0; i < 6; i++) /* patches are read in place where in_c is whole groups */
            test_conv(u, make_shape(3, 7, 14 + i, 20 + i, 1, point), EVEN_VALUES, i, threads);
        /* in place, more rows than sums may wait at a time */
        test_conv(u, make_shape(19, 11, 16, 41, 1, point), EVEN_VALUES, 1, threads);
        test_conv(u, make_shape(9, 7, 5, 18, 1, (struct window){5, 2, 1, 2}), END_VALUES, 4,
                  threads);
        test_conv(u, make_shape(9, 9, 12, 40, 4, (struct window){3, 1, 2, 2}), EVEN_VALUES, 5,
                  threads);
        test_conv(u, make_shape(1, 1, 7, 10, 1, same), EVEN_VALUES, 6, threads);
        for (int i = 0; i < 12; i++) { /* images as wide as a tile and wider */
            const struct window window = {1 + i % 4 * 2, 1 + i % 2, 1 + i % 5 / 4, i % 4};
            test_conv(u, make_shape(3 + i % 3 * 9, 20 + 5 * i, 1 + i, columns[i % 8], 1, window),
                      EVEN_VALUES, i, threads);
        }
        test_conv(u, make_shape(4, 30, 16, 40, 2, same), END_VALUES, 1, threads);
        for (int i = 0; i < 6; i++) /* a pixel that sees nothing but padding */
            test_conv(u, make_shape(9, 1, 5, 8, 1, (struct window){1, 5, 1, 2}), EVEN_VALUES, i,
                      threads);
        test_conv(u, make_shape(4, 30, 12, 6, 2, (struct window){3, 2, 2, 2}), EVEN_VALUES, 2,
                  threads);
        test_conv(u, make_shape(40, 70, 68, 20, 1, same), EVEN_VALUES, 4, threads); /* blocks */
        test_conv(u, make_shape(7, 20, 160, 40, 1, same), END_VALUES, 7, threads);  /* parts of K */
        /* rows too long for a copy with their padding */
        test_conv(u, make_shape(1, 22000, 16, 3, 1, same), EVEN_VALUES, 1, threads);
    }
}
