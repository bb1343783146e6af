/* Selections of channels, and float operators without weights, against plain loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"

static void test_select(int channels, int element, int nhwc, int threads)
{
    enum { IMAGES = 2, PIXELS = 37 };
    const int half = channels / 2;
    static const int forms[] = {SP_SELECT_RUNS, SP_SELECT_PAIRS, SP_SELECT_SINGLE};
    for (size_t f = 0; f < (nhwc ? sizeof forms / sizeof *forms : 1); f++) {
        const int form = nhwc ? forms[f] : SP_SELECT_PLANES;
        begin_case("select, %d channels of %d bytes, form %d, threads %d", channels, element, form,
                   threads);
        int32_t *channel = allocate((size_t)channels * sizeof *channel);
        for (int i = 0; i < channels; i++) /* halves in turn, or one after the other */
            channel[i] = form == SP_SELECT_RUNS ? (i + half) % channels : i / 2 + i % 2 * half;
        const sp_channel_run runs[] = {{half, 0, channels - half}, {0, channels - half, half}};
        const sp_select_channels p = {nhwc ? IMAGES * PIXELS : IMAGES,
                                      nhwc ? element : element * PIXELS,
                                      channels,
                                      channels,
                                      form,
                                      2,
                                      channel,
                                      runs};
        const size_t unit = (size_t)p.unit, n = (size_t)(IMAGES * PIXELS * channels * element);
        uint8_t *x = random_bytes(n, EVEN_VALUES), *y = allocate(n);
        run_step(SP_SELECT_CHANNELS, &p, x, NULL, y, threads);
        for (size_t i = 0; i < n / unit; i++) {
            size_t at = i % (size_t)channels, from = i - at + (size_t)channel[at];
            CHECK(memcmp(y + i * unit, x + from * unit, unit) == 0);
        }
        free(x), free(y), free(channel);
        end_case();
    }
}

static float clamped(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

static void test_binary(int channels, int nhwc, int product, int threads)
{
    enum { IMAGES = 2, PIXELS = 29 };
    const int n = IMAGES * PIXELS * channels;
    begin_case("binary f32, %d channels, nhwc %d, product %d, threads %d", channels, nhwc, product,
               threads);
    float *a = random_floats((size_t)n), *b = random_floats((size_t)n);
    float *y = allocate((size_t)n * sizeof *y);
    a[n / 2] = NAN;
    for (int broadcast = 0; broadcast < 2; broadcast++) {
        const sp_binary_f32 p = {IMAGES, PIXELS, channels, nhwc, 0, broadcast, product, -1.5F, 4};
        run_step(SP_BINARY_F32, &p, a, b, y, threads);
        for (int i = 0; i < n; i++) {
            int image = i / (PIXELS * channels), at = i % (PIXELS * channels);
            int gate = image * channels + (nhwc ? at % channels : at / PIXELS);
            float other = b[broadcast ? gate : i];
            float want = clamped(product ? a[i] * other : a[i] + other, -1.5F, 4);
            CHECK(y[i] == want || (isnan(y[i]) && isnan(want)));
        }
    }
    free(a), free(b), free(y);
    end_case();
}

/* The error of the sigmoid is at most 4 units in the last place, and what it cuts off below -87. */
static void test_activations(int n, int threads)
{
    begin_case("activations, %d elements, threads %d", n, threads);
    float *x = random_floats((size_t)n), *y = allocate((size_t)n * sizeof *y);
    for (int i = 0; i < n; i += 3)
        x[i] *= 30;
    for (int function = 0; function < SP_ACTIVATION_COUNT; function++) {
        const sp_activation_f32 p = {n, function, -0.3F, 0.6F};
        run_step(SP_ACTIVATION_F32, &p, x, NULL, y, threads);
        for (int i = 0; i < n; i++) {
            float gate = clamped(x[i] * -0.3F + 0.6F, 0, 1);
            double sigmoid = 1 / (1 + exp(-(double)x[i])), off = sigmoid * 0x1p-21 + exp(-87);
            if (function == SP_CLIP)
                CHECK(y[i] == clamped(x[i], -0.3F, 0.6F));
            else if (function == SP_HARD_SIGMOID)
                CHECK(y[i] == gate);
            else if (function == SP_HARD_SWISH)
                CHECK(y[i] == x[i] * gate);
            else if (function == SP_SIGMOID)
                CHECK(fabs(y[i] - sigmoid) <= off);
            else if (function == SP_SILU)
                CHECK(fabs(y[i] - x[i] * sigmoid) <= fabs(x[i] * off) * 1.25);
            else if (function == SP_LEAKY_RELU)
                CHECK(y[i] == (x[i] >= 0 ? x[i] : x[i] * -0.3F));
            else if (function == SP_ELU)
                CHECK(fabs(y[i] - (x[i] > 0 ? x[i] : -0.3F * expm1(x[i]))) <= 2e-7);
            else if (function == SP_TANH)
                CHECK(fabs(y[i] - tanh(x[i])) <= 3e-7 * fabs(tanh(x[i])));
            else
                CHECK(fabs(y[i] - x[i] / 2 * erfc(-x[i] * M_SQRT1_2)) <= 3e-7 * fabs(x[i]));
        }
    }
    free(x), free(y);
    end_case();
}

static void test_pools(int h, int w, int channels, struct window window, int threads)
{
    const sp_conv_shape s = make_shape(h, w, channels, channels, 1, window);
    begin_case("pools f32, %d x %d, %d channels, kernel %d, stride %d, threads %d", h, w, channels,
               window.kernel, window.stride, threads);
    const int pixels = s.out_h * s.out_w, outputs = s.batch * pixels * channels;
    float *x = random_floats(in_elements(&s)), *top = allocate((size_t)outputs * sizeof *top);
    float *mean = allocate((size_t)outputs * sizeof *mean);
    float *divisor = allocate((size_t)pixels * sizeof *divisor);
    for (int i = 0; i < pixels; i++)
        divisor[i] = (float)(1 + i % 9);
    const sp_max_pool_f32 max_pool = {s};
    const sp_average_pool_f32 average_pool = {s, divisor};
    run_step(SP_MAX_POOL_F32, &max_pool, x, NULL, top, threads);
    run_step(SP_AVERAGE_POOL_F32, &average_pool, x, NULL, mean, threads);
    for (int i = 0; i < outputs; i++) {
        const int pixel = i / channels % pixels, image = i / channels / pixels;
        float highest = -INFINITY, total = 0;
        for (int ky = 0; ky < s.kernel_h; ky++) {
            float row = 0;
            for (int kx = 0; kx < s.kernel_w; kx++) {
                int iy = pixel / s.out_w * s.stride_h - s.pad_top + ky * s.dilation_h;
                int ix = pixel % s.out_w * s.stride_w - s.pad_left + kx * s.dilation_w;
                if (iy < 0 || iy >= h || ix < 0 || ix >= w)
                    continue;
                float tap = x[((image * h + iy) * w + ix) * channels + i % channels];
                highest = SP_MAX(highest, tap);
                row += tap;
            }
            total += row;
        }
        CHECK(top[i] == highest);
        CHECK(mean[i] == total / divisor[pixel]);
    }
    free(x), free(top), free(mean), free(divisor);
    end_case();
}

void test_float(int threads)
{
    static const int channels[] = {2, 6, 32, 34, 116};
    static const struct window windows[] = {{3, 2, 1, 1}, {3, 1, 2, 2}, {2, 2, 1, 0}, {5, 1, 1, 2}};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        for (int nhwc = 0; nhwc < 2; nhwc++) {
            test_select(channels[i], 1, nhwc, threads);
            test_select(channels[i], 4, nhwc, threads);
            test_binary(channels[i], nhwc, 0, threads);
            test_binary(channels[i], nhwc, 1, threads);
        }
    for (int n = 1; n < 20000; n = n * 5 + 2)
        test_activations(n, threads);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (int c = 1; c < 300; c = c * 6 + 3)
            test_pools(7, 9, c, windows[i], threads);
}
