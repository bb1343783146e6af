/* NEON depthwise micro-kernel: 16 channels at once, widened to int16, multiplied and added to int32
 * by smlal. Exact for every uint8 activation and int16 weight. (Any aarch64 CPU has what it needs.)
 */
#include <string.h>

#include "internal.h"
#include "target.h"

#ifdef SP_DOTPROD

typedef struct {
    int32x4_t vector[4];
} totals;

SP_INLINE void clear_totals(totals *t)
{
    SP_UNROLL for (int j = 0; j < 4; j++) t->vector[j] = vdupq_n_s32(0);
}

SP_INLINE uint8x16_t load_channels(const uint8_t *x, int count)
{
    if (count == 16)
        return vld1q_u8(x);
    uint8_t some[16] = {0};
    memcpy(some, x, (size_t)count);
    return vld1q_u8(some);
}

SP_INLINE void add_tap(totals *t, const uint8_t *from, const int16_t *w, int count)
{
    const uint8x16_t x = load_channels(from, count);
    const int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
    const int16x8_t high = vreinterpretq_s16_u16(vmovl_high_u8(x));
    const int16x8_t w_low = vld1q_s16(w), w_high = vld1q_s16(w + 8);
    t->vector[0] = vmlal_s16(t->vector[0], vget_low_s16(low), vget_low_s16(w_low));
    t->vector[1] = vmlal_high_s16(t->vector[1], low, w_low);
    t->vector[2] = vmlal_s16(t->vector[2], vget_low_s16(high), vget_low_s16(w_high));
    t->vector[3] = vmlal_high_s16(t->vector[3], high, w_high);
}

SP_INLINE void store_totals(const totals *t, int32_t *sum)
{
    SP_UNROLL for (int j = 0; j < 4; j++) vst1q_s32(sum + 4 * j, t->vector[j]);
}

#include "pixels.h"

sp_depthwise_s8_fn sp_depthwise_s8_16_dotprod;

void sp_depthwise_s8_16_dotprod(const struct sp_depthwise_run *run)
{
    any_strip(run, SP_ISA_DOTPROD);
}

#endif
