/* Poolings, and float32 convolutions of every micro-kernel, nhwc, against plain loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "conv_f32/winograd.h"

static void test_pools(sp_conv_shape s, int threads)
{
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("max and average pool, %s, threads %d", shape, threads);
    uint8_t *x = random_bytes(in_elements(&s), EVEN_VALUES);
    uint8_t *max = allocate(out_elements(&s)), *average = allocate(out_elements(&s));
    float *multiplier = random_floats((size_t)(s.out_h * s.out_w));
    sp_max_pool_s8 m = {s};
    sp_average_pool_s8 a = {s, 40, multiplier, ODD_RANGE};
    run_step(SP_MAX_POOL_S8, &m, x, NULL, max, threads);
    run_step(SP_AVERAGE_POOL_S8, &a, x, NULL, average, threads);
    for (int64_t i = 0; i < (int64_t)out_elements(&s); i++) {
        int highest = 0, sum = 0;
        for (int tap = 0; tap < s.kernel_h * s.kernel_w; tap++) {
            int64_t at = find_input(&s, i / s.out_c, tap, (int)(i % s.out_c));
            highest = at < 0 ? highest : SP_MAX(highest, x[at]);
            sum += at < 0 ? 0 : x[at] - 40;
        }
        CHECK(max[i] == highest);
        float by = multiplier[i / s.out_c % (s.out_h * s.out_w)];
        CHECK(average[i] == expect_round((float)sum * by, ODD_RANGE));
    }
    free(x), free(max), free(average), free(multiplier);
    end_case();
}

/* weight: [out_c][kernel_h * kernel_w][in_c / groups], as the plain loop wants it. */
static void pack(const sp_conv_shape *s, const float *weight, const float *bias, int nr,
                 float *packed, float *packed_bias)
{
    int taps = s->kernel_h * s->kernel_w, k = taps * (s->in_c / s->groups);
    int columns = s->out_c / s->groups, panels = (columns + nr - 1) / nr;
    for (int o = 0; o < s->out_c; o++) {
        int panel = o / columns * panels + o % columns / nr, lane = o % columns % nr;
        packed_bias[panel * nr + lane] = bias[o];
        for (int i = 0; i < k; i++)
            packed[(panel * k + i) * nr + lane] = weight[o * k + i];
    }
}

static int is_depthwise(const sp_conv_shape *s)
{
    return s->groups > 1 && s->groups == s->in_c && s->groups == s->out_c;
}

static void test_conv_f32(int u, sp_conv_shape s, int threads)
{
    const int depthwise = is_depthwise(&s);
    const int per_group = s.in_c / s.groups, columns = s.out_c / s.groups;
    const int k = s.kernel_h * s.kernel_w * per_group;
    /* depthwise [taps][C] is the packed form of one group with C columns and K = taps */
    const int nr = depthwise ? s.out_c : sp_ukernels[u].nr, groups = depthwise ? 1 : s.groups;
    const int padded = SP_ROUND_UP(s.out_c / groups, nr) * groups;
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("conv_f32 %s, %s, threads %d", sp_ukernels[u].name, shape, threads);
    float *x = random_floats(in_elements(&s)), *residual = random_floats(out_elements(&s));
    float *y = allocate(out_elements(&s) * sizeof *y);
    float *weight = random_floats((size_t)(s.out_c * k)), *bias = random_floats((size_t)s.out_c);
    float *packed = allocate((size_t)(padded * k) * sizeof *packed);
    float *packed_bias = allocate((size_t)padded * sizeof *packed_bias);
    sp_conv_shape packing = s;
    if (depthwise)
        packing.groups = 1, packing.in_c = 1;
    pack(&packing, weight, bias, nr, packed, packed_bias);
    sp_conv_f32 p = {s, u, packed, packed_bias, -20.0F, 25.0F, 1};
    run_step(SP_CONV_F32, &p, x, residual, y, threads);
    for (int64_t i = 0; i < (int64_t)out_elements(&s); i++) {
        int o = (int)(i % s.out_c);
        double sum = (double)bias[o] + (double)residual[i];
        double size = fabs((double)bias[o]) + fabs((double)residual[i]);
        for (int j = 0; j < k; j++) {
            int channel = o / columns * per_group + j % per_group;
            int64_t at = find_input(&s, i / s.out_c, j / per_group, channel);
            double product = at < 0 ? 0 : (double)x[at] * (double)weight[o * k + j];
            sum += product, size += fabs(product);
        }
        /* gamma(K + 3): see conv_f32_bound in pyinterp/ops/fused.py */
        double bound = (k + 3) * 0x1p-24 / (1 - (k + 3) * 0x1p-24) * size;
        CHECK(fabs((double)y[i] - fmin(fmax(sum, -20.0), 25.0)) <= bound);
    }
    free(x), free(residual), free(y), free(weight), free(bias), free(packed), free(packed_bias);
    end_case();
}

static void test_all_f32(sp_conv_shape s, int threads)
{
    const char *op = is_depthwise(&s) ? "depthwise_f32" : "gemm_f32";
    for (int u = -1; (u = next_ukernel(op, u)) >= 0;)
        test_conv_f32(u, s, threads);
}

/* G of csrc/conv_f32/winograd.h, times 24. */
static const int8_t transform[SP_W_IN][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4},
                                             {1, 2, 4}, {1, -2, 4},   {0, 0, 24}};

static double transformed(const float *kernel, int step, int position)
{
    double sum = 0;
    for (int i = 0; i < 9; i++)
        sum += transform[position / SP_W_IN][i / 3] * transform[position % SP_W_IN][i % 3] / 576.0 *
               (double)kernel[i * step];
    return sum;
}

/* Against the direct convolution, loosely: pyinterp/ops/winograd_bound.py has the true bound. */
static void test_winograd_f32(int u, int products, sp_conv_shape s, int threads)
{
    const int c = s.in_c, nr = sp_ukernels[products].nr, padded = SP_ROUND_UP(s.out_c, nr);
    char shape[150];
    describe_shape(&s, shape, sizeof shape);
    begin_case("winograd_f32 %s, %s, %s, threads %d", sp_ukernels[u].name,
               sp_ukernels[products].name, shape, threads);
    float *x = random_floats(in_elements(&s)), *residual = random_floats(out_elements(&s));
    float *y = allocate(out_elements(&s) * sizeof *y);
    float *weight = random_floats((size_t)(s.out_c * 9 * c)), *bias = random_floats((size_t)padded);
    float *packed = allocate((size_t)(SP_W_POSITIONS * padded * c) * sizeof *packed);
    for (int i = 0; i < SP_W_POSITIONS * s.out_c * c; i++) {
        const int o = i % s.out_c, channel = i / s.out_c % c, position = i / s.out_c / c;
        packed[((o / nr * SP_W_POSITIONS + position) * c + channel) * nr + o % nr] =
            (float)transformed(weight + o * 9 * c + channel, c, position);
    }
    sp_winograd_f32 p = {s, u, products, packed, bias, -20.0F, 25.0F, 1};
    run_step(SP_WINOGRAD_F32, &p, x, residual, y, threads);
    for (int64_t i = 0; i < (int64_t)out_elements(&s); i++) {
        const int o = (int)(i % s.out_c);
        double sum = (double)bias[o] + (double)residual[i];
        for (int j = 0; j < 9 * c; j++) {
            const int64_t at = find_input(&s, i / s.out_c, j / c, j % c);
            sum += at < 0 ? 0 : (double)x[at] * (double)weight[o * 9 * c + j];
        }
        CHECK(fabs((double)y[i] - fmin(fmax(sum, -20.0), 25.0)) <= 1e-4 * c);
    }
    free(x), free(residual), free(y), free(weight), free(bias), free(packed);
    end_case();
}

static void test_all_winograd(sp_conv_shape s, int threads)
{
    for (int u = -1; (u = next_ukernel("winograd_f32", u)) >= 0;)
        for (int products = -1; (products = next_ukernel("gemm_f32", products)) >= 0;)
            if (sp_ukernels[u].isa == sp_ukernels[products].isa)
                test_winograd_f32(u, products, s, threads);
}

void test_windows(int threads)
{
    static const int channels[] = {1, 3, 16, 33, 100};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        const int c = channels[i];
        test_pools(make_shape(9, 9, c, c, 1, (struct window){3, 2, 1, 1}), threads);
        test_pools(make_shape(7, 7, c, c, 1, (struct window){7, 1, 1, 0}), threads);
        test_all_f32(make_shape(6, 6, c, 35, 1, (struct window){3, 1, 1, 1}), threads);
        test_all_f32(make_shape(5, 5, c, 16, 1, (struct window){1, 1, 1, 0}), threads);
        test_all_f32(make_shape(11, 11, c, c, c, (struct window){3, 2, 1, 1}), threads);
    }
    test_all_f32(make_shape(6, 6, 12, 20, 4, (struct window){3, 1, 1, 2}), threads);
    for (int images = 1; images <= 3; images++)
        for (int columns = 4; columns <= 292; columns += 36) {
            sp_conv_shape row = make_shape(1, 1, 70, columns, 1, (struct window){1, 1, 1, 0});
            row.batch = images;
            test_all_f32(row, threads);
        }
    test_all_winograd(make_shape(9, 9, 17, 35, 1, (struct window){3, 1, 1, 1}), threads);
    test_all_winograd(make_shape(4, 8, 16, 64, 1, (struct window){3, 1, 1, 1}), threads);
    test_all_winograd(make_shape(5, 3, 40, 16, 1, (struct window){3, 1, 1, 0}), threads);
    test_pools(make_shape(18, 18, 600, 600, 1, (struct window){17, 1, 1, 0}), threads);
}
