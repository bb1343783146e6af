/* Depthwise int8 convolutions of every micro-kernel, against plain loops. */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "depthwise_s8/depthwise_s8.h"

/* Channel of a chunk that stands at `lane`: wide vectors are interleaved within 128-bit lanes, and
 * narrow chunks repeat in them. */
static int channel_of(int lane, int nr, int width)
{
    const int lanes = nr / 16;
    return nr == 16 ? lane : (lane / 4 % lanes * 16 + lane / (4 * lanes) * 4 + lane % 4) % width;
}

/* That sp_pack_depthwise makes the same bytes. */
static void check_packing(const int16_t *w, const sp_conv_shape *s,
                          const struct sp_ukernel_entry *kernel, const char *packed, size_t size)
{
    const int bytes = kernel->weight_bytes, count = s->in_c * s->kernel_h * s->kernel_w;
    char *given = allocate((size_t)(count * bytes)), *again = allocate(size);
    for (int i = 0; i < count; i++)
        if (bytes == 1)
            given[i] = (char)w[i];
        else
            memcpy(given + 2 * i, w + i, 2);
    sp_pack_depthwise(given, bytes, s->in_c, s->kernel_h, s->kernel_w,
                      sp_find_band(s, kernel->k_group).rows, s->stride_h, kernel->nr,
                      kernel->k_group, again);
    CHECK(memcmp(packed, again, size) == 0);
    free(given), free(again);
}

/* depthwise_s8.h has the layout. w: [channels][taps]. */
static void *pack_chunks(const int16_t *w, const sp_conv_shape *s,
                         const struct sp_ukernel_entry *kernel)
{
    const int nr = kernel->nr, kg = kernel->k_group, bytes = kernel->weight_bytes;
    const struct sp_band band = sp_find_band(s, kg);
    const int padded_h = band.groups * kg, each = band.rows * s->kernel_w * padded_h;
    char *packed = allocate((size_t)((s->in_c + 15) / 16 * each * nr * bytes));
    char *to = packed;
    for (int at = 0; at < s->in_c;) {
        const struct sp_chunk chunk = sp_find_chunk(at, s->in_c, nr);
        for (int i = 0; i < each * nr; i++, to += bytes) {
            const int row = i / (s->kernel_w * padded_h * nr);
            const int column = i / (padded_h * nr) % s->kernel_w;
            const int tap = i / (nr * kg) % band.groups * kg + i % kg - row * s->stride_h;
            const int channel = chunk.first + channel_of(i / kg % nr, nr, chunk.width);
            if (channel >= s->in_c || tap < 0 || tap >= s->kernel_h)
                continue;
            const int16_t value = w[(channel * s->kernel_h + tap) * s->kernel_w + column];
            if (bytes == 1)
                *to = (char)value;
            else
                memcpy(to, &value, 2);
        }
        at = chunk.first + chunk.width;
    }
    check_packing(w, s, kernel, packed, (size_t)(to - packed));
    return packed;
}

static void test_shape(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int taps = s.kernel_h * s.kernel_w, zero_point = variant * 37 % 256;
    const int saturates = strcmp(kernel->op, "depthwise_quads_s8") == 0; /* two of 64 do not */
    const int hi = saturates ? 64 : kernel->weight_bytes == 1 ? 127 : 255;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("%s, %s, values %d, variant %d, threads %d", kernel->name, shape, kind, variant,
               threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * taps), -hi, hi, kind);
    void *packed = pack_chunks(w, &s, kernel);
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

static void test_operator(const char *op, int threads)
{
    static const int channels[] = {2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 100};
    static const struct window windows[] = {{3, 1, 1, 1}, {3, 2, 1, 1}, {5, 1, 1, 2}, {5, 2, 1, 2},
                                            {3, 1, 2, 2}, {7, 1, 1, 3}, {2, 1, 1, 0}, {1, 1, 1, 0}};
    for (int u = -1; (u = next_ukernel(op, u)) >= 0;)
        for (int i = 0; i < 36; i++) {
            const int c = channels[i % 12];
            test_shape(u, make_shape(7, 6 + i % 5 * 3, c, c, c, windows[i % 8]), i % VALUE_KINDS, i,
                       threads);
        }
}

void test_depthwise(int threads)
{
    test_operator("depthwise_s8", threads);
    test_operator("depthwise_quads_s8", threads);
}
