/* Dynamic quantization, against plain loops: equal bits, floats included. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"

static void test_range(int n, int nan_at, int threads)
{
    begin_case("dynamic range and quantize, %d values, NaN at %d, threads %d", n, nan_at, threads);
    float *x = random_floats((size_t)n), range[2];
    if (nan_at >= 0)
        x[nan_at] = NAN;
    float low = 0.0F, high = 0.0F;
    for (int i = 0; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    const float scale = (high - low) / 255.0F;
    const sp_dynamic_range p = {n};
    run_step(SP_DYNAMIC_RANGE, &p, x, NULL, range, threads);
    CHECK(nan_at >= 0 ? range[0] != range[0] : range[0] == scale);
    CHECK(range[1] == (nan_at >= 0 ? 0.0F : rintf(-low / scale)));
    uint8_t *y = allocate((size_t)n), *wanted = allocate((size_t)n);
    const sp_range bytes = {(int)range[1], 0, 255};
    for (int i = 0; i < n; i++)
        wanted[i] = nan_at >= 0 ? 0 : expect_round(x[i] / scale, bytes);
    const sp_dynamic_quantize q = {n};
    run_step(SP_DYNAMIC_QUANTIZE, &q, x, range, y, threads);
    check_bytes(y, wanted, (size_t)n);
    free(x), free(y), free(wanted);
    end_case();
}

/* A layer's weights and what makes floats of its sums. */
struct layer {
    sp_conv_shape shape;
    int k;
    uint8_t *x;
    int16_t *w;
    int32_t *weight_sum;
    float *scale, *bias, range[2];
    sp_dynamic_real real;
};

static struct layer make_layer(sp_conv_shape s, int highest, enum values kind, int variant)
{
    struct layer l = {.shape = s, .k = s.kernel_h * s.kernel_w * s.in_c / s.groups};
    l.x = random_bytes(in_elements(&s), kind);
    l.w = random_weights((size_t)(s.out_c * l.k), -highest, highest, kind);
    l.weight_sum = allocate((size_t)s.out_c * sizeof *l.weight_sum);
    for (int i = 0; i < s.out_c * l.k; i++)
        l.weight_sum[i / l.k] += l.w[i];
    l.scale = random_floats((size_t)s.out_c);
    l.bias = random_floats((size_t)s.out_c);
    l.range[0] = 0.0137F, l.range[1] = (float)(variant * 85 % 256);
    l.real =
        (sp_dynamic_real){l.weight_sum, l.scale, l.bias, variant % 2 ? 0.0F : -INFINITY, INFINITY};
    return l;
}

static void check_layer(const struct layer *l, int op, const void *params, int threads)
{
    const size_t n = out_elements(&l->shape);
    float *y = allocate(n * sizeof *y), *wanted = allocate(n * sizeof *wanted);
    int32_t *sum = convolve(&l->shape, l->x, l->w, (int)l->range[1]);
    for (size_t i = 0; i < n; i++) {
        const size_t c = i % (size_t)l->shape.out_c;
        const float unit = l->range[0] * l->scale[c], scaled = (float)sum[i] * unit;
        wanted[i] = fmaxf(scaled + l->bias[c], l->real.lo);
    }
    run_step(op, params, l->x, l->range, y, threads);
    check_bytes((uint8_t *)y, (uint8_t *)wanted, n * sizeof *y);
    free(y), free(wanted), free(sum), free(l->x), free(l->w), free(l->weight_sum);
    free(l->scale), free(l->bias);
}

static void test_conv(int ukernel, sp_conv_shape s, enum values kind, int variant, int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("dynamic conv %s, %s, variant %d, threads %d", kernel->name, shape, variant,
               threads);
    const struct layer l = make_layer(s, kernel->weight_bytes == 1 ? 127 : 255, kind, variant);
    void *packed = pack_panels(l.w, 1, s.out_c, l.k, kernel);
    sp_dynamic_conv p = {.real = l.real};
    p.product.shape = s, p.product.ukernel = ukernel, p.product.weights = packed;
    p.product.k_padded = SP_ROUND_UP(l.k, kernel->k_group);
    check_layer(&l, SP_DYNAMIC_CONV, &p, threads);
    free(packed);
    end_case();
}

static void test_depthwise_of(int ukernel, sp_conv_shape s, enum values kind, int variant,
                              int threads)
{
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("dynamic depthwise %s, %s, variant %d, threads %d", sp_ukernels[ukernel].name, shape,
               variant, threads);
    const struct layer l = make_layer(s, 255, kind, variant);
    float *packed = allocate((size_t)(s.out_c * l.k) * sizeof *packed); /* [taps][channels] */
    float *zero = allocate((size_t)s.out_c * sizeof *zero);
    for (int i = 0; i < s.out_c * l.k; i++)
        packed[i % l.k * s.out_c + i / l.k] = l.w[i];
    sp_dynamic_depthwise p = {.real = l.real};
    p.product.shape = s, p.product.ukernel = ukernel;
    p.product.weights = packed, p.product.bias = zero;
    check_layer(&l, SP_DYNAMIC_DEPTHWISE, &p, threads);
    free(packed), free(zero);
    end_case();
}

static void test_winograd_of(int ukernel, sp_conv_shape s, enum values kind, int variant,
                             int threads)
{
    const struct sp_ukernel_entry *kernel = &sp_ukernels[ukernel];
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("dynamic winograd %s, %s, variant %d, threads %d", kernel->name, shape, variant,
               threads);
    const struct layer l = make_layer(s, 127, kind, variant);
    const int k_padded = SP_ROUND_UP(s.in_c, kernel->k_group);
    int8_t *given = in_onnx_order(l.w, s.out_c, s.in_c);
    int16_t *packed = allocate((size_t)(36 * SP_ROUND_UP(s.out_c, 16) * k_padded) * 2);
    sp_pack_winograd(given, s.out_c, s.in_c, kernel->nr, packed);
    sp_dynamic_winograd p = {.real = l.real};
    p.product.shape = s, p.product.ukernel = ukernel, p.product.k_padded = k_padded;
    p.product.transformed = 1, p.product.weights = packed;
    check_layer(&l, SP_DYNAMIC_WINOGRAD, &p, threads);
    free(given), free(packed);
    end_case();
}

void test_dynamic(int threads)
{
    static const struct window windows[] = {
        {3, 1, 1, 1}, {1, 1, 1, 0}, {5, 2, 1, 2}, {3, 1, 2, 2}, {2, 2, 1, 0}};
    static const int columns[] = {1, 15, 16, 17, 33, 64, 65};
    for (int n = 1; n < 20000; n = n * 3 + 1) {
        test_range(n, -1, threads);
        test_range(n, n / 2, threads);
    }
    for (int u = -1; (u = next_ukernel("gemm_s8", u)) >= 0;)
        for (int i = 0; i < 20; i++)
            test_conv(u, make_shape(5 + i % 3, 6, 3 + i, columns[i % 7], 1, windows[i % 5]),
                      i % VALUE_KINDS, i, threads);
    for (int u = -1; (u = next_ukernel("winograd_s8", u)) >= 0;)
        for (int i = 0; i < 10; i++)
            test_winograd_of(u, make_shape(3 + i, 6, 3 + 3 * i, columns[i % 7], 1, windows[0]),
                             i % VALUE_KINDS, i, threads);
    for (int u = -1; (u = next_ukernel("depthwise_f32", u)) >= 0;)
        for (int i = 0; i < 20; i++) {
            const int channels = 1 + i * 4;
            test_depthwise_of(u, make_shape(5 + i, 6, channels, channels, channels, windows[i % 5]),
                              i % VALUE_KINDS, i, threads);
        }
}
