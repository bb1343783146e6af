/* The AMX micro-kernel. */
#include "gemm_s8.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AMX
#include "tile_amx.h"

/* Two tiles of rows, of which the second begins `lower` rows below the first, or one where that is
 * 0, by up to 32 columns. */
SP_INLINE void sum_columns(int lower, int right, const uint8_t *a, size_t a_stride, const int8_t *w,
                           int k, int32_t *sum)
{
    const uint8_t *lower_a = a + (size_t)lower * a_stride;
    const size_t next_w = (size_t)k * TILE;
    clear_square(lower, right);
    for (; k >= TILE_BYTES; k -= TILE_BYTES) {
        SP_ADD_SQUARE(4, 4, 6, 6, a, lower_a, a_stride, w, next_w);
        a += TILE_BYTES, lower_a += TILE_BYTES, w += TILE * TILE_BYTES;
    }
    if (k > 0)
        SP_ADD_SQUARE(5, 5, 7, 7, a, lower_a, a_stride, w, next_w);
    store_square(lower, right, sum, sum + lower * PANEL_COLUMNS);
}

SP_INLINE void all_rows(int tiles, const uint8_t *a, size_t a_stride, int rows, const int8_t *w,
                        int k, int32_t *sum)
{
    const int height = tile_height(rows);
    shape_tiles(height, k / 4);
    for (int row = 0; row < rows; row += 2 * height) {
        const int upper = SP_MIN(row, rows - height), lower = SP_MIN(row + height, rows - height);
        const uint8_t *upper_a = a + (size_t)upper * a_stride;
        int32_t *upper_sum = sum + upper * PANEL_COLUMNS;
        sum_columns(lower - upper, tiles > 1, upper_a, a_stride, w, k, upper_sum);
        if (tiles > 2)
            sum_columns(lower - upper, tiles > 3, upper_a, a_stride, w + 2 * TILE * k, k,
                        upper_sum + 2 * TILE);
    }
}

sp_gemm_s8_fn sp_gemm_s8_32x64_amx;

void sp_gemm_s8_32x64_amx(const void *a, size_t a_stride, int rows, const void *w, int k,
                          int columns, int32_t *sum)
{
    switch ((columns + TILE - 1) / TILE) {
    case 1:
        all_rows(1, a, a_stride, rows, w, k, sum);
        break;
    case 2:
        all_rows(2, a, a_stride, rows, w, k, sum);
        break;
    case 3:
        all_rows(3, a, a_stride, rows, w, k, sum);
        break;
    default:
        all_rows(4, a, a_stride, rows, w, k, sum);
        break;
    }
    _tile_release();
}

SP_TARGET_END
#endif
