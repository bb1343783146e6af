/* Tables of 256 entries, applied to rows of bytes. */
#ifndef SPARING_LOOK_UP_H
#define SPARING_LOOK_UP_H

#include "internal.h"

/* Rows of n bytes, `stride` bytes apart in x and in y. y may be x. */
struct sp_byte_rows {
    const uint8_t *x;
    uint8_t *y;
    int64_t rows, n;
    size_t stride;
};

/* y = table[x], by the instruction set in use. */
void sp_look_up(const uint8_t *table, const struct sp_byte_rows *r);

typedef void sp_look_up_fn(const uint8_t *table, const struct sp_byte_rows *r);
sp_look_up_fn sp_look_up_portable, sp_look_up_avx2, sp_look_up_avx512vnni;

#endif
