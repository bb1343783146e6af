/* What the driver and the micro-kernels of the depthwise int8 convolution share. */
#ifndef SPARING_DEPTHWISE_S8_H
#define SPARING_DEPTHWISE_S8_H

#include "internal.h"

/* `pixels` output pixels of a row whose taps all lie `step` bytes further from pixel to pixel:
 * sum[i][c] = sum_t tap[t][i * step + c] * w[t][c].
 *
 * weights: [chunks][groups][nr][k_group], groups = ceil(taps / k_group), missing taps zero. A chunk
 * is nr neighbouring channels; the last one ends with the last channel, so it overlaps its
 * neighbour where nr does not divide the channels (fewer than nr channels: zeros beyond them; only
 * micro-kernels of 16 channels take fewer). packing.py has the order of channels in a chunk.
 * tap: a multiple of k_group pointers, the surplus ones readable like the others.
 * sum: [pixels][channels]. No channel beyond `channels` is read or written. */
struct sp_depthwise_run {
    const uint8_t *const *tap;
    int groups;
    size_t step;
    int pixels, channels;
    const void *weights;
    int32_t *sum;
};
typedef void sp_depthwise_s8_fn(const struct sp_depthwise_run *run);

/* First channel of a chunk. */
SP_INLINE int sp_chunk_start(int chunk, int nr, int channels)
{
    return SP_MAX(SP_MIN(chunk * nr, channels - nr), 0);
}

#endif
