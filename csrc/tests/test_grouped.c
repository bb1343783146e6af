/* Narrow grouped int8 convolutions of every micro-kernel, against plain loops. */
#include <stdlib.h>

#include "checks.h"
#include "grouped_s8/grouped_s8.h"

enum { BLOCK = SP_GROUPED_CHANNELS };

/* grouped_s8.h has the layout. w: [channels][taps][width]. */
static int16_t *pack_blocks(const int16_t *w, int channels, int taps, int width)
{
    const int blocks = (channels + BLOCK - 1) / BLOCK, each = taps * width * BLOCK;
    int16_t *packed = allocate((size_t)(blocks * each) * sizeof *packed);
    for (int i = 0; i < blocks * each; i++) {
        const int first = SP_MIN(i / each * BLOCK, channels - BLOCK), lane = i % BLOCK;
        const int output = first + lane / width * width + i / BLOCK % width;
        const int tap = i / (BLOCK * width) % taps;
        packed[i] = w[(output * taps + tap) * width + lane % width];
    }
    return packed;
}

static void test_shape(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const int taps = s.kernel_h * s.kernel_w, zero_point = variant * 37 % 256;
    const int width = s.in_c / s.groups;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("grouped_s8 %s, %s, values %d, variant %d, threads %d", sp_ukernels[ukernel].name,
               shape, kind, variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * taps * width), -255, 255, kind);
    int16_t *packed = pack_blocks(w, s.out_c, taps, width);
    struct epilogue_case e = make_epilogue(s.out_c, taps * width, w, zero_point, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const size_t pixels = out_elements(&s) / (size_t)s.out_c;
    uint8_t *wanted = expect_epilogue(&e, sum, residual, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));
    sp_grouped_s8 p = {s, ukernel, zero_point, width, packed, e.epilogue};
    run_step(SP_GROUPED_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
    check_bytes(y, wanted, out_elements(&s));
    free(x), free(residual), free(w), free(packed), free(sum), free(wanted), free(y);
    free_epilogue(&e);
    end_case();
}

void test_grouped(int threads)
{
    static const int channels[][2] = {{16, 4}, {28, 4}, {64, 8}, {40, 8}, {32, 16}, {16, 16}};
    static const struct window windows[] = {
        {3, 1, 1, 1}, {3, 2, 1, 1}, {5, 1, 1, 2}, {1, 1, 1, 0}, {3, 1, 2, 2}};
    for (int u = -1; (u = next_ukernel("grouped_s8", u)) >= 0;)
        for (int i = 0; i < 30; i++) {
            const int c = channels[i % 6][0], groups = c / channels[i % 6][1];
            test_shape(u, make_shape(7, 6 + i % 5 * 8, c, c, groups, windows[i % 5]),
                       i % VALUE_KINDS, i, threads);
        }
}
