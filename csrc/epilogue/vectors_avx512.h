/* The epilogue's operations on AVX-512 vectors of 16 sums; include inside SP_TARGET_AVX512VNNI. */
#ifndef SPARING_VECTORS_AVX512_H
#define SPARING_VECTORS_AVX512_H

#include "epilogue.h"
#include "target.h"

enum { LANES = 16 };
typedef __m512i sums;
typedef __m512 reals;
typedef __m512i octets;

SP_INLINE sums load_sums(const int32_t *x) { return _mm512_loadu_si512(x); }
SP_INLINE reals load_reals(const float *x) { return _mm512_loadu_ps(x); }
SP_INLINE sums all_sums(int32_t x) { return _mm512_set1_epi32(x); }
SP_INLINE reals all_reals(float x) { return _mm512_set1_ps(x); }
SP_INLINE sums add_sums(sums a, sums b) { return _mm512_add_epi32(a, b); }
SP_INLINE reals to_reals(sums a) { return _mm512_cvtepi32_ps(a); }
SP_INLINE reals add(reals a, reals b) { return _mm512_add_ps(a, b); }
SP_INLINE reals multiply(reals a, reals b) { return _mm512_mul_ps(a, b); }
SP_INLINE reals minimum(reals a, reals b) { return _mm512_min_ps(a, b); }
SP_INLINE reals maximum(reals a, reals b) { return _mm512_max_ps(a, b); }
SP_INLINE reals round_even(reals a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SP_INLINE sums widen(const uint8_t *x)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)x));
}

struct packer {
    reals high;
    __m512i zero_point, low, highest; /* int16, uint8, uint8 */
};

SP_INLINE struct packer make_packer(sp_range r)
{
    return (struct packer){
        _mm512_set1_ps((float)(r.hi - r.zero_point)),
        _mm512_set1_epi16((int16_t)r.zero_point),
        _mm512_set1_epi8((char)r.lo),
        _mm512_set1_epi8((char)r.hi),
    };
}

/* Packing works within 128-bit lanes: a lane of the result holds that lane of each vector. fits: of
 * the epilogue, or SP_WHOLE_RANGE. */
SP_INLINE octets pack_lanes(const reals *real, const struct packer *r, int fits)
{
    __m512i q[4];
    SP_UNROLL for (int j = 0; j < 4; j++) q[j] =
        _mm512_cvtps_epi32(fits ? real[j] : minimum(real[j], r->high));
    if (fits == SP_WHOLE_RANGE)
        return _mm512_packus_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), r->zero_point);
    const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), r->zero_point);
    const __m512i packed = _mm512_packus_epi16(a, b);
    return _mm512_max_epu8(fits ? _mm512_min_epu8(packed, r->highest) : packed, r->low);
}

/* Groups of four channels come out of the packing as a 4x4 transpose, which this undoes. */
SP_INLINE octets pack(const reals *real, const struct packer *r, int fits)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, pack_lanes(real, r, fits));
}

SP_INLINE void store_parts(uint8_t *const *y, int parts, octets packed)
{
    if (parts == 1) {
        _mm512_storeu_si512(y[0], packed);
    } else if (parts == 2) {
        _mm256_storeu_si256((__m256i *)y[0], _mm512_castsi512_si256(packed));
        _mm256_storeu_si256((__m256i *)y[1], _mm512_extracti64x4_epi64(packed, 1));
    } else {
        _mm_storeu_si128((__m128i *)y[0], _mm512_castsi512_si128(packed));
        _mm_storeu_si128((__m128i *)y[1], _mm512_extracti32x4_epi32(packed, 1));
        _mm_storeu_si128((__m128i *)y[2], _mm512_extracti32x4_epi32(packed, 2));
        _mm_storeu_si128((__m128i *)y[3], _mm512_extracti32x4_epi32(packed, 3));
    }
}

/* Lanes below n. */
SP_INLINE __mmask64 first_lanes(int n) { return n > 0 ? ~0ULL >> (64 - n) : 0; }

SP_INLINE sums widen_some(const uint8_t *x, int n)
{
    const __m512i bytes = _mm512_maskz_loadu_epi8(first_lanes(SP_MIN(n, LANES)), x);
    return _mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes));
}

/* At most the bytes of `octets`. */
SP_INLINE void copy_some(uint8_t *to, const uint8_t *from, int n)
{
    const __mmask64 first = first_lanes(n);
    _mm512_mask_storeu_epi8(to, first, _mm512_maskz_loadu_epi8(first, from));
}

#include "vectors.h"

#endif
