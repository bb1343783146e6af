/* Winograd convolution in AVX-VNNI: vpdpwssd multiplies int16 pairs and adds them. The transforms
 * are those of AVX2. */
#include <string.h>

#include "target.h"
#include "winograd_s8.h"

#ifdef SP_X86
SP_TARGET_AVXVNNI

#define SP_ADD_PRODUCTS(total, x, u) _mm256_dpwssd_avx_epi32(total, x, u)
#include "product256.h"

sp_winograd_product_fn sp_winograd_s8_6x16_avxvnni;

void sp_winograd_s8_6x16_avxvnni(const int16_t *v, size_t v_stride, int rows, const int16_t *u,
                                 int k, int columns, const int16_t *next, int begin, int32_t *m,
                                 size_t m_stride)
{
    (void)columns; /* always 16 */
    all_rows(v, v_stride, rows, u, k, next, begin, m, m_stride);
}

SP_TARGET_END
#endif
