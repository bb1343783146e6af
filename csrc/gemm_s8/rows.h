/* Writing activations in the form a micro-kernel reads: uint8, or widened to int16. `bytes` is 1
 * or 2 and a constant where these are inlined. Positions count activations. */
#ifndef SPARING_ROWS_H
#define SPARING_ROWS_H

#include "copy_short.h"

SP_INLINE void sp_put(void *to, int at, const uint8_t *from, int n, int bytes)
{
    if (bytes == 1) {
        if (n < 128)
            sp_copy_short((uint8_t *)to + at, from, n);
        else
            memcpy((uint8_t *)to + at, from, (size_t)n);
    } else {
        int16_t *restrict wide = (int16_t *)to + at;
        for (int i = 0; i < n; i++)
            wide[i] = from[i];
    }
}

SP_INLINE void sp_fill(void *to, int at, int value, int n, int bytes)
{
    if (bytes == 1) {
        memset((uint8_t *)to + at, value, (size_t)n);
    } else {
        int16_t *wide = (int16_t *)to + at;
        for (int i = 0; i < n; i++)
            wide[i] = (int16_t)value;
    }
}

#endif
