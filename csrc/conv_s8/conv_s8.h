/* What the parts of the dense int8 convolution share. */
#ifndef SPARING_CONV_S8_H
#define SPARING_CONV_S8_H

#include "internal.h"

/* Copies the patches of output pixels [first, first + rows) of one group, in the order (kernel_h,
 * kernel_w, channel), to y: `stride` bytes between patches, activations of `bytes` bytes. Pixels
 * count through all images. */
void sp_gather_s8(const sp_conv_s8 *p, const uint8_t *x, int group, int first, int rows, void *y,
                  size_t stride, int bytes);

#endif
