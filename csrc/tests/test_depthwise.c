/* Depthwise int8 convolutions of every micro-kernel, against plain loops. */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "depthwise_s8/depthwise_s8.h"

/* Channel of a chunk that stands at `lane`: those of 32 are interleaved within 128-bit lanes. */
static int channel_of(int lane, int nr)
{
    return nr == 32 ? lane / 4 % 2 * 16 + lane / 8 * 4 + lane % 4 : lane;
}

/* depthwise_s8.h has the layout. w: [channels][taps]. */
static void *pack_chunks(const int16_t *w, int channels, int taps,
                         const struct sp_ukernel_entry *kernel)
{
    const int nr = kernel->nr, kg = kernel->k_group, groups = (taps + kg - 1) / kg;
    const int chunks = (channels + nr - 1) / nr, bytes = kernel->weight_bytes;
    char *packed = allocate((size_t)(chunks * groups * nr * kg * bytes));
    for (int i = 0; i < chunks * nr * taps; i++) {
        const int chunk = i / (nr * taps), lane = i / taps % nr, tap = i % taps;
        const int channel = sp_chunk_start(chunk, nr, channels) + channel_of(lane, nr);
        const int to = ((chunk * groups + tap / kg) * nr + lane) * kg + tap % kg;
        if (channel >= channels)
            continue;
        if (bytes == 1)
            packed[to] = (char)w[channel * taps + tap];
        else
            memcpy(packed + 2 * to, &w[channel * taps + tap], 2);
    }
    return packed;
}

static void test_shape(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int taps = s.kernel_h * s.kernel_w, zero_point = variant * 37 % 256;
    const int hi = kernel->weight_bytes == 1 ? 127 : 255;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("depthwise_s8 %s, %s, values %d, variant %d, threads %d", kernel->name, shape, kind,
               variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * taps), -hi, hi, kind);
    void *packed = pack_chunks(w, s.out_c, taps, kernel);
    struct epilogue_case e = make_epilogue(s.out_c, taps, w, zero_point, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const size_t pixels = out_elements(&s) / (size_t)s.out_c;
    uint8_t *wanted = expect_epilogue(&e, sum, residual, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));
    sp_depthwise_s8 p = {s, ukernel, zero_point, packed, e.epilogue};
    run_step(SP_DEPTHWISE_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
    check_bytes(y, wanted, out_elements(&s));
    free(x), free(residual), free(w), free(packed), free(sum), free(wanted), free(y);
    free_epilogue(&e);
    end_case();
}

void test_depthwise(int threads)
{
    static const int channels[] = {2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 100};
    static const struct window windows[] = {{3, 1, 1, 1}, {3, 2, 1, 1}, {5, 1, 1, 2}, {5, 2, 1, 2},
                                            {3, 1, 2, 2}, {7, 1, 1, 3}, {2, 1, 1, 0}, {1, 1, 1, 0}};
    for (int u = -1; (u = next_ukernel("depthwise_s8", u)) >= 0;)
        for (int i = 0; i < 36; i++) {
            const int c = channels[i % 12];
            /* micro-kernels of more than 16 channels take no fewer */
            if (sp_ukernels[u].nr <= SP_MAX(c, 16))
                test_shape(u, make_shape(7, 6 + i % 5, c, c, c, windows[i % 8]), i % VALUE_KINDS, i,
                           threads);
        }
}
