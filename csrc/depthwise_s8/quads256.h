/* What strip.h needs of 256-bit vectors where four rows are interleaved, but for products. */
#include "vectors256.h"

enum { GROUP = 4 };

SP_INLINE void interleave(const octets *row, octets *column)
{
    const __m256i ab_low = _mm256_unpacklo_epi8(row[0], row[1]);
    const __m256i ab_high = _mm256_unpackhi_epi8(row[0], row[1]);
    const __m256i cd_low = _mm256_unpacklo_epi8(row[2], row[3]);
    const __m256i cd_high = _mm256_unpackhi_epi8(row[2], row[3]);
    column[0] = _mm256_unpacklo_epi16(ab_low, cd_low);
    column[1] = _mm256_unpackhi_epi16(ab_low, cd_low);
    column[2] = _mm256_unpacklo_epi16(ab_high, cd_high);
    column[3] = _mm256_unpackhi_epi16(ab_high, cd_high);
}
