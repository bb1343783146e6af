/* Sparse float32 micro-kernel in plain C: on Arm, too, where its vectors are NEON's. */
#include <string.h>

#include "slab.h"

static void finish_row(const struct sp_slab_work *work, int64_t at, int width, float *restrict sums)
{
    const float lo = work->params->lo, hi = work->params->hi;
    const float *residual = work->residual ? work->residual + at : NULL;
    for (int i = 0; i < width; i++) {
        float v = residual ? sums[i] + residual[i] : sums[i];
        v = v < lo ? lo : v; /* NaN passes */
        work->y[at + i] = v > hi ? hi : v;
    }
}

/* x, row, at: of the slab or of its tail. */
static void run_segment(const struct sp_slab_work *work, const sp_csr_segment *segment,
                        const struct sp_slab_entry *entry, const float *x, int row, int64_t at,
                        int width)
{
    const size_t bytes = (size_t)width * sizeof(float);
    float sums[SP_SLAB_WIDTH];
    if (segment->first)
        for (int i = 0; i < width; i++)
            sums[i] = work->params->bias[segment->row];
    else
        memcpy(sums, work->partial + at, bytes);
    for (int k = 0; k < segment->steps; k++)
        for (int i = 0; i < width; i++)
            sums[i] += x[(size_t)entry[k].lane / SP_SLAB_WIDTH * (size_t)row + (size_t)i] *
                       entry[k].weight;
    if (segment->last)
        finish_row(work, at, width, sums);
    else
        memcpy(work->partial + at, sums, bytes);
}

void sp_conv_csr_f32_64_portable(const struct sp_slab_work *work)
{
    const struct sp_slab_entry *entry = work->entries;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        const int64_t at = sp_slab_row(segment->row);
        run_segment(work, segment, entry, work->x, SP_SLAB_WIDTH, at, work->width);
        if (work->tail_width)
            run_segment(work, segment, entry, work->tail_x, work->tail_width, at + work->tail_y,
                        work->tail_width);
        entry += segment->steps;
    }
}
