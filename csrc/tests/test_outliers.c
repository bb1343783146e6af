/* Convolutions that multiply activations far from the zero point apart (gemm_s8/outliers.h),
 * against plain loops. */
#include <stdlib.h>

#include "checks.h"
#include "gemm_s8/outliers.h"

static void test_conv(int ukernel, sp_conv_shape s, enum values kind, int variant, int lowest,
                      int threads)
{
    const int k = s.kernel_h * s.kernel_w * s.in_c / s.groups, columns = s.out_c / s.groups;
    const int panels = (columns + SP_WINDOW_COLUMNS - 1) / SP_WINDOW_COLUMNS;
    const int zero_point = variant * 5 + lowest;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("outliers %s, %s, values %d, variant %d, from %d, threads %d",
               sp_ukernels[ukernel].name, shape, kind, variant, lowest, threads);
    const size_t weights = (size_t)(s.out_c * k);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    if (variant % 2) /* few are not kept: they are listed */
        for (size_t i = 0; i < in_elements(&s); i++)
            x[i] = random_between(0, 9) ? (uint8_t)(lowest + x[i] % (SP_CEILING + 1)) : x[i];
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights(weights, -127, 127, kind);
    int8_t *narrow = allocate(weights);
    for (size_t i = 0; i < weights; i++)
        narrow[i] = (int8_t)w[i];
    char *packed = allocate((size_t)(s.groups * sp_window_bytes(columns, k)));
    int64_t *start = allocate((size_t)(s.groups * panels) * sizeof *start);
    uint32_t *place = allocate((size_t)(s.groups * panels * ((k + 3) / 4)) * sizeof *place);
    sp_window_use use = {{0}, 0};
    sp_pack_windows(narrow, s.groups, columns, k, SP_CEILING, packed, start, place, &use);
    CHECK(use.vectors[0] == 0); /* none in int16 */
    struct epilogue_case e = make_epilogue(s.out_c, k, w, zero_point - lowest, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const size_t pixels = out_elements(&s) / (size_t)s.out_c;
    uint8_t *wanted = expect_epilogue(&e, sum, residual, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));
    sp_conv_s8 p = {s,     ukernel, zero_point, SP_ROUND_UP(k, 4), 0, packed,
                    start, place,   lowest,     e.epilogue};
    run_step(SP_CONV_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
    check_bytes(y, wanted, out_elements(&s));
    free(x), free(residual), free(w), free(narrow), free(packed), free(start), free(place);
    free(sum), free(wanted), free(y);
    free_epilogue(&e);
    end_case();
}

static void test_convs(int u, int lowest, int threads)
{
    static const int columns[] = {1, 16, 17, 24, 33, 64, 70};
    static const int depths[] = {4, 20, 31, 32, 33, 64, 144, 660}; /* 660: two chunks */
    const struct window point = {1, 1, 1, 0}, same = {3, 1, 1, 1};
    for (int i = 0; i < 24; i++)
        test_conv(u, make_shape(5, 4, depths[i % 8], columns[i % 7], 1, point), i % VALUE_KINDS,
                  i % 6, lowest, threads);
    for (int i = 0; i < 6; i++)
        test_conv(u, make_shape(6, 5, 3 + 5 * i, columns[i], 1, same), i % VALUE_KINDS, i, lowest,
                  threads);
    test_conv(u, make_shape(9, 7, 8, 40, 1, (struct window){5, 2, 1, 2}), END_VALUES, 4, lowest,
              threads);
    test_conv(u, make_shape(7, 7, 32, 80, 2, point), EVEN_VALUES, 1, lowest, threads);
    test_conv(u, make_shape(9, 9, 12, 40, 4, (struct window){3, 1, 2, 2}), EVEN_VALUES, 5, lowest,
              threads);
    /* several blocks */
    test_conv(u, make_shape(13, 11, 64, 40, 1, point), EVEN_VALUES, 0, lowest, threads);
}

void test_outliers(int threads)
{
    for (int u = -1; (u = next_ukernel("gemm_windows_s8", u)) >= 0;) {
        test_convs(u, 0, threads);
        test_convs(u, 61, threads);
        test_convs(u, 255 - SP_CEILING, threads);
    }
}
