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

/* 1 / (1 + exp(-x)), by the steps of pyinterp/ops/fused_float.py, where they are explained. */
SP_INLINE float logistic(float x)
{
    const float lowest = -87.0F, magic = 12582912.0F; /* 1.5 * 2^23 */
    float t = x < 0.0F ? x : -x;
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
    power = t < lowest ? 0.0F : power;
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
    },
    max_taps,
    mean_taps,
};
