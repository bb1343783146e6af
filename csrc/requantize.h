/* The ONE rounding rule: int32 sum -> uint8. docs/numeric-contract.md gives the reasons.
 *
 * Plain C that compilers vectorize for the target of the file that includes it; every kernel calls
 * it, so that the rule is written once. No fused multiply-add may appear here: -ffp-contract=off
 * stands on every compile. */
#ifndef SPARING_REQUANTIZE_H
#define SPARING_REQUANTIZE_H

#include <string.h>

#include "internal.h"

/* Clamp and rint half to even, plus 1.5 * 2^23.
 *
 * The bounds are integers, so clamping first gives the same. Then |f| <= 255, and adding 1.5 * 2^23
 * leaves a float whose unit is 1: the addition itself rounds half to even, and the integer stands
 * in the low bits, in two's complement. This needs no rounding instruction (SSE2 has none). */
#define SP_ROUNDER 12582912.0F
SP_INLINE float sp_clamp_round(float real, float lo, float hi)
{
    float f = real < lo ? lo : real;
    f = f > hi ? hi : f;
    return f + SP_ROUNDER;
}

/* rint half to even, clamp, convert, add the zero point; all at once. */
SP_INLINE uint8_t sp_round(float real, float lo, float hi, int zero_point)
{
    float f = sp_clamp_round(real, lo, hi);
    int32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint8_t)(bits + zero_point);
}

/* The same without the zero point, as a float. */
SP_INLINE float sp_round_to_float(float real, float lo, float hi)
{
    return sp_clamp_round(real, lo, hi) - SP_ROUNDER;
}

/* A range's clamp bounds relative to its zero point, as the rule wants them. */
SP_INLINE float sp_lo(sp_range r) { return (float)(r.lo - r.zero_point); }
SP_INLINE float sp_hi(sp_range r) { return (float)(r.hi - r.zero_point); }

SP_INLINE int32_t sp_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

#endif
