/* Definitions of the inner loops, for the instruction set of the file that includes this and
 * defines SP_IMAGE_LOOPS as the table's name. Plain C: the compiler vectorizes every loop here. */
#include "image_loops.h"
#include "requantize.h"

static void blend_bytes(const uint8_t *const *x, const float *weight, int taps, int zero_point,
                        float *restrict y, int64_t n)
{
    const uint8_t *restrict first = x[0];
    const float w = weight[0];
    if (taps == 2) { /* linear */
        const uint8_t *restrict second = x[1];
        const float v = weight[1];
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)(first[i] - zero_point) * w + (float)(second[i] - zero_point) * v;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(first[i] - zero_point) * w;
    for (int t = 1; t < taps; t++) {
        const uint8_t *restrict other = x[t];
        const float v = weight[t];
        for (int64_t i = 0; i < n; i++)
            y[i] += (float)(other[i] - zero_point) * v;
    }
}

static void blend_floats(const float *const *x, const float *weight, int taps, float *restrict y,
                         int64_t n)
{
    const float *restrict first = x[0];
    const float w = weight[0];
    if (taps == 2) {
        const float *restrict second = x[1];
        const float v = weight[1];
        for (int64_t i = 0; i < n; i++)
            y[i] = first[i] * w + second[i] * v;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = first[i] * w;
    for (int t = 1; t < taps; t++) {
        const float *restrict other = x[t];
        const float v = weight[t];
        for (int64_t i = 0; i < n; i++)
            y[i] += other[i] * v;
    }
}

static void round_floats(const float *restrict x, float multiplier, sp_range output,
                         uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output);
    for (int64_t i = 0; i < n; i++)
        y[i] = sp_round(x[i] * multiplier, lo, hi, output.zero_point);
}

static void blend_round(const float *const *x, const float *weight, float multiplier,
                        sp_range output, uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output), w = weight[0], v = weight[1];
    const float *restrict first = x[0], *restrict second = x[1];
    for (int64_t i = 0; i < n; i++) {
        float real = (first[i] * w + second[i] * v) * multiplier;
        y[i] = sp_round(real, lo, hi, output.zero_point);
    }
}

static void sum_bytes(const uint8_t *restrict x, int64_t stride, int64_t pixels, int n,
                      uint32_t *restrict sum, uint32_t *restrict square)
{
    int64_t p = 0;
    for (; p + 4 <= pixels; p += 4, x += 4 * stride)
        for (int i = 0; i < n; i++) {
            uint32_t a = x[i], b = x[i + stride], c = x[i + 2 * stride], d = x[i + 3 * stride];
            sum[i] += a + b + c + d;
            square[i] += a * a + b * b + c * c + d * d;
        }
    for (; p < pixels; p++, x += stride)
        for (int i = 0; i < n; i++) {
            uint32_t a = x[i];
            sum[i] += a;
            square[i] += a * a;
        }
}

static void sum_floats(const float *restrict x, int64_t stride, int64_t pixels, int n,
                       double *restrict sum, double *restrict square)
{
    for (int64_t p = 0; p < pixels; p++, x += stride)
        for (int i = 0; i < n; i++) {
            double a = (double)x[i];
            sum[i] += a;
            square[i] += a * a;
        }
}

static void pixel_bytes(const uint8_t *restrict x, int64_t n, uint32_t *sum, uint32_t *square)
{
    uint32_t all = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t a = x[i];
        all += a;
        squares += a * a;
    }
    *sum = all, *square = squares;
}

SP_INLINE double in_pairs(const double *lane)
{
    double four[4], two[2];
    for (int i = 0; i < 4; i++)
        four[i] = lane[i] + lane[i + 4];
    for (int i = 0; i < 2; i++)
        two[i] = four[2 * i] + four[2 * i + 1];
    return two[0] + two[1];
}

static void pixel_floats(const float *restrict x, int64_t n, double *sum, double *square)
{
    double all[8] = {0}, squares[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++) {
            double a = (double)x[i + lane];
            all[lane] += a;
            squares[lane] += a * a;
        }
    for (int lane = 0; i < n; i++, lane++) {
        double a = (double)x[i];
        all[lane] += a;
        squares[lane] += a * a;
    }
    *sum = in_pairs(all), *square = in_pairs(squares);
}

static void norm_bytes(struct sp_norm f, const uint8_t *restrict x, int zero_point, sp_range output,
                       uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output);
    for (int64_t i = 0; i < n; i++) {
        float centred = ((float)(x[i] - zero_point) - f.mean[i]) * f.inverse[i];
        y[i] = sp_round(centred * f.scale[i] + f.bias[i], lo, hi, output.zero_point);
    }
}

static void norm_one_bytes(struct sp_norm f, const uint8_t *restrict x, int zero_point,
                           sp_range output, uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output), mean = *f.mean, inverse = *f.inverse;
    for (int64_t i = 0; i < n; i++) {
        float centred = ((float)(x[i] - zero_point) - mean) * inverse;
        y[i] = sp_round(centred * f.scale[i] + f.bias[i], lo, hi, output.zero_point);
    }
}

static void norm_floats(struct sp_norm f, const float *restrict x, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - f.mean[i]) * f.inverse[i] * f.scale[i] + f.bias[i];
}

static void norm_one_floats(struct sp_norm f, const float *restrict x, float *restrict y, int64_t n)
{
    const float mean = *f.mean, inverse = *f.inverse;
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse * f.scale[i] + f.bias[i];
}

SP_INLINE uint8_t prelu_byte(int x, float multiplier, float slope, float lo, float hi, int zero)
{
    float value = (float)x, above = value * multiplier, below = value * slope;
    return sp_round(x >= 0 ? above : below, lo, hi, zero);
}

static void prelu_bytes(const sp_prelu_s8 *p, const float *restrict slope,
                        const uint8_t *restrict x, uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(p->output), hi = sp_hi(p->output), multiplier = p->multiplier;
    const int zero_point = p->x_zero_point, y_zero = p->output.zero_point;
    for (int64_t i = 0; i < n; i++)
        y[i] = prelu_byte(x[i] - zero_point, multiplier, slope[i], lo, hi, y_zero);
}

static void prelu_one_bytes(const sp_prelu_s8 *p, const float *slope, const uint8_t *restrict x,
                            uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(p->output), hi = sp_hi(p->output), multiplier = p->multiplier;
    const int zero_point = p->x_zero_point, y_zero = p->output.zero_point;
    const float one = *slope;
    for (int64_t i = 0; i < n; i++)
        y[i] = prelu_byte(x[i] - zero_point, multiplier, one, lo, hi, y_zero);
}

static void prelu_floats(const float *restrict slope, const float *restrict x, float *restrict y,
                         int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float below = x[i] * slope[i]; /* of all, so that vectors choose between the two */
        y[i] = x[i] >= 0.0F ? x[i] : below;
    }
}

static void prelu_one_floats(const float *slope, const float *restrict x, float *restrict y,
                             int64_t n)
{
    const float one = *slope;
    for (int64_t i = 0; i < n; i++) {
        float below = x[i] * one;
        y[i] = x[i] >= 0.0F ? x[i] : below;
    }
}

const struct sp_image_loops SP_IMAGE_LOOPS = {
    blend_bytes, blend_floats,    round_floats, blend_round,      sum_bytes,   sum_floats,
    pixel_bytes, pixel_floats,    norm_bytes,   norm_one_bytes,   norm_floats, norm_one_floats,
    prelu_bytes, prelu_one_bytes, prelu_floats, prelu_one_floats,
};
