/* Sparse micro-kernels in plain C. */
#include "finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

void sp_conv_csr_s8_64_portable(const struct sp_csr_work *work)
{
    const struct sp_csr_single *entry = work->entries;
    const int n = work->width;
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        int32_t *restrict sums = f.sums[f.count];
        memset(sums, 0, sizeof f.sums[0]);
        for (int k = 0; k < segment->steps; k++, entry++) {
            const uint8_t *x = (const uint8_t *)work->x + entry->offset;
            const int32_t weight = entry->weight;
            for (int i = 0; i < n; i++)
                sums[i] = sp_wrapping_add(sums[i], x[i] * weight);
        }
        if (end_segment(work, segment, &f, n))
            finish_lanes(work, &f, n, copy_order, copy_order, sp_csr_requantize_portable);
    }
    finish_lanes(work, &f, n, copy_order, copy_order, sp_csr_requantize_portable);
}
