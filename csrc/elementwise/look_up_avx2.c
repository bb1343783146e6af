/* Look-ups for AVX2. */
#include "copy_short.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

typedef __m256i bytes;
enum { BYTES = 32 };

SP_INLINE bytes load_bytes(const uint8_t *x) { return _mm256_loadu_si256((const __m256i *)x); }
SP_INLINE void store_bytes(uint8_t *y, bytes x) { _mm256_storeu_si256((__m256i *)y, x); }
SP_INLINE bytes load_some(const uint8_t *x, int n)
{
    uint8_t copy[BYTES] = {0};
    sp_copy_short(copy, x, n);
    return load_bytes(copy);
}
SP_INLINE void store_some(uint8_t *y, bytes x, int n)
{
    uint8_t copy[BYTES];
    store_bytes(copy, x);
    sp_copy_short(y, copy, n);
}
SP_INLINE bytes all_bytes(int x) { return _mm256_set1_epi8((char)x); }
SP_INLINE bytes all_lanes(const uint8_t *x)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x));
}
SP_INLINE bytes shuffle(bytes table, bytes index) { return _mm256_shuffle_epi8(table, index); }
SP_INLINE bytes subtract(bytes a, bytes b) { return _mm256_subs_epi8(a, b); }
SP_INLINE bytes exclusive_or(bytes a, bytes b) { return _mm256_xor_si256(a, b); }

#include "look_up_body.h"

void sp_look_up_avx2(const uint8_t *table, const struct sp_byte_rows *r) { look_up_rows(table, r); }

SP_TARGET_END
#endif
