/* Winograd convolutions of every micro-kernel, against plain loops over the untransformed weights.
 */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "winograd_s8/winograd_s8.h"

/* U = G g G' of winograd_s8.h as [36][O][C]. w: [O][9][C]. */
static int16_t *transform(const int16_t *w, int outputs, int channels)
{
    static const int g[6][3] = {{6, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};
    int16_t *u = allocate((size_t)(36 * outputs * channels) * sizeof *u);
    for (int i = 0; i < 36 * outputs * channels; i++) {
        const int position = i / (outputs * channels), o = i / channels % outputs, c = i % channels;
        int sum = 0;
        for (int tap = 0; tap < 9; tap++)
            sum += g[position / 6][tap / 3] * g[position % 6][tap % 3] *
                   w[(o * 9 + tap) * channels + c];
        u[i] = (int16_t)sum;
    }
    return u;
}

/* [blocks of SP_BLOCK_COLUMNS output channels][36] matrices in panels. */
static void *pack_blocks(const int16_t *w, int outputs, int channels,
                         const struct sp_ukernel_entry *kernel)
{
    const size_t column = (size_t)(36 * SP_ROUND_UP(channels, kernel->k_group)) * 2; /* bytes */
    char *packed = allocate((size_t)SP_ROUND_UP(outputs, 16) * column);
    for (int first = 0; first < outputs; first += SP_BLOCK_COLUMNS) {
        const int count = SP_MIN(SP_BLOCK_COLUMNS, outputs - first);
        int16_t *u = transform(w + first * 9 * channels, count, channels);
        void *block = pack_panels(u, 36, count, channels, kernel);
        memcpy(packed + (size_t)first * column, block, (size_t)SP_ROUND_UP(count, 16) * column);
        free(u), free(block);
    }
    return packed;
}

/* What sp_pack_winograd makes of int8 weights in ONNX order equals what was packed from w. */
static void check_packing(const int16_t *w, int outputs, int channels,
                          const struct sp_ukernel_entry *kernel, const void *packed)
{
    const int k = SP_ROUND_UP(channels, kernel->k_group);
    const size_t bytes = (size_t)(36 * SP_ROUND_UP(outputs, 16) * k) * 2;
    int8_t *given = in_onnx_order(w, outputs, channels);
    int16_t *made = allocate(bytes);
    sp_pack_winograd(given, outputs, channels, kernel->nr, made);
    CHECK(memcmp(made, packed, bytes) == 0);
    free(given), free(made);
}

/* The form that is transformed in each run. */
static void *pack_taps(const int16_t *w, int outputs, int channels)
{
    int8_t *given = in_onnx_order(w, outputs, channels);
    int8_t *packed = allocate((size_t)(9 * SP_ROUND_UP(outputs, 16) * SP_ROUND_UP(channels, 2)));
    sp_pack_winograd_taps(given, outputs, channels, packed);
    free(given);
    return packed;
}

static void test_shape(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int zero_point = variant * 37 % 256;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("winograd_s8 %s, %s, values %d, variant %d, threads %d", kernel->name, shape, kind,
               variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * 9 * s.in_c), -128, 127, kind);
    void *packed = pack_blocks(w, s.out_c, s.in_c, kernel);
    check_packing(w, s.out_c, s.in_c, kernel, packed);
    struct epilogue_case e = make_epilogue(s.out_c, 9 * s.in_c, w, zero_point, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const size_t pixels = out_elements(&s) / (size_t)s.out_c;
    uint8_t *wanted = expect_epilogue(&e, sum, residual, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));
    const int k_padded = SP_ROUND_UP(s.in_c, kernel->k_group);
    void *taps = pack_taps(w, s.out_c, s.in_c);
    for (int transformed = 0; transformed < 2; transformed++) {
        const void *weights = transformed ? packed : taps;
        sp_winograd_s8 p = {s, ukernel, zero_point, k_padded, transformed, weights, e.epilogue};
        memset(y, 0, out_elements(&s));
        run_step(SP_WINOGRAD_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
        check_bytes(y, wanted, out_elements(&s));
    }
    free(x), free(residual), free(w), free(packed), free(taps), free(sum), free(wanted), free(y);
    free_epilogue(&e);
    end_case();
}

void test_winograd(int threads)
{
    static const int channels[] = {1, 3, 15, 16, 17, 33, 48, 65};
    for (int u = -1; (u = next_ukernel("winograd_s8", u)) >= 0;) {
        for (int i = 0; i < 14; i++)
            test_shape(u,
                       make_shape(1 + i % 9, 3 + i, channels[i % 8], channels[(i * 3 + 2) % 8], 1,
                                  (struct window){3, 1, 1, 1}),
                       i % VALUE_KINDS, i, threads);
        test_shape(u, make_shape(5, 6, 131, 20, 1, (struct window){3, 1, 1, 1}), EVEN_VALUES, 2,
                   threads);
        test_shape(u, make_shape(6, 7, 20, 70, 1, (struct window){3, 1, 1, 0}), EVEN_VALUES, 3,
                   threads);
    }
}
