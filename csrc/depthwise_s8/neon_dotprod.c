/* NEON depthwise micro-kernel: 16 channels at once, widened to int16, multiplied and added to int32
 * by smlal. Exact for every uint8 activation and int16 weight. (Any aarch64 CPU has what it needs.)
 */
#include <string.h>

#include "depthwise_s8.h"
#include "target.h"

#ifdef SP_DOTPROD

enum { CHANNELS = 16, VECTORS = 4 };

SP_INLINE void add_tap(int32x4_t *total, uint8x16_t x, const int16_t *w)
{
    const int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
    const int16x8_t high = vreinterpretq_s16_u16(vmovl_high_u8(x));
    const int16x8_t w_low = vld1q_s16(w), w_high = vld1q_s16(w + 8);
    total[0] = vmlal_s16(total[0], vget_low_s16(low), vget_low_s16(w_low));
    total[1] = vmlal_high_s16(total[1], low, w_low);
    total[2] = vmlal_s16(total[2], vget_low_s16(high), vget_low_s16(w_high));
    total[3] = vmlal_high_s16(total[3], high, w_high);
}

SP_INLINE uint8x16_t load_channels(const uint8_t *x, int count)
{
    if (count == CHANNELS)
        return vld1q_u8(x);
    uint8_t some[CHANNELS] = {0};
    memcpy(some, x, (size_t)count);
    return vld1q_u8(some);
}

SP_INLINE void store_channels(int32_t *sum, const int32x4_t *total, int count)
{
    int32_t some[CHANNELS];
    int32_t *to = count == CHANNELS ? sum : some;
    SP_UNROLL for (int j = 0; j < VECTORS; j++) vst1q_s32(to + 4 * j, total[j]);
    if (count < CHANNELS)
        memcpy(sum, some, (size_t)count * sizeof *sum);
}

/* `pixels` (a constant) neighbouring pixels: weights are loaded once for all of them. */
SP_INLINE void add_pixels(const struct sp_depthwise_run *run, int pixels, int pixel, int first,
                          int count, const int16_t *w)
{
    int32x4_t total[4][VECTORS];
    const size_t at = (size_t)pixel * run->step + (size_t)first;
    SP_UNROLL for (int i = 0; i < pixels; i++)
    {
        SP_UNROLL for (int j = 0; j < VECTORS; j++) total[i][j] = vdupq_n_s32(0);
    }
    for (int t = 0; t < run->groups; t++, w += CHANNELS)
        SP_UNROLL for (int i = 0; i < pixels; i++)
            add_tap(total[i], load_channels(run->tap[t] + at + (size_t)i * run->step, count), w);
    SP_UNROLL for (int i = 0; i < pixels; i++) store_channels(
        run->sum + (size_t)(pixel + i) * (size_t)run->channels + first, total[i], count);
}

SP_INLINE void chunk(const struct sp_depthwise_run *run, int first, int count, const int16_t *w)
{
    int pixel = 0;
    for (; pixel + 4 <= run->pixels; pixel += 4)
        add_pixels(run, 4, pixel, first, count, w);
    for (; pixel < run->pixels; pixel++)
        add_pixels(run, 1, pixel, first, count, w);
}

sp_depthwise_s8_fn sp_depthwise_s8_16_dotprod;

void sp_depthwise_s8_16_dotprod(const struct sp_depthwise_run *run)
{
    const int16_t *w = run->weights;
    if (run->channels < CHANNELS) {
        chunk(run, 0, run->channels, w);
        return;
    }
    for (int c = 0, n = 0; c < run->channels; c += CHANNELS, n++) {
        chunk(run, sp_chunk_start(n, CHANNELS, run->channels), CHANNELS, w);
        w += run->groups * CHANNELS;
    }
}

#endif
