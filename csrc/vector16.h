/* 16-byte vectors, which the baseline of every 64-bit target has. */
#ifndef SPARING_VECTOR16_H
#define SPARING_VECTOR16_H

#include <string.h>

#include "internal.h"

typedef uint8_t sp_u8x16 __attribute__((vector_size(16)));
typedef uint16_t sp_u16x8 __attribute__((vector_size(16)));
typedef uint32_t sp_u32x4 __attribute__((vector_size(16)));

#ifdef __clang__
#define SP_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SP_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

SP_INLINE sp_u8x16 sp_load_u8(const void *p)
{
    sp_u8x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Elements of a and b in turn, from their lower and from their upper halves. */
SP_INLINE sp_u8x16 sp_zip_low_u8(sp_u8x16 a, sp_u8x16 b)
{
    return SP_SHUFFLE(sp_u8x16, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
SP_INLINE sp_u8x16 sp_zip_high_u8(sp_u8x16 a, sp_u8x16 b)
{
    return SP_SHUFFLE(sp_u8x16, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
SP_INLINE sp_u16x8 sp_zip_low_u16(sp_u16x8 a, sp_u16x8 b)
{
    return SP_SHUFFLE(sp_u16x8, a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
SP_INLINE sp_u16x8 sp_zip_high_u16(sp_u16x8 a, sp_u16x8 b)
{
    return SP_SHUFFLE(sp_u16x8, a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
SP_INLINE sp_u32x4 sp_zip_low_u32(sp_u32x4 a, sp_u32x4 b)
{
    return SP_SHUFFLE(sp_u32x4, a, b, 0, 4, 1, 5);
}
SP_INLINE sp_u32x4 sp_zip_high_u32(sp_u32x4 a, sp_u32x4 b)
{
    return SP_SHUFFLE(sp_u32x4, a, b, 2, 6, 3, 7);
}

#endif
