/* Definitions of the inner loops, for the instruction set of the file that includes this and
 * defines SP_LOOPS as the table's name. Plain C: the compiler vectorizes every loop here. */
#include "loops.h"
#include "requantize.h"

static void quantize(const sp_quantize *p, const float *restrict x, uint8_t *restrict y, int64_t n)
{
    const float scale = p->scale, lo = sp_lo(p->output), hi = sp_hi(p->output);
    const int zero_point = p->output.zero_point;
    for (int64_t i = 0; i < n; i++) {
        float real = x[i] / scale; /* a division: the product with 1/scale rounds differently */
        real = real != real ? 0.0F : real;
        y[i] = sp_round(real, lo, hi, zero_point);
    }
}

static void dequantize(const sp_dequantize *p, const uint8_t *restrict x, float *restrict y,
                       int64_t n)
{
    const float scale = p->scale;
    const int zero_point = p->zero_point;
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(x[i] - zero_point) * scale;
}

static void add(const sp_add_s8 *p, const uint8_t *restrict a, const uint8_t *restrict b,
                uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(p->output), hi = sp_hi(p->output);
    const float a_multiplier = p->a_multiplier, b_multiplier = p->b_multiplier;
    const int a_zero = p->a_zero_point, b_zero = p->b_zero_point, y_zero = p->output.zero_point;
    for (int64_t i = 0; i < n; i++) {
        float real = (float)(a[i] - a_zero) * a_multiplier + (float)(b[i] - b_zero) * b_multiplier;
        y[i] = sp_round(real, lo, hi, y_zero);
    }
}

static void mul(const sp_mul_s8 *p, const uint8_t *restrict a, const uint8_t *restrict b,
                uint8_t *restrict y, int64_t n)
{
    const float multiplier = p->multiplier, lo = sp_lo(p->output), hi = sp_hi(p->output);
    const int a_zero = p->a_zero_point, b_zero = p->b_zero_point, y_zero = p->output.zero_point;
    for (int64_t i = 0; i < n; i++) {
        int product = (a[i] - a_zero) * (b[i] - b_zero);
        y[i] = sp_round((float)product * multiplier, lo, hi, y_zero);
    }
}

static void mul_by_one(const sp_mul_s8 *p, const uint8_t *restrict a, const uint8_t *restrict b,
                       uint8_t *restrict y, int64_t n)
{
    const float multiplier = p->multiplier, lo = sp_lo(p->output), hi = sp_hi(p->output);
    const int a_zero = p->a_zero_point, y_zero = p->output.zero_point;
    const int factor = *b - p->b_zero_point;
    for (int64_t i = 0; i < n; i++)
        y[i] = sp_round((float)((a[i] - a_zero) * factor) * multiplier, lo, hi, y_zero);
}

static void rescale(int x_zero_point, float multiplier, sp_range output, const uint8_t *restrict x,
                    uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output);
    for (int64_t i = 0; i < n; i++)
        y[i] = sp_round((float)(x[i] - x_zero_point) * multiplier, lo, hi, output.zero_point);
}

static void requantize_sums(uint32_t offset, float multiplier, sp_range output,
                            const uint32_t *restrict total, uint8_t *restrict y, int64_t n)
{
    const float lo = sp_lo(output), hi = sp_hi(output);
    for (int64_t i = 0; i < n; i++) {
        float real = (float)(int32_t)(total[i] - offset) * multiplier;
        y[i] = sp_round(real, lo, hi, output.zero_point);
    }
}

const struct sp_loops SP_LOOPS = {
    quantize, dequantize, add, mul, mul_by_one, rescale, requantize_sums,
};
