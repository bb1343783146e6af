/* Micro-kernel of 1x4 blocks in plain C. */
#include "conv_csr/finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

sp_csr_fn sp_conv_block_s8_64_portable;

void sp_conv_block_s8_64_portable(const struct sp_csr_work *work)
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
            const uint8_t *x = (const uint8_t *)work->x + 4 * (size_t)entry->offset;
            int8_t w[4];
            memcpy(w, &entry->weight, sizeof w);
            for (int i = 0; i < n; i++)
                sums[i] = sp_wrapping_add(sums[i], x[4 * i] * w[0] + x[4 * i + 1] * w[1] +
                                                       x[4 * i + 2] * w[2] + x[4 * i + 3] * w[3]);
        }
        if (end_segment(work, segment, &f, n))
            finish_lanes(work, &f, n, copy_order, copy_order, sp_csr_requantize_portable);
    }
    finish_lanes(work, &f, n, copy_order, copy_order, sp_csr_requantize_portable);
}
