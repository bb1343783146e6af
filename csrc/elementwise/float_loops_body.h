/* Definitions of the float loops, for the instruction set of the file that includes this and
 * defines SP_FLOAT_LOOPS as the table's name. Plain C: the compiler vectorizes every loop here.
 * Comparisons are written so that NaN passes. */
#include <math.h>

#include "float_loops.h"

SP_INLINE float clamp(float x, float lo, float hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

static void add(const float *restrict a, const float *restrict b, float *restrict y, int64_t n,
                float lo, float hi)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(a[i] + b[i], lo, hi);
}

static void add_one(const float *restrict a, const float *restrict b, float *restrict y, int64_t n,
                    float lo, float hi)
{
    const float one = *b;
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(a[i] + one, lo, hi);
}

static void mul(const float *restrict a, const float *restrict b, float *restrict y, int64_t n,
                float lo, float hi)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(a[i] * b[i], lo, hi);
}

static void mul_one(const float *restrict a, const float *restrict b, float *restrict y, int64_t n,
                    float lo, float hi)
{
    const float one = *b;
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(a[i] * one, lo, hi);
}

static void clip(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(x[i], a, b);
}

static void hard_sigmoid(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = clamp(x[i] * a + b, 0.0F, 1.0F);
}

static void hard_swish(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * clamp(x[i] * a + b, 0.0F, 1.0F);
}

/* exp(t) for t <= 0. This and the functions made of it go by the steps of
 * pyinterp/ops/fused_float.py, where they are explained. */
SP_INLINE float exp_of_negative(float t)
{
    const float lowest = -87.0F, magic = 12582912.0F; /* 1.5 * 2^23 */
    float limited = t < lowest ? lowest : t;
    float n = limited * 1.44269504F + magic - magic;
    n = n > -126.0F ? n : -126.0F; /* NaN, too: it has no integer */
    float r = limited - n * 0.693359375F - n * -2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    union {
        int32_t bits;
        float value;
    } two_to_n = {.bits = ((int32_t)n + 127) * (1 << 23)};
    float power = p * two_to_n.value;
    return t < lowest ? 0.0F : power;
}

/* 1 / (1 + exp(-x)) */
SP_INLINE float logistic(float x)
{
    float power = exp_of_negative(x < 0.0F ? x : -x);
    return (x >= 0.0F ? 1.0F : power) / (1.0F + power);
}

static void sigmoid(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)a, (void)b;
    for (int64_t i = 0; i < n; i++)
        y[i] = logistic(x[i]);
}

static void silu(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)a, (void)b;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * logistic(x[i]);
}

static void leaky_relu(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        float below = x[i] * a; /* of all, so that vectors choose between the two */
        y[i] = x[i] >= 0.0F ? x[i] : below;
    }
}

static void elu(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        float below = a * (exp_of_negative(x[i] > 0.0F ? 0.0F : x[i]) - 1.0F);
        y[i] = x[i] > 0.0F ? x[i] : below;
    }
}

static void hyperbolic_tangent(const float *restrict x, float *restrict y, int64_t n, float a,
                               float b)
{
    (void)a, (void)b;
    for (int64_t i = 0; i < n; i++) {
        float size = fabsf(x[i]), power = exp_of_negative(size * -2.0F);
        float large = (1.0F - power) / (1.0F + power), square = x[i] * x[i];
        float p = -5.70498872745e-3F;
        p = p * square + 2.06390887954e-2F;
        p = p * square + -5.37397155531e-2F;
        p = p * square + 1.33314422036e-1F;
        p = p * square + -3.33332819422e-1F;
        float small = p * square * x[i] + x[i];
        large = x[i] < 0.0F ? -large : large;
        y[i] = size < 0.625F ? small : large;
    }
}

static void gelu(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)a, (void)b;
    for (int64_t i = 0; i < n; i++) {
        float u = fabsf(x[i]) * 0.70710678F, t = 1.0F / (1.0F + u * 0.3275911F);
        float p = 1.061405429F;
        p = p * t + -1.453152027F;
        p = p * t + 1.421413741F;
        p = p * t + -0.284496736F;
        p = p * t + 0.254829592F;
        float rest = p * t * exp_of_negative(-(u * u));
        y[i] = x[i] * 0.5F * (x[i] >= 0.0F ? 2.0F - rest : rest);
    }
}

static void max_taps(struct sp_taps t, size_t at, int64_t n, float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = -INFINITY;
    for (size_t row = 0; row < (size_t)t.rows; row++)
        for (size_t column = 0; column < (size_t)t.columns; column++) {
            const void *tap = t.x + row * t.row_step + column * t.column_step + at;
            const float *restrict x = tap;
            for (int64_t i = 0; i < n; i++)
                y[i] = ((x[i] > y[i]) | (x[i] != x[i])) ? x[i] : y[i];
        }
}

static void mean_taps(struct sp_taps t, size_t at, int64_t n, float divisor, float *restrict sum,
                      float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = 0.0F;
    for (size_t row = 0; row < (size_t)t.rows; row++) {
        for (int64_t i = 0; i < n; i++)
            sum[i] = 0.0F;
        for (size_t column = 0; column < (size_t)t.columns; column++) {
            const void *tap = t.x + row * t.row_step + column * t.column_step + at;
            const float *restrict x = tap;
            for (int64_t i = 0; i < n; i++)
                sum[i] += x[i];
        }
        for (int64_t i = 0; i < n; i++)
            y[i] += sum[i];
    }
    for (int64_t i = 0; i < n; i++)
        y[i] /= divisor;
}

const struct sp_float_loops SP_FLOAT_LOOPS = {
    add,
    add_one,
    mul,
    mul_one,
    {
        [SP_CLIP] = clip,
        [SP_HARD_SIGMOID] = hard_sigmoid,
        [SP_HARD_SWISH] = hard_swish,
        [SP_SIGMOID] = sigmoid,
        [SP_SILU] = silu,
        [SP_LEAKY_RELU] = leaky_relu,
        [SP_ELU] = elu,
        [SP_TANH] = hyperbolic_tangent,
        [SP_GELU] = gelu,
    },
    max_taps,
    mean_taps,
};
