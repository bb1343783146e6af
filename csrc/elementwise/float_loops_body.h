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

static void leaky_relu(const float *restrict x, float *restrict y, int64_t n, float a, float b)
{
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        float below = x[i] * a; /* of all, so that vectors choose between the two */
        y[i] = x[i] >= 0.0F ? x[i] : below;
    }
}

enum { BLOCK = 64 };

/* power[i] = exp(t[i]) for t <= 0. This and the functions made of it go by the steps of
 * pyinterp/ops/fused_float.py, where they are explained; but what lies below the lowest t, and NaN,
 * may come to anything on the way, and n is read where the magic sum holds it.
 *
 * A block at a time, in two loops: one has so long a chain of sums and products that a core cannot
 * look far enough ahead to begin enough vectors. */
SP_INLINE void find_powers(const float t[BLOCK], float power[BLOCK])
{
    const float lowest = -87.0F, magic = 12582912.0F; /* 1.5 * 2^23 */
    float rest[BLOCK], two_to_n[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        union {
            float value;
            uint32_t bits;
        } sum = {t[i] * 1.44269504F + magic}, zero = {magic}, two;
        float n = sum.value - magic;
        rest[i] = t[i] - n * 0.693359375F - n * -2.12194440e-4F;
        two.bits = (sum.bits - zero.bits + 127U) << 23;
        two_to_n[i] = two.value;
    }
    for (int i = 0; i < BLOCK; i++) {
        float r = rest[i], p = 1.9875691500e-4F;
        p = p * r + 1.3981999507e-3F;
        p = p * r + 8.3334519073e-3F;
        p = p * r + 4.1665795894e-2F;
        p = p * r + 1.6666665459e-1F;
        p = p * r + 5.0000001201e-1F;
        p = p * (r * r) + r + 1.0F;
        float product = p * two_to_n[i];
        power[i] = t[i] < lowest ? 0.0F : product;
    }
}

/* A function made of exp(exponent(x)). */
#define EXPONENTIAL_LOOP(name, exponent, result)                                                   \
    static void name(const float *restrict x, float *restrict y, int64_t n, float a, float b)      \
    {                                                                                              \
        float t[BLOCK] = {0}, power[BLOCK];                                                        \
        (void)b;                                                                                   \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                \
            const int64_t end = SP_MIN(at + BLOCK, n);                                             \
            for (int64_t i = at; i < end; i++)                                                     \
                t[i - at] = exponent(x[i]);                                                        \
            find_powers(t, power);                                                                 \
            for (int64_t i = at; i < end; i++)                                                     \
                y[i] = result(x[i], power[i - at], a);                                             \
        }                                                                                          \
    }

SP_INLINE float minus_size(float x) { return -fabsf(x); }

/* 1 / (1 + exp(-x)) */
SP_INLINE float sigmoid_of(float x, float power, float a)
{
    (void)a;
    return (x >= 0.0F ? 1.0F : power) / (1.0F + power);
}
EXPONENTIAL_LOOP(sigmoid, minus_size, sigmoid_of)

SP_INLINE float silu_of(float x, float power, float a) { return x * sigmoid_of(x, power, a); }
EXPONENTIAL_LOOP(silu, minus_size, silu_of)

SP_INLINE float not_above_zero(float x) { return x > 0.0F ? 0.0F : x; }

SP_INLINE float elu_of(float x, float power, float a)
{
    float below = a * (power - 1.0F);
    return x > 0.0F ? x : below;
}
EXPONENTIAL_LOOP(elu, not_above_zero, elu_of)

SP_INLINE float minus_two_sizes(float x) { return fabsf(x) * -2.0F; }

SP_INLINE float tanh_of(float x, float power, float a)
{
    (void)a;
    float large = (1.0F - power) / (1.0F + power), square = x * x;
    float p = -5.70498872745e-3F;
    p = p * square + 2.06390887954e-2F;
    p = p * square + -5.37397155531e-2F;
    p = p * square + 1.33314422036e-1F;
    p = p * square + -3.33332819422e-1F;
    float small = p * square * x + x;
    large = x < 0.0F ? -large : large;
    return fabsf(x) < 0.625F ? small : large;
}
EXPONENTIAL_LOOP(hyperbolic_tangent, minus_two_sizes, tanh_of)

SP_INLINE float by_root_of_two(float x) { return fabsf(x) * 0.70710678F; }
SP_INLINE float minus_half_square(float x) { return -(by_root_of_two(x) * by_root_of_two(x)); }

SP_INLINE float gelu_of(float x, float power, float a)
{
    (void)a;
    float t = 1.0F / (1.0F + by_root_of_two(x) * 0.3275911F);
    float p = 1.061405429F;
    p = p * t + -1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t + -0.284496736F;
    p = p * t + 0.254829592F;
    float rest = p * t * power;
    return x * 0.5F * (x >= 0.0F ? 2.0F - rest : rest);
}
EXPONENTIAL_LOOP(gelu, minus_half_square, gelu_of)

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
