/* The ONE rounding rule: int32 sum -> uint8. docs/numeric-contract.md gives the reasons.
 *
 * Plain C that compilers vectorize for the target of the file that includes it; every kernel calls
 * it, so that the rule is written once. No fused multiply-add may appear here: -ffp-contract=off
 * stands on every compile. */
#ifndef SPARING_REQUANTIZE_H
#define SPARING_REQUANTIZE_H

#include <math.h>

#include "internal.h"

/* rint half to even, clamp, convert, add the zero point. */
SP_INLINE uint8_t sp_round(float real, float lo, float hi, int zero_point)
{
    float f = rintf(real);
    f = f < lo ? lo : f;
    f = f > hi ? hi : f;
    return (uint8_t)((int32_t)f + zero_point);
}

/* A range's clamp bounds relative to its zero point, as the rule wants them. */
SP_INLINE float sp_lo(sp_range r) { return (float)(r.lo - r.zero_point); }
SP_INLINE float sp_hi(sp_range r) { return (float)(r.hi - r.zero_point); }

SP_INLINE int32_t sp_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

#endif
