/* Micro-kernels in plain C, for any CPU: 4x16 sums at once, k_group 1. */
#include "gemm_s8.h"

enum { ROWS = 4, COLUMNS = 16 };

/* weights is int8_t or int16_t; a product of a uint8 and an int16 fits int32, sums may wrap. */
#define DEFINE_TILE(name, weight)                                                                  \
    static void name(const uint8_t *a, size_t a_stride, int rows, const weight *w, int k,          \
                     int32_t *sum)                                                                 \
    {                                                                                              \
        uint32_t total[ROWS][COLUMNS] = {{0}};                                                     \
        const uint8_t *row[ROWS];                                                                  \
        for (int i = 0; i < ROWS; i++) /* rows beyond the last repeat it and are not stored */     \
            row[i] = a + (size_t)SP_MIN(i, rows - 1) * a_stride;                                   \
        for (int at = 0; at < k; at++, w += COLUMNS)                                               \
            for (int i = 0; i < ROWS; i++)                                                         \
                for (int j = 0; j < COLUMNS; j++)                                                  \
                    total[i][j] += (uint32_t)((int32_t)row[i][at] * w[j]);                         \
        for (int i = 0; i < rows && i < ROWS; i++)                                                 \
            for (int j = 0; j < COLUMNS; j++)                                                      \
                sum[i * COLUMNS + j] = (int32_t)total[i][j];                                       \
    }

DEFINE_TILE(tile_s8, int8_t)
DEFINE_TILE(tile_s16, int16_t)

sp_gemm_s8_fn sp_gemm_s8_4x16_portable, sp_gemm_s16_4x16_portable;

void sp_gemm_s8_4x16_portable(const void *a, size_t a_stride, int rows, const void *w, int k,
                              int columns, int32_t *sum)
{
    (void)columns; /* computes all 16 */
    for (int i = 0; i < rows; i += ROWS)
        tile_s8((const uint8_t *)a + (size_t)i * a_stride, a_stride, rows - i, w, k,
                sum + (size_t)i * COLUMNS);
}

void sp_gemm_s16_4x16_portable(const void *a, size_t a_stride, int rows, const void *w, int k,
                               int columns, int32_t *sum)
{
    (void)columns; /* computes all 16 */
    for (int i = 0; i < rows; i += ROWS)
        tile_s16((const uint8_t *)a + (size_t)i * a_stride, a_stride, rows - i, w, k,
                 sum + (size_t)i * COLUMNS);
}
