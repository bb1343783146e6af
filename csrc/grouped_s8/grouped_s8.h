/* What the driver and the micro-kernels of narrow grouped int8 convolutions share: groups of 4, 8
 * or 16 input channels and as many output channels.
 *
 * Sixteen channels, which are whole groups, are computed together: 16 / width groups. A vector of
 * their inputs, widened to int16, meets `width` vectors of weights; the j-th holds those of the
 * j-th output channel of every group. Neighbouring lanes of a product belong to one output channel.
 */
#ifndef SPARING_GROUPED_S8_H
#define SPARING_GROUPED_S8_H

#include "internal.h"

enum { SP_GROUPED_CHANNELS = 16 };

/* sum[pixel][16] of some pixels. tap[pixel * taps + t]: channel 0 of what the pixel's t-th tap
 * reads; first: of the sixteen channels. weights: int16 [taps][width][16]. */
typedef void sp_grouped_s8_fn(const uint8_t *const *tap, int taps, size_t first, int pixels,
                              int width, const int16_t *weights, int32_t *sum);

#endif
