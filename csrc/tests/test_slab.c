/* Sparse float32 convolutions of every conv_csr_f32 micro-kernel, and the layout of slabs, against
 * plain loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "packed_rows.h"

/* Where an element of nchw stands in slabs. */
static size_t in_slabs(int64_t i, int channels, int pixels)
{
    const int64_t pixel = i / channels / pixels * pixels + i % pixels;
    return (size_t)((pixel / SP_SLAB_WIDTH * channels + i / pixels % channels) * SP_SLAB_WIDTH +
                    pixel % SP_SLAB_WIDTH);
}

static size_t slab_elements(int images, int channels, int pixels)
{
    return (size_t)(SP_ROUND_UP(images * pixels, SP_SLAB_WIDTH) * channels);
}

/* nchw to slabs of their exact size; what stands for no pixel is NaN. */
static float *to_slabs(const float *x, int images, int channels, int pixels)
{
    const size_t n = slab_elements(images, channels, pixels);
    float *slabs = allocate(n * sizeof *slabs);
    for (size_t i = 0; i < n; i++)
        slabs[i] = NAN;
    for (int i = 0; i < images * channels * pixels; i++)
        slabs[in_slabs(i, channels, pixels)] = x[i];
    return slabs;
}

/* Slabs and back, from both other orders. */
static void test_slab_layout(int channels, int pixels, int threads)
{
    const int images = 3, n = images * channels * pixels;
    begin_case("slabs, %d channels, %d pixels, threads %d", channels, pixels, threads);
    float *nchw = random_floats((size_t)n), *nhwc = allocate((size_t)n * sizeof *nhwc);
    for (int i = 0; i < n; i++) {
        const int pixel = i / channels / pixels * pixels + i % pixels;
        nhwc[pixel * channels + i / pixels % channels] = nchw[i];
    }
    for (int last = 0; last < 2; last++) {
        const float *other = last ? nhwc : nchw;
        float *y = to_slabs(nchw, images, channels, pixels);
        float *back = allocate((size_t)n * sizeof *back);
        sp_slab p = {images, channels, pixels, last, 0};
        run_step(SP_SLAB, &p, y, NULL, back, threads);
        check_bytes((uint8_t *)back, (const uint8_t *)other, (size_t)n * sizeof *back);
        memset(y, 0xA5, slab_elements(images, channels, pixels) * sizeof *y);
        p.to_slab = 1;
        run_step(SP_SLAB, &p, other, NULL, y, threads);
        for (int i = 0; i < n; i++)
            CHECK(y[in_slabs(i, channels, pixels)] == nchw[i]);
        free(y), free(back);
    }
    free(nchw), free(nhwc);
    end_case();
}

static void test_f32(int ukernel, sp_conv_shape s, int in_place, int split, int threads)
{
    const int taps = s.kernel_h * s.kernel_w, k = taps * s.in_c;
    const int in_pixels = s.in_h * s.in_w, pixels = s.out_h * s.out_w;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("conv_csr_f32 %s, %s, in place %d, split %d, threads %d", sp_ukernels[ukernel].name,
               shape, in_place, split, threads);
    float *x = random_floats(in_elements(&s)), *residual = random_floats(out_elements(&s));
    float *w = random_floats((size_t)(s.out_c * k)), *bias = random_floats((size_t)s.out_c);
    for (int i = 0; i < s.out_c * k; i++)
        w[i] = random_between(0, 3) ? 0 : w[i];
    float *slabs = to_slabs(x, s.batch, s.in_c, in_pixels);
    float *residual_slabs = to_slabs(residual, s.batch, s.out_c, pixels);
    float *y = allocate(slab_elements(s.batch, s.out_c, pixels) * sizeof *y);
    const sp_csr_lanes lanes = {.source = SLABS, .channel_lanes = taps * SP_SLAB_WIDTH};
    sp_conv_csr_f32 p = {.shape = s, .ukernel = ukernel, .in_place = in_place};
    struct packed *packed = pack_rows(&s, &lanes, w, 4, 1, 1, split);
    p.matrix = packed->matrix;
    p.bias = bias, p.lo = -20.0F, p.hi = 25.0F, p.has_residual = 1;
    run_step(SP_CONV_CSR_F32, &p, slabs, residual_slabs, y, threads);
    for (int i = 0; i < (int)out_elements(&s); i++) { /* nchw */
        const int image = i / (s.out_c * pixels), o = i / pixels % s.out_c;
        double sum = (double)bias[o] + (double)residual[i];
        double size = fabs((double)bias[o]) + fabs((double)residual[i]);
        for (int j = 0; j < k; j++) {
            int64_t at = find_input(&s, (int64_t)image * pixels + i % pixels, j / s.in_c, 0);
            if (at < 0)
                continue;
            const int64_t inside = at / s.in_c % in_pixels;
            const double value =
                (double)x[((int64_t)image * s.in_c + j % s.in_c) * in_pixels + inside];
            sum += value * (double)w[o * k + j], size += fabs(value * (double)w[o * k + j]);
        }
        /* gamma(K + 3): see conv_f32_bound in pyinterp/ops/fused.py */
        const double bound = (k + 3) * 0x1p-24 / (1 - (k + 3) * 0x1p-24) * size;
        const double got = (double)y[in_slabs(i, s.out_c, pixels)];
        CHECK(fabs(got - fmin(fmax(sum, -20.0), 25.0)) <= bound);
    }
    free(x), free(residual), free(w), free(bias), free(y), free_packed(packed);
    free(slabs), free(residual_slabs);
    end_case();
}

void test_slab(int threads)
{
    static const int channels[] = {1, 3, 8, 17};
    static const struct window windows[] = {{3, 1, 1, 1}, {3, 2, 1, 1}, {5, 1, 1, 2}, {3, 1, 2, 2},
                                            {1, 1, 1, 0}, {1, 2, 1, 0}, {2, 1, 1, 0}};
    for (int u = -1; (u = next_ukernel("conv_csr_f32", u)) >= 0;)
        for (int i = 0; i < 42; i++) {
            const struct window window = windows[i % 7];
            const int in_c = channels[i % 4], out_c = channels[(i / 4 + 1) % 4];
            const int size = 3 + i % 11; /* less than a slab, a slab and a tail, and several */
            const sp_conv_shape s = make_shape(size, size + i % 3, in_c, out_c, 1, window);
            test_f32(u, s, 0, i % 2, threads);
            if (window.kernel == 1 && window.stride == 1)
                test_f32(u, s, 1, i % 2, threads);
        }
    for (int c = 1; c < 10; c += 3)
        for (int pixels = 1; pixels < 150; pixels += 13)
            test_slab_layout(c, pixels, threads);
}
