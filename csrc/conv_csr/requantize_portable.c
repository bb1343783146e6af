/* Requantization of finished rows in plain C, which compilers turn into vectors. */
#include "finished_rows.h"
#include "requantize.h"

/* y = the rule for n lanes; residual in the order of sums. */
static void requantize_lanes(const sp_epilogue *e, int row, const int32_t *restrict sums,
                             const uint8_t *restrict residual, uint8_t *restrict y, int n)
{
    const int32_t bias = e->bias[row];
    const float multiplier = e->multiplier[row];
    const sp_range output = e->output, middle = e->conv_output;
    const float lo = sp_lo(output), hi = sp_hi(output);
    if (e->residual_mode == SP_RESIDUAL_NONE) {
        for (int i = 0; i < n; i++)
            y[i] = sp_round((float)sp_wrapping_add(sums[i], bias) * multiplier, lo, hi,
                            output.zero_point);
        return;
    }
    const float middle_lo = sp_lo(middle), middle_hi = sp_hi(middle);
    const float r_multiplier = e->residual_multiplier, t_multiplier = e->conv_multiplier;
    const int r_zero = e->residual_zero_point;
    if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR) {
        for (int i = 0; i < n; i++) {
            float real = (float)sp_wrapping_add(sums[i], bias) * multiplier +
                         (float)(residual[i] - r_zero) * r_multiplier;
            y[i] = sp_round(real, lo, hi, output.zero_point);
        }
        return;
    }
    for (int i = 0; i < n; i++) {
        float t = sp_round_to_float((float)sp_wrapping_add(sums[i], bias) * multiplier, middle_lo,
                                    middle_hi);
        float real = t * t_multiplier + (float)(residual[i] - r_zero) * r_multiplier;
        y[i] = sp_round(real, lo, hi, output.zero_point);
    }
}

void sp_csr_requantize_portable(const sp_epilogue *e, const struct finished *f,
                                const uint8_t (*residual)[SP_CSR_WIDTH], uint8_t (*y)[SP_CSR_WIDTH],
                                int n)
{
    for (int r = 0; r < f->count; r++)
        requantize_lanes(e, f->row[r], f->sums[r], residual[r], y[r], n);
}
