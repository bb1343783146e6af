/* What convolutions and epilogues should give, in plain loops: see checks.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "checks.h"

sp_conv_shape make_shape(int h, int w, int in_c, int out_c, int groups, struct window window)
{
    const int extent = (window.kernel - 1) * window.dilation + 1;
    return (sp_conv_shape){
        .batch = 2,
        .in_h = h,
        .in_w = w,
        .in_c = in_c,
        .out_h = (h + 2 * window.pad - extent) / window.stride + 1,
        .out_w = (w + 2 * window.pad - extent) / window.stride + 1,
        .out_c = out_c,
        .groups = groups,
        .kernel_h = window.kernel,
        .kernel_w = window.kernel,
        .stride_h = window.stride,
        .stride_w = window.stride,
        .dilation_h = window.dilation,
        .dilation_w = window.dilation,
        .pad_top = window.pad,
        .pad_left = window.pad,
    };
}

void describe_shape(const sp_conv_shape *s, char *text, size_t size)
{
    snprintf(text, size,
             "[%d, %d, %d, %d] to %d channels, groups %d, %dx%d stride %d dilation %d "
             "pad %d",
             s->batch, s->in_h, s->in_w, s->in_c, s->out_c, s->groups, s->kernel_h, s->kernel_w,
             s->stride_h, s->dilation_h, s->pad_top);
}

size_t in_elements(const sp_conv_shape *s)
{
    return (size_t)s->batch * (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
}
size_t out_elements(const sp_conv_shape *s)
{
    return (size_t)s->batch * (size_t)s->out_h * (size_t)s->out_w * (size_t)s->out_c;
}

int64_t find_input(const sp_conv_shape *s, int64_t pixel, int tap, int channel)
{
    int64_t image = pixel / (s->out_h * s->out_w), at = pixel % (s->out_h * s->out_w);
    int64_t y = at / s->out_w * s->stride_h - s->pad_top + tap / s->kernel_w * s->dilation_h;
    int64_t x = at % s->out_w * s->stride_w - s->pad_left + tap % s->kernel_w * s->dilation_w;
    if (y < 0 || y >= s->in_h || x < 0 || x >= s->in_w)
        return -1;
    return ((image * s->in_h + y) * s->in_w + x) * s->in_c + channel;
}

int32_t *convolve(const sp_conv_shape *s, const uint8_t *x, const int16_t *w, int x_zero_point)
{
    const int taps = s->kernel_h * s->kernel_w, each = s->in_c / s->groups;
    const int columns = s->out_c / s->groups;
    uint32_t *sum = allocate(out_elements(s) * sizeof *sum);
    for (int64_t i = 0; i < (int64_t)out_elements(s); i++) {
        const int o = (int)(i % s->out_c);
        for (int tap = 0; tap < taps; tap++)
            for (int c = 0; c < each; c++) {
                int64_t at = find_input(s, i / s->out_c, tap, o / columns * each + c);
                if (at >= 0)
                    sum[i] += (uint32_t)((x[at] - x_zero_point) * w[(o * taps + tap) * each + c]);
            }
    }
    return (int32_t *)sum;
}

/* ---- the epilogue ---- */

const sp_range ODD_RANGE = {117, 3, 250};

uint8_t expect_round(float real, sp_range r)
{
    double f = rint((double)real);
    f = fmin(fmax(f, r.lo - r.zero_point), r.hi - r.zero_point);
    return (uint8_t)((int)f + r.zero_point);
}

/* Multipliers that spread sums over the output range, others that halve small sums to ties, and
 * the smallest and largest that the numeric contract allows. */
static float random_multiplier(int k, int variant)
{
    if (variant % 4 == 1)
        return random_between(0, 1) ? 0x1p-64F : 0x1p63F;
    if (variant % 4 == 2)
        return 0.5F;
    return (float)random_between(1, 1000) / (250.0F * sqrtf((float)k) * 127);
}

struct epilogue_case make_epilogue(int columns, int k, const int16_t *w, int x_zero_point,
                                   int variant)
{
    enum { SLACK = 64 }; /* readable values behind the last one */
    const size_t n = (size_t)columns + SLACK;
    int32_t *bias = allocate((size_t)columns * sizeof *bias);
    int32_t *folded = allocate(n * sizeof *folded);
    float *multiplier = allocate(n * sizeof *multiplier);
    int fits = 1; /* acc * multiplier: so do the small residuals below */
    for (int o = 0; o < columns; o++) {
        bias[o] = variant % 4 == 2 ? random_between(-300, 300) : random_between(-30000, 30000);
        if (variant % 7 == 3) /* sums wrap */
            bias[o] = random_between(0, 1) ? INT32_MAX - 1000 : INT32_MIN + 1000;
        uint32_t total = (uint32_t)bias[o];
        for (int i = 0; i < k; i++)
            total -= (uint32_t)(x_zero_point * w[o * k + i]);
        folded[o] = (int32_t)total;
        multiplier[o] = random_multiplier(k, variant);
        fits = fits && multiplier[o] <= 0.5F;
    }
    const int mode = variant % 3;
    return (struct epilogue_case){
        .epilogue =
            {
                .bias = folded,
                .multiplier = multiplier,
                .output = variant % 5 == 1 ? (sp_range){0, 0, 255} : ODD_RANGE,
                .residual_mode = mode,
                .conv_output = {131, 2, 254},
                .conv_multiplier = 0.9F,
                .residual_zero_point = 77,
                .residual_multiplier = 1.1F,
                .fits = fits,
                .table = variant % 2 ? random_bytes(256, EVEN_VALUES) : NULL,
            },
        .bias = bias,
    };
}

void free_epilogue(struct epilogue_case *e)
{
    free(e->bias);
    free((void *)e->epilogue.bias);
    free((void *)e->epilogue.multiplier);
    free((void *)e->epilogue.table);
}

uint8_t *expect_epilogue(const struct epilogue_case *c, const int32_t *sum, const uint8_t *residual,
                         size_t pixels, int columns)
{
    const sp_epilogue *e = &c->epilogue;
    const size_t n = pixels * (size_t)columns;
    uint8_t *y = allocate(n);
    for (size_t i = 0; i < n; i++) {
        const size_t o = i % (size_t)columns;
        const int32_t total = (int32_t)((uint32_t)sum[i] + (uint32_t)c->bias[o]);
        float real = (float)total * e->multiplier[o];
        if (e->residual_mode == SP_RESIDUAL_QUANTIZED) {
            int t = expect_round(real, e->conv_output) - e->conv_output.zero_point;
            real = (float)t * e->conv_multiplier;
        }
        if (e->residual_mode != SP_RESIDUAL_NONE)
            real += (float)(residual[i] - e->residual_zero_point) * e->residual_multiplier;
        y[i] = expect_round(real, e->output);
        if (e->table)
            y[i] = e->table[y[i]];
    }
    return y;
}
