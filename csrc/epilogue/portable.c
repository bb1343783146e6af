/* The epilogue in plain C, for any CPU: the rule of requantize.h for each value. */
#include "epilogue.h"
#include "requantize.h"

/* acc * m, the first product of every residual mode. */
SP_INLINE float scaled_sum(const sp_epilogue *e, const int32_t *sum, int first, int i)
{
    return (float)sp_wrapping_add(sum[i], e->bias[first + i]) * e->multiplier[first + i];
}

static void plain(const sp_epilogue *e, const int32_t *restrict sum, int first, int count,
                  uint8_t *restrict y)
{
    const float lo = sp_lo(e->output), hi = sp_hi(e->output);
    const int zero_point = e->output.zero_point;
    for (int i = 0; i < count; i++)
        y[i] = sp_round(scaled_sum(e, sum, first, i), lo, hi, zero_point);
}

static void add_to_sum(const sp_epilogue *e, const int32_t *restrict sum, int first, int count,
                       const uint8_t *restrict residual, uint8_t *restrict y)
{
    const float lo = sp_lo(e->output), hi = sp_hi(e->output), mr = e->residual_multiplier;
    const int zero_point = e->output.zero_point, residual_zero = e->residual_zero_point;
    for (int i = 0; i < count; i++) {
        float r = (float)(residual[i] - residual_zero) * mr;
        y[i] = sp_round(scaled_sum(e, sum, first, i) + r, lo, hi, zero_point);
    }
}

static void add_to_quantized(const sp_epilogue *e, const int32_t *restrict sum, int first,
                             int count, const uint8_t *restrict residual, uint8_t *restrict y)
{
    const float lo = sp_lo(e->output), hi = sp_hi(e->output), mr = e->residual_multiplier;
    const float t_lo = sp_lo(e->conv_output), t_hi = sp_hi(e->conv_output);
    const float mt = e->conv_multiplier;
    const int t_zero = e->conv_output.zero_point;
    const int zero_point = e->output.zero_point, residual_zero = e->residual_zero_point;
    for (int i = 0; i < count; i++) {
        int t = sp_round(scaled_sum(e, sum, first, i), t_lo, t_hi, t_zero) - t_zero;
        float r = (float)(residual[i] - residual_zero);
        y[i] = sp_round((float)t * mt + r * mr, lo, hi, zero_point);
    }
}

void sp_epilogue_rows_portable(const sp_epilogue *e, const struct sp_rows *r)
{
    for (int row = 0; row < r->rows; row++) {
        const int32_t *sum = r->sum + (size_t)row * r->sum_stride;
        const size_t at = (size_t)row * r->stride;
        if (e->residual_mode == SP_RESIDUAL_NONE)
            plain(e, sum, r->first, r->count, r->y + at);
        else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
            add_to_sum(e, sum, r->first, r->count, r->residual + at, r->y + at);
        else
            add_to_quantized(e, sum, r->first, r->count, r->residual + at, r->y + at);
    }
    sp_epilogue_table(e, r);
}
