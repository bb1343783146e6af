/* The epilogue's operations on AVX2 vectors of 8 sums; include inside SP_TARGET_AVX2 or
 * SP_TARGET_AVXVNNI. */
#ifndef SPARING_VECTORS_AVX2_H
#define SPARING_VECTORS_AVX2_H

#include "copy_short.h"
#include "target.h"

enum { LANES = 8 };
typedef __m256i sums;
typedef __m256 reals;
typedef __m256i octets;

SP_INLINE sums load_sums(const int32_t *x) { return _mm256_loadu_si256((const __m256i *)x); }
SP_INLINE reals load_reals(const float *x) { return _mm256_loadu_ps(x); }
SP_INLINE sums all_sums(int32_t x) { return _mm256_set1_epi32(x); }
SP_INLINE reals all_reals(float x) { return _mm256_set1_ps(x); }
SP_INLINE sums add_sums(sums a, sums b) { return _mm256_add_epi32(a, b); }
SP_INLINE reals to_reals(sums a) { return _mm256_cvtepi32_ps(a); }
SP_INLINE reals add(reals a, reals b) { return _mm256_add_ps(a, b); }
SP_INLINE reals multiply(reals a, reals b) { return _mm256_mul_ps(a, b); }
SP_INLINE reals minimum(reals a, reals b) { return _mm256_min_ps(a, b); }
SP_INLINE reals maximum(reals a, reals b) { return _mm256_max_ps(a, b); }
SP_INLINE reals round_even(reals a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SP_INLINE sums widen(const uint8_t *x)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)x));
}

struct packer {
    reals high;
    __m256i zero_point, low, highest; /* int16, uint8, uint8 */
};

SP_INLINE struct packer make_packer(sp_range r)
{
    return (struct packer){
        _mm256_set1_ps((float)(r.hi - r.zero_point)),
        _mm256_set1_epi16((int16_t)r.zero_point),
        _mm256_set1_epi8((char)r.lo),
        _mm256_set1_epi8((char)r.hi),
    };
}

/* Packing works within 128-bit lanes: a lane of the result holds that lane of each vector. */
SP_INLINE octets pack_lanes(const reals *real, const struct packer *r, int fits)
{
    __m256i q[4];
    SP_UNROLL for (int j = 0; j < 4; j++) q[j] =
        _mm256_cvtps_epi32(fits ? real[j] : minimum(real[j], r->high));
    const __m256i a = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), r->zero_point);
    const __m256i b = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), r->zero_point);
    const __m256i packed = _mm256_packus_epi16(a, b);
    return _mm256_max_epu8(fits ? _mm256_min_epu8(packed, r->highest) : packed, r->low);
}

/* The same where the range is all of uint8, with zero point 0, and values fit int32. */
SP_INLINE octets pack_whole_range(const reals *real)
{
    __m256i q[4];
    SP_UNROLL for (int j = 0; j < 4; j++) q[j] = _mm256_cvtps_epi32(real[j]);
    return _mm256_packus_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
}

/* Four vectors of the lanes 0-3 16-19, 4-7 20-23, 8-11 24-27 and 12-15 28-31, from which
 * pack_lanes() makes bytes in order: from sums in order, back to them, and from bytes. */
SP_INLINE void gather_lanes(const int32_t *from, sums *lanes)
{
    const __m128i *in = (const __m128i *)from;
    SP_UNROLL for (int j = 0; j < 4; j++) lanes[j] = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(in + j)), _mm_loadu_si128(in + 4 + j), 1);
}

SP_INLINE void store_lanes(int32_t *to, const sums *lanes)
{
    __m256i *out = (__m256i *)to;
    _mm256_storeu_si256(out + 0, _mm256_permute2x128_si256(lanes[0], lanes[1], 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(lanes[2], lanes[3], 0x20));
    _mm256_storeu_si256(out + 2, _mm256_permute2x128_si256(lanes[0], lanes[1], 0x31));
    _mm256_storeu_si256(out + 3, _mm256_permute2x128_si256(lanes[2], lanes[3], 0x31));
}

SP_INLINE void widen_lanes(const uint8_t *x, sums *lanes)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)x);
    const __m256i first = _mm256_unpacklo_epi8(bytes, zero);
    const __m256i second = _mm256_unpackhi_epi8(bytes, zero);
    lanes[0] = _mm256_unpacklo_epi16(first, zero), lanes[1] = _mm256_unpackhi_epi16(first, zero);
    lanes[2] = _mm256_unpacklo_epi16(second, zero), lanes[3] = _mm256_unpackhi_epi16(second, zero);
}

/* Puts the groups of four channels in order. */
SP_INLINE octets order_octets(octets packed)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(packed, order);
}

SP_INLINE octets pack(const reals *real, const struct packer *r, int fits)
{
    return order_octets(pack_lanes(real, r, fits));
}

SP_INLINE void store_parts(uint8_t *const *y, int parts, octets packed)
{
    if (parts == 1) {
        _mm256_storeu_si256((__m256i *)y[0], packed);
    } else {
        _mm_storeu_si128((__m128i *)y[0], _mm256_castsi256_si128(packed));
        _mm_storeu_si128((__m128i *)y[1], _mm256_extracti128_si256(packed, 1));
    }
}

SP_INLINE sums widen_some(const uint8_t *x, int n)
{
    uint8_t copy[LANES] = {0};
    sp_copy_short(copy, x, SP_MIN(n, LANES));
    return widen(copy);
}

/* At most the bytes of `octets`. */
SP_INLINE void copy_some(uint8_t *to, const uint8_t *from, int n) { sp_copy_short(to, from, n); }

#include "vectors.h"

#endif
