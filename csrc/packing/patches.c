/* Weights in the order in which a convolution's patches lie in memory. */
#include "internal.h"

void sp_order_as_patches(const int8_t *w, int rows, int channels, int taps, int8_t *ordered)
{
    const size_t length = (size_t)channels * (size_t)taps;
    for (int row = 0; row < rows; row++, w += length, ordered += length)
        for (int tap = 0; tap < taps; tap++) {
            const int8_t *from = w + tap;
            int8_t *to = ordered + (size_t)tap * (size_t)channels;
            for (int c = 0; c < channels; c++)
                to[c] = from[(size_t)c * (size_t)taps];
        }
}
