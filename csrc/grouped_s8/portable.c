/* Grouped micro-kernel for any CPU. */
#include "grouped_s8.h"

sp_grouped_s8_fn sp_grouped_s8_16_portable;

SP_INLINE void one_pixel(const uint8_t *const *tap, int taps, size_t first, int width,
                         const int16_t *w, int32_t *sum)
{
    uint32_t total[SP_GROUPED_CHANNELS] = {0};
    for (int t = 0; t < taps; t++) {
        const uint8_t *x = tap[t] + first;
        for (int j = 0; j < width; j++, w += SP_GROUPED_CHANNELS)
            for (int lane = 0; lane < SP_GROUPED_CHANNELS; lane++)
                total[lane / width * width + j] += (uint32_t)(x[lane] * w[lane]);
    }
    for (int i = 0; i < SP_GROUPED_CHANNELS; i++)
        sum[i] = (int32_t)total[i];
}

void sp_grouped_s8_16_portable(const uint8_t *const *tap, int taps, size_t first, int pixels,
                               int width, const int16_t *weights, int32_t *sum)
{
    for (int i = 0; i < pixels; i++)
        one_pixel(tap + (size_t)i * (size_t)taps, taps, first, width, weights,
                  sum + i * SP_GROUPED_CHANNELS);
}
