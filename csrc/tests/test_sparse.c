/* Sparse int8 convolutions of every conv_csr micro-kernel, nchw, and of every conv_block
 * micro-kernel, nc4hw4, against plain loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "packed_rows.h"

enum { WIDTH = 64 /* lanes of a block */ };

/* Where the lanes come from, as csrc/sparing.h describes; in the simplest way. */
static sp_csr_lanes make_lanes(const sp_conv_shape *s, int source)
{
    const int pixels = s->out_h * s->out_w;
    if (source == SP_CSR_IN_PLACE)
        return (sp_csr_lanes){source, 1, s->out_w, pixels, 1, 1, 0, pixels};
    if (source == SP_CSR_GATHERED)
        return (sp_csr_lanes){source, s->batch, s->out_w, pixels, 1, 1, 0, WIDTH};
    const int reach = (s->kernel_h - 1) * s->dilation_h / s->stride_h;
    const int phases = SP_MIN(s->stride_h, (s->kernel_h - 1) * s->dilation_h + 1);
    const int row = s->out_w + reach, image = (s->out_h + reach) * row;
    const int lanes = SP_ROUND_UP(s->batch * image, WIDTH) + reach * row + reach;
    return (sp_csr_lanes){source, s->batch, row,   image,
                          phases, phases,   lanes, SP_ROUND_UP(lanes * phases * phases, 64)};
}

/* Keeps about one weight in four. */
static void make_sparse(int16_t *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] = random_between(0, 3) ? 0 : w[i];
}

static uint8_t *to_nchw(const uint8_t *x, int images, int pixels, int channels)
{
    const int n = images * pixels * channels;
    uint8_t *y = allocate((size_t)n);
    for (int i = 0; i < n; i++) {
        const int channel = i % channels, pixel = i / channels % pixels;
        y[(i / (channels * pixels) * channels + channel) * pixels + pixel] = x[i];
    }
    return y;
}

/* Pairs are exact where `window` of them stay in int16: |w| <= 64 / window; see csr_windows.py. */
static void test_s8(int ukernel, sp_conv_shape s, int source, enum values kind, int window,
                    int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int k = s.kernel_h * s.kernel_w * s.in_c / s.groups, zero_point = variant * 37 % 256;
    const int most = kernel->k_group == 2 ? 64 / window : 127, split = variant % 2;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("conv_csr_s8 %s, %s, source %d, values %d, window %d, variant %d, threads %d",
               kernel->name, shape, source, kind, window, variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * k), -most, most, kind);
    make_sparse(w, (size_t)(s.out_c * k));
    int8_t *narrow = allocate((size_t)(s.out_c * k));
    for (int i = 0; i < s.out_c * k; i++)
        narrow[i] = (int8_t)w[i];
    struct epilogue_case e = make_epilogue(s.out_c, k, w, zero_point, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const int pixels = s.out_h * s.out_w;
    uint8_t *nhwc = expect_epilogue(&e, sum, residual, (size_t)(s.batch * pixels), s.out_c);
    uint8_t *wanted = to_nchw(nhwc, s.batch, pixels, s.out_c);
    uint8_t *planar_x = to_nchw(x, s.batch, s.in_h * s.in_w, s.in_c);
    uint8_t *planar_residual = to_nchw(residual, s.batch, pixels, s.out_c);
    uint8_t *y = allocate(out_elements(&s));

    sp_conv_csr_s8 p = {.shape = s, .lanes = make_lanes(&s, source), .ukernel = ukernel};
    struct packed *packed = pack_rows(&s, &p.lanes, narrow, 1, kernel->k_group, window, split);
    p.matrix = packed->matrix;
    p.x_zero_point = zero_point, p.window = window, p.epilogue = e.epilogue;
    run_step(SP_CONV_CSR_S8, &p, planar_x, e.epilogue.residual_mode ? planar_residual : NULL, y,
             threads);
    check_bytes(y, wanted, out_elements(&s));
    if (source == SP_CSR_GATHERED) {
        p.nhwc = 1;
        run_step(SP_CONV_CSR_S8, &p, x, e.epilogue.residual_mode ? residual : NULL, y, threads);
        check_bytes(y, nhwc, out_elements(&s));
    }
    free(x), free(residual), free(w), free(narrow), free(sum), free(nhwc), free(wanted);
    free(planar_x), free(planar_residual), free(y);
    free_packed(packed), free_epilogue(&e);
    end_case();
}

/* A matrix product with m rows. */
static void test_product(int ukernel, int m, int columns, int k, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int most = kernel->k_group == 2 ? 64 : 127, zero_point = m * 37 % 256;
    sp_conv_shape s = make_shape(1, 1, k, columns, 1, (struct window){1, 1, 1, 0});
    s.batch = m;
    begin_case("gemm_csr_s8 %s, m %d, n %d, k %d, threads %d", kernel->name, m, columns, k,
               threads);
    uint8_t *x = random_bytes(in_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(columns * k), -most, most, EVEN_VALUES);
    make_sparse(w, (size_t)(columns * k));
    int8_t *narrow = allocate((size_t)(columns * k));
    for (int i = 0; i < columns * k; i++)
        narrow[i] = (int8_t)w[i];
    struct epilogue_case e = make_epilogue(columns, k, w, zero_point, 0);
    int32_t *sum = convolve(&s, x, w, zero_point), *y = allocate(out_elements(&s) * 4);
    for (int i = 0; i < m * columns; i++)
        sum[i] = (int32_t)((uint32_t)sum[i] + (uint32_t)e.bias[i % columns]);
    sp_conv_csr_s8 p = {.shape = s, .lanes = make_lanes(&s, SP_CSR_GATHERED), .ukernel = ukernel};
    struct packed *packed = pack_rows(&s, &p.lanes, narrow, 1, kernel->k_group, 1, m % 2);
    p.matrix = packed->matrix, p.window = 1, p.epilogue.bias = e.epilogue.bias;
    run_step(SP_GEMM_CSR_S8, &p, x, NULL, y, threads);
    check_sums(y, sum, out_elements(&s));
    free(x), free(w), free(narrow), free(sum), free(y), free_packed(packed), free_epilogue(&e);
    end_case();
}

/* ---- blocks ---- */

/* nhwc to nc4hw4; channels beyond the last one hold 0xA5. */
static uint8_t *to_words(const uint8_t *x, int images, int pixels, int channels)
{
    const int words = (channels + 3) / 4, n = images * pixels * words * 4;
    uint8_t *y = allocate((size_t)n);
    for (int i = 0; i < n; i++) {
        const int channel = i / 4 / pixels % words * 4 + i % 4;
        const int pixel = i / 4 / (pixels * words) * pixels + i / 4 % pixels;
        y[i] = channel < channels ? x[pixel * channels + channel] : 0xA5;
    }
    return y;
}

/* Entries of all rows: one for each block of four channels that is not zero. w: [O][taps][C /
 * groups].
 */
static struct packed *pack_blocks(const sp_conv_shape *s, const sp_csr_lanes *l, const int8_t *w,
                                  int window)
{
    const int each = s->in_c / s->groups, columns = s->out_c / s->groups;
    const int k = s->kernel_h * s->kernel_w * each;
    struct packed *p = allocate(sizeof *p);
    p->segments = allocate((size_t)s->out_c * sizeof *p->segments);
    int32_t *entries = allocate((size_t)(s->out_c * (k / 4 + window)) * 8);
    int done = 0;
    for (int o = 0; o < s->out_c; o++) {
        int count = 0;
        for (int i = 0; i < k; i += 4) {
            int32_t word;
            memcpy(&word, w + o * k + i, 4);
            if (word == 0)
                continue;
            const int channel = (o / columns * each + i % each) / 4;
            entries[2 * (done + count)] =
                (int32_t)(channel * l->channel_lanes + tap_offset(s, l, i / each));
            entries[2 * (done + count++) + 1] = word;
        }
        p->segments[o] = (sp_csr_segment){o, SP_ROUND_UP(count, window), 1, 1};
        done += p->segments[o].steps;
    }
    p->entries = allocate((size_t)done * 8); /* of its exact size */
    memcpy(p->entries, entries, (size_t)done * 8);
    free(entries);
    p->part_segment[1] = s->out_c;
    p->matrix = (sp_csr_matrix){
        1, 0, 1, s->in_c / 4, p->part_segment, p->part_byte, p->segments, p->entries};
    return p;
}

/* In int16, pairs and windows of them are exact where |w| <= 64 / window; see csr_windows.py. */
static void test_blocks(int ukernel, sp_conv_shape s, int source, enum values kind, int window,
                        int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    const int k = s.kernel_h * s.kernel_w * s.in_c / s.groups, zero_point = variant * 37 % 256;
    const int most = kernel->isa == SP_ISA_AVX2 ? 64 / window : 127;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("conv_block_s8 %s, %s, source %d, values %d, window %d, variant %d, threads %d",
               kernel->name, shape, source, kind, window, variant, threads);
    uint8_t *x = random_bytes(in_elements(&s), kind);
    uint8_t *residual = random_bytes(out_elements(&s), EVEN_VALUES);
    int16_t *w = random_weights((size_t)(s.out_c * k), -most, most, kind);
    int8_t *narrow = allocate((size_t)(s.out_c * k));
    for (int i = 0; i < s.out_c * k; i += 4)
        for (int j = 0, zero = random_between(0, 2); j < 4; j++) {
            w[i + j] = zero ? 0 : w[i + j];
            narrow[i + j] = (int8_t)w[i + j];
        }
    struct epilogue_case e = make_epilogue(s.out_c, k, w, zero_point, variant);
    int32_t *sum = convolve(&s, x, w, zero_point);
    const int pixels = s.out_h * s.out_w, images = s.batch;
    const size_t out_bytes = (size_t)(images * pixels * ((s.out_c + 3) / 4) * 4);
    uint8_t *nhwc = expect_epilogue(&e, sum, residual, (size_t)(images * pixels), s.out_c);
    uint8_t *wanted = to_words(nhwc, images, pixels, s.out_c);
    uint8_t *words_x = to_words(x, images, s.in_h * s.in_w, s.in_c);
    uint8_t *words_residual = to_words(residual, images, pixels, s.out_c);
    uint8_t *y = allocate(out_bytes);

    sp_conv_csr_s8 p = {.shape = s, .lanes = make_lanes(&s, source), .ukernel = ukernel};
    struct packed *packed = pack_blocks(&s, &p.lanes, narrow, window);
    p.shape.in_c /= 4, p.matrix = packed->matrix;
    p.x_zero_point = zero_point, p.window = window, p.epilogue = e.epilogue;
    run_step(SP_CONV_BLOCK_S8, &p, words_x, e.epilogue.residual_mode ? words_residual : NULL, y,
             threads);
    for (size_t i = 0; i < out_bytes; i++) /* channels beyond the last one may hold anything */
        if ((int)(i / 4 / (size_t)pixels % (size_t)((s.out_c + 3) / 4) * 4 + i % 4) >= s.out_c)
            y[i] = 0xA5;
    check_bytes(y, wanted, out_bytes);
    free(x), free(residual), free(w), free(narrow), free(sum), free(nhwc), free(wanted);
    free(words_x), free(words_residual), free(y);
    free_packed(packed), free_epilogue(&e);
    end_case();
}

/* nc4hw4 and back, from both other orders. */
static void test_words(int channels, int pixels, int threads)
{
    const int words = (channels + 3) / 4, images = 2;
    begin_case("nc4hw4, %d channels, %d pixels, threads %d", channels, pixels, threads);
    const size_t n = (size_t)(images * pixels * channels);
    const size_t word_bytes = (size_t)(images * pixels * words * 4);
    uint8_t *nhwc = random_bytes(n, EVEN_VALUES),
            *wanted = to_words(nhwc, images, pixels, channels);
    uint8_t *nchw = to_nchw(nhwc, images, pixels, channels);
    for (size_t i = 0; i < word_bytes; i++)
        if ((int)(i / 4 / (size_t)pixels % (size_t)words * 4 + i % 4) >= channels)
            wanted[i] = 0;
    for (int last = 0; last < 2; last++) {
        const uint8_t *other = last ? nhwc : nchw;
        uint8_t *y = allocate(word_bytes), *back = allocate(n);
        sp_nc4hw4 p = {images, channels, pixels, last, 1};
        run_step(SP_NC4HW4, &p, other, NULL, y, threads);
        check_bytes(y, wanted, word_bytes);
        p.to_words = 0;
        run_step(SP_NC4HW4, &p, y, NULL, back, threads);
        check_bytes(back, other, n);
        free(y), free(back);
    }
    free(nhwc), free(wanted), free(nchw);
    end_case();
}

struct layer {
    sp_conv_shape shape;
    int source;
};

/* Images of less than a block, of one, and of several with a rest of each width. */
static struct layer pick_layer(int i)
{
    static const int channels[] = {1, 3, 8, 17};
    static const struct window windows[] = {{3, 1, 1, 1}, {3, 2, 1, 1}, {5, 1, 1, 2}, {3, 1, 2, 2},
                                            {1, 1, 1, 0}, {1, 2, 1, 0}, {2, 1, 1, 0}, {1, 1, 1, 0}};
    const struct window window = windows[i % 8];
    const int in_c = channels[i % 4], out_c = channels[(i / 4 + 1) % 4];
    const int size = i % 8 == 7 ? 8 + i % 3 : 3 + i % 11; /* in place takes at least a block */
    const int source = i % 8 == 7           ? SP_CSR_IN_PLACE
                       : window.kernel == 1 ? SP_CSR_GATHERED
                                            : SP_CSR_PLANES;
    return (struct layer){make_shape(size, size + i % 3, in_c, out_c, 1, window), source};
}

void test_sparse(int threads)
{
    enum { LAYERS = 40 };
    for (int u = -1; (u = next_ukernel("conv_csr_s8", u)) >= 0;) {
        test_s8(u, make_shape(6, 9, 12, 20, 4, (struct window){3, 1, 1, 1}), SP_CSR_PLANES,
                EVEN_VALUES, 1, 3, threads);
        for (int i = 0; i < LAYERS; i++) {
            struct layer layer = pick_layer(i);
            const int window = sp_ukernels[u].k_group == 2 ? 1 + i / 8 % 2 : 1;
            test_s8(u, layer.shape, layer.source, i % VALUE_KINDS, window, i, threads);
        }
    }
    for (int u = -1; (u = next_ukernel("conv_csr_s8", u)) >= 0;)
        for (int m = 1; m < 140; m += 23)
            test_product(u, m, 1 + m % 20, 2 * m + 7, threads);
    for (int u = -1; (u = next_ukernel("conv_block_s8", u)) >= 0;) {
        test_blocks(u, make_shape(6, 9, 16, 20, 4, (struct window){3, 1, 1, 1}), SP_CSR_PLANES,
                    EVEN_VALUES, 1, 3, threads);
        for (int i = 0; i < LAYERS; i++) {
            struct layer layer = pick_layer(i);
            const int window = sp_ukernels[u].isa == SP_ISA_AVX2 ? 1 << i / 8 % 3 : 1;
            layer.shape.in_c = (layer.shape.in_c + 3) / 4 * 4;
            test_blocks(u, layer.shape, layer.source, i % VALUE_KINDS, window, i, threads);
        }
    }
    for (int channels = 1; channels < 10; channels++)
        for (int pixels = 1; pixels < 80; pixels += 13)
            test_words(channels, pixels, threads);
}
