/* Look-ups for AVX-512. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

typedef __m512i bytes;
enum { BYTES = 64 };

SP_INLINE bytes load_bytes(const uint8_t *x) { return _mm512_loadu_si512(x); }
SP_INLINE void store_bytes(uint8_t *y, bytes x) { _mm512_storeu_si512(y, x); }
SP_INLINE __mmask64 first_bytes(int n) { return ~0ULL >> (BYTES - n); }
SP_INLINE bytes load_some(const uint8_t *x, int n)
{
    return _mm512_maskz_loadu_epi8(first_bytes(n), x);
}
SP_INLINE void store_some(uint8_t *y, bytes x, int n)
{
    _mm512_mask_storeu_epi8(y, first_bytes(n), x);
}
SP_INLINE bytes all_bytes(int x) { return _mm512_set1_epi8((char)x); }
SP_INLINE bytes all_lanes(const uint8_t *x)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)x));
}
SP_INLINE bytes shuffle(bytes table, bytes index) { return _mm512_shuffle_epi8(table, index); }
SP_INLINE bytes subtract(bytes a, bytes b) { return _mm512_subs_epi8(a, b); }
SP_INLINE bytes exclusive_or(bytes a, bytes b) { return _mm512_xor_si512(a, b); }

#include "look_up_body.h"

void sp_look_up_avx512vnni(const uint8_t *table, const struct sp_byte_rows *r)
{
    look_up_rows(table, r);
}

SP_TARGET_END
#endif
