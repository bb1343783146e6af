/* Writing activations in the form a micro-kernel reads: uint8, or widened to int16. `bytes` is 1
 * or 2 and a constant where these are inlined. Positions count activations. What lies between K and
 * k_padded is left as it is: the weights there are zero. */
#ifndef SPARING_ROWS_H
#define SPARING_ROWS_H

#include "copy_short.h"

SP_INLINE void sp_widen_8(int16_t *to, const uint8_t *from)
{
    typedef uint8_t narrow __attribute__((vector_size(8)));
    typedef int16_t wide __attribute__((vector_size(16)));
    narrow x;
    memcpy(&x, from, sizeof x);
    const wide y = __builtin_convertvector(x, wide);
    memcpy(to, &y, sizeof y);
}

SP_INLINE void sp_widen_16(int16_t *restrict to, const uint8_t *restrict from)
{
    for (int i = 0; i < 16; i++) /* becomes two unpackings */
        to[i] = from[i];
}

/* Whole pieces, the last two of which overlap. */
SP_INLINE void sp_widen(int16_t *to, const uint8_t *from, int n)
{
    if (n >= 16) {
        for (int i = 0; i < n - 16; i += 16)
            sp_widen_16(to + i, from + i);
        sp_widen_16(to + n - 16, from + n - 16);
    } else if (n >= 8) {
        sp_widen_8(to, from);
        sp_widen_8(to + n - 8, from + n - 8);
    } else {
        for (int i = 0; i < n; i++)
            to[i] = from[i];
    }
}

SP_INLINE void sp_put(void *to, int at, const uint8_t *from, int n, int bytes)
{
    if (bytes == 2)
        sp_widen((int16_t *)to + at, from, n);
    else if (n < 128)
        sp_copy_short((uint8_t *)to + at, from, n);
    else
        memcpy((uint8_t *)to + at, from, (size_t)n);
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
