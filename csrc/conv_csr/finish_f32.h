/* Beginning and end of one output channel's float sums of a block: compiled for the instruction
 * set of the file that includes this. */
#ifndef SPARING_CSR_FINISH_F32_H
#define SPARING_CSR_FINISH_F32_H

#include "csr.h"

SP_INLINE float *partial_f32(const struct sp_csr_work *work, int row)
{
    return (float *)work->partial + (int64_t)row * SP_CSR_WIDTH;
}

/* Sums begin with the bias, or go on from the row's segment before. */
SP_INLINE void begin_f32(const struct sp_csr_work *work, const sp_csr_segment *segment,
                         float *restrict sums, int n)
{
    if (segment->first) {
        const float bias = ((const sp_conv_csr_f32 *)work->params)->bias[segment->row];
        for (int i = 0; i < n; i++)
            sums[i] = bias;
    } else {
        memcpy(sums, partial_f32(work, segment->row), (size_t)n * sizeof *sums);
    }
}

/* Residual, clamp, store; or the row's sums so far. */
SP_INLINE void end_f32(const struct sp_csr_work *work, const sp_csr_segment *segment,
                       const float *restrict sums, int n)
{
    if (!segment->last) {
        memcpy(partial_f32(work, segment->row), sums, (size_t)n * sizeof *sums);
        return;
    }
    const sp_conv_csr_f32 *p = work->params;
    const float lo = p->lo, hi = p->hi;
    const int64_t at = segment->row * work->channel_step;
    const float *restrict residual = (const float *)work->residual + at;
    float *restrict y = (float *)work->y + at;
    for (int i = 0; i < n; i++) {
        float v = p->has_residual ? sums[i] + residual[i] : sums[i];
        v = v < lo ? lo : v; /* NaN passes */
        y[i] = v > hi ? hi : v;
    }
}

#endif
