/* A tile of an integer product in registers, by AVX-512 VNNI: vpdpbusd multiplies four uint8 by
 * four int8 and adds the products to an int32, without saturation: exact for all values. Include
 * inside SP_TARGET_AVX512VNNI. */
#ifndef SPARING_TILE_AVX512VNNI_H
#define SPARING_TILE_AVX512VNNI_H

#include <string.h>

#include "target.h"

enum { VECTOR = 16 };

SP_INLINE __m512i broadcast_quad(const uint8_t *a)
{
    int32_t quad;
    memcpy(&quad, a, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* The sums of `rows` rows and `vectors` times 16 columns. */
SP_INLINE void sum_tile(int rows, int vectors, const uint8_t *a, size_t a_stride, const int8_t *w,
                        int k, __m512i (*total)[4])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] = _mm512_setzero_si512();
    }
    int at = 0;
    do {
        __m512i weights[4];
        SP_UNROLL for (int j = 0; j < vectors; j++) weights[j] =
            _mm512_load_si512(w + 4 * VECTOR * j);
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m512i x = broadcast_quad(a + (size_t)i * a_stride + at);
            SP_UNROLL for (int j = 0; j < vectors; j++)
            {
                total[i][j] = _mm512_dpbusd_epi32(total[i][j], x, weights[j]);
                SP_PIN(total[i][j]);
            }
        }
        at += 4;
        w += 4 * VECTOR * vectors;
    } while (at < k);
}

#endif
