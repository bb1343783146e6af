/* Beginning and end of one output channel's float sums of a block: compiled for the instruction
 * set of the file that includes this. */
#ifndef SPARING_CSR_FINISH_F32_H
#define SPARING_CSR_FINISH_F32_H

#include "csr.h"

SP_INLINE float *partial_f32(const struct sp_csr_work *work, int row)
{
    return (float *)work->partial + (int64_t)row * work->row_lanes;
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

/* A row's lanes from or to its plane of the image. */
SP_INLINE void copy_pieces_f32(const struct sp_csr_work *work, float *lanes, float *plane,
                               int to_image)
{
    for (int i = 0; i < work->pieces; i++) {
        float *a = lanes + work->piece[i].lane, *b = plane + work->piece[i].output;
        sp_copy_lanes(to_image ? b : a, to_image ? a : b, work->piece[i].length * 4);
    }
}

/* Residual, clamp, store; or the row's sums so far. */
SP_INLINE void end_f32(const struct sp_csr_work *work, const sp_csr_segment *segment,
                       float *restrict sums, int n)
{
    if (!segment->last) {
        memcpy(partial_f32(work, segment->row), sums, (size_t)n * sizeof *sums);
        return;
    }
    const sp_conv_csr_f32 *p = work->params;
    const float lo = p->lo, hi = p->hi;
    const int64_t at = segment->row * work->channel_step;
    float residual[SP_CSR_F32_WIDTH];
    if (p->has_residual)
        copy_pieces_f32(work, residual, (float *)work->residual + at, 0);
    for (int i = 0; i < n; i++) {
        float v = p->has_residual ? sums[i] + residual[i] : sums[i];
        v = v < lo ? lo : v; /* NaN passes */
        sums[i] = v > hi ? hi : v;
    }
    copy_pieces_f32(work, sums, (float *)work->y + at, 1);
}

#endif
