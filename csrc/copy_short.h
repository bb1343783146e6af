/* memcpy for lengths where the call would cost more than the copy. */
#ifndef SPARING_COPY_SHORT_H
#define SPARING_COPY_SHORT_H

#include <string.h>

#include "internal.h"

/* Whole pieces, the last two of which overlap. */
SP_INLINE void sp_copy_short(uint8_t *to, const uint8_t *from, int n)
{
    if (n >= 16) {
        for (int i = 0; i < n - 16; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + n - 16, from + n - 16, 16); /* overlaps what is copied */
    } else if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (int i = 0; i < n; i++)
            to[i] = from[i];
    }
}

#endif
