/* Depthwise micro-kernel in plain C, for any CPU: 16 channels at once, int16 weights. */
#include "depthwise_s8.h"

#include <string.h>

enum { CHANNELS = 16 };

SP_INLINE void add_tap(uint32_t *total, const uint8_t *x, const int16_t *w, int channels)
{
    for (int i = 0; i < channels; i++)
        total[i] += (uint32_t)(x[i] * w[i]); /* the product fits int32, the sum may wrap */
}

sp_depthwise_s8_fn sp_depthwise_s8_16_portable;

void sp_depthwise_s8_16_portable(const struct sp_depthwise_run *run)
{
    const int16_t *w = run->weights;
    for (int c = 0, chunk = 0; c < run->channels; c += CHANNELS, chunk++) {
        const int first = sp_chunk_start(chunk, CHANNELS, run->channels);
        const int count = SP_MIN(CHANNELS, run->channels);
        for (int i = 0; i < run->pixels; i++) {
            const size_t at = (size_t)i * run->step + (size_t)first;
            uint32_t total[CHANNELS] = {0};
            for (int t = 0; t < run->groups; t++)
                add_tap(total, run->tap[t] + at, w + t * CHANNELS, count);
            memcpy(run->sum + (size_t)i * (size_t)run->channels + first, total,
                   (size_t)count * sizeof *total);
        }
        w += run->groups * CHANNELS;
    }
}
