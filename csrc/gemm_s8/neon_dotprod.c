/* NEON dot-product micro-kernel. sdot multiplies four int8 by four int8 and adds the products to an
 * int32, modulo 2^32. Activations are uint8, so it takes x - 128 (the same bits but the highest
 * one), and 128 times the sum of a column's weights makes up for that. */
#include <string.h>

#include "gemm_s8.h"
#include "target.h"

#ifdef SP_DOTPROD
SP_TARGET_DOTPROD

enum { ROWS = 4, COLUMNS = 16, VECTORS = 4, QUAD = 4 /* inputs */ };

/* 128 * sum_k w[k][j]. */
SP_INLINE void find_corrections(const int8_t *w, int k, int32x4_t *correction)
{
    const int8x16_t ones = vdupq_n_s8(1);
    SP_UNROLL for (int j = 0; j < VECTORS; j++) correction[j] = vdupq_n_s32(0);
    for (int at = 0; at < k; at += QUAD, w += QUAD * COLUMNS)
        SP_UNROLL for (int j = 0; j < VECTORS; j++) correction[j] =
            vdotq_s32(correction[j], vld1q_s8(w + 16 * j), ones);
    SP_UNROLL for (int j = 0; j < VECTORS; j++) correction[j] = vshlq_n_s32(correction[j], 7);
}

/* Four or one quad of each row, as x - 128; one quad stands in the lowest lane. */
SP_INLINE int8x16_t load_shifted(const uint8_t *a, int quads)
{
    uint8x16_t x;
    if (quads == 4) {
        x = vld1q_u8(a);
    } else {
        uint32_t quad;
        memcpy(&quad, a, sizeof quad);
        x = vreinterpretq_u8_u32(vdupq_n_u32(quad));
    }
    return vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128)));
}

/* Adds the products with quad `lane` (a constant) of x. The empty asm keeps gcc from loading the
 * next lanes' weights early, which would push sums out of registers. */
#define ADD_LANE(lane)                                                                             \
    SP_UNROLL for (int j = 0; j < VECTORS; j++)                                                    \
    {                                                                                              \
        const int8x16_t weights = vld1q_s8(w + QUAD * COLUMNS * (lane) + 16 * j);                  \
        SP_UNROLL for (int i = 0; i < rows; i++) total[i][j] =                                     \
            vdotq_laneq_s32(total[i][j], weights, x[i], lane);                                     \
        __asm__ volatile("" : : : "memory");                                                       \
    }

SP_INLINE void tile(int rows, const uint8_t *a, size_t a_stride, const int8_t *w, int k,
                    const int32x4_t *correction, int32_t *sum)
{
    int32x4_t total[ROWS][VECTORS];
    int8x16_t x[ROWS];
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < VECTORS; j++) total[i][j] = correction[j];
    }
    for (; k >= 4 * QUAD; k -= 4 * QUAD, a += 4 * QUAD, w += 4 * QUAD * COLUMNS) {
        SP_UNROLL for (int i = 0; i < rows; i++) x[i] = load_shifted(a + (size_t)i * a_stride, 4);
        ADD_LANE(0)
        ADD_LANE(1)
        ADD_LANE(2)
        ADD_LANE(3)
    }
    for (; k > 0; k -= QUAD, a += QUAD, w += QUAD * COLUMNS) {
        SP_UNROLL for (int i = 0; i < rows; i++) x[i] = load_shifted(a + (size_t)i * a_stride, 1);
        ADD_LANE(0)
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
            vst1q_s32(sum + i * COLUMNS + 4 * j, total[i][j]);
    }
}

sp_gemm_s8_fn sp_gemm_s8_4x16_dotprod;

void sp_gemm_s8_4x16_dotprod(const void *activations, size_t a_stride, int rows, const void *w,
                             int k, int columns, int32_t *sum)
{
    const uint8_t *a = activations;
    int32x4_t correction[VECTORS];
    (void)columns; /* computes all 16 */
    find_corrections(w, k, correction);
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_stride, sum += ROWS * COLUMNS)
        tile(ROWS, a, a_stride, w, k, correction, sum);
    for (; rows >= 2; rows -= 2, a += 2 * a_stride, sum += 2 * COLUMNS)
        tile(2, a, a_stride, w, k, correction, sum);
    if (rows > 0)
        tile(1, a, a_stride, w, k, correction, sum);
}

SP_TARGET_END
#endif
