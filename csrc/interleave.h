/* Between four rows of bytes and one row of words, whose bytes are one of each: nc4hw4. */
#ifndef SPARING_INTERLEAVE_H
#define SPARING_INTERLEAVE_H

#include "vector16.h"

/* words[i] = row[0][i], row[1][i], row[2][i], row[3][i]. */
SP_INLINE void sp_interleave_4(uint8_t *restrict words, const uint8_t *const row[4], int n)
{
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const sp_u8x16 a = sp_load_u8(row[0] + i), b = sp_load_u8(row[1] + i);
        const sp_u8x16 c = sp_load_u8(row[2] + i), d = sp_load_u8(row[3] + i);
        const sp_u8x16 ac_low = sp_zip_low_u8(a, c), ac_high = sp_zip_high_u8(a, c);
        const sp_u8x16 bd_low = sp_zip_low_u8(b, d), bd_high = sp_zip_high_u8(b, d);
        const sp_u8x16 out[4] = {sp_zip_low_u8(ac_low, bd_low), sp_zip_high_u8(ac_low, bd_low),
                                 sp_zip_low_u8(ac_high, bd_high), sp_zip_high_u8(ac_high, bd_high)};
        memcpy(words + 4 * i, out, sizeof out);
    }
    for (; i < n; i++)
        for (int j = 0; j < 4; j++)
            words[4 * (size_t)i + (size_t)j] = row[j][i];
}

/* The inverse. */
SP_INLINE void sp_deinterleave_4(uint8_t *const row[4], const uint8_t *restrict words, int n)
{
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        sp_u8x16 in[4], next[4];
        memcpy(in, words + 4 * i, sizeof in);
        /* zipping the first half of the bytes with the second rotates the bits of their index: by
         * four of six */
        SP_UNROLL for (int round = 0; round < 4; round++)
        {
            next[0] = sp_zip_low_u8(in[0], in[2]), next[1] = sp_zip_high_u8(in[0], in[2]);
            next[2] = sp_zip_low_u8(in[1], in[3]), next[3] = sp_zip_high_u8(in[1], in[3]);
            SP_UNROLL for (int j = 0; j < 4; j++) in[j] = next[j];
        }
        SP_UNROLL for (int j = 0; j < 4; j++) memcpy(row[j] + i, &in[j], 16);
    }
    for (; i < n; i++)
        for (int j = 0; j < 4; j++)
            row[j][i] = words[4 * (size_t)i + (size_t)j];
}

#endif
