/* Activations above SP_CEILING, split off: x = min(x, SP_CEILING) + rest.
 *
 * The lower the largest activation, the more products a window holds (windows.h), and behind a Relu
 * few activations lie far up. So windows are packed for activations up to the ceiling, none of them
 * in int16, and the rest is multiplied on its own: a quad at a time where few quads have any, else
 * in the same windows once more. Sums are the same modulo 2^32 whatever the activations are; only
 * the time depends on them. The idea is that of the mixed decomposition of LLM.int8 (Dettmers et
 * al., 2022, arXiv:2208.07339). */
#ifndef SPARING_OUTLIERS_H
#define SPARING_OUTLIERS_H

#include "windows.h"

enum { SP_CEILING = 128, SP_OUTLIERS_TOGETHER = 2 };

/* What is left of a block of rows. */
struct sp_outliers {
    /* Quads with outliers, row by row: the first of each row, [rows + 1]; their places in the row;
     * and what exceeds the ceiling in their four activations. Each row's are rounded up to
     * SP_OUTLIERS_TOGETHER by quads without any. */
    int32_t *first, *quad;
    uint32_t *rest;
    /* Or, where these are many, all of the rest: k bytes a row. */
    uint8_t *rows;
    int k, many;
    char *end; /* of the memory of all this */
};

/* Divides memory of sp_outlier_bytes() for so many rows of k activations. */
size_t sp_outlier_bytes(int rows, int k);
struct sp_outliers sp_divide_outliers(void *memory, int rows, int k);

/* y = min(x, SP_CEILING), the rest goes to `outliers`. k: a multiple of 4. x: may be y. */
void sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, int k, uint8_t *y,
                            size_t y_stride, struct sp_outliers *outliers);

/* sum[rows][SP_WINDOW_COLUMNS] += the outliers' products with a panel. */
void sp_add_outliers_avx2(const struct sp_outliers *outliers, struct sp_panel panel, int rows,
                          int32_t *sum);

/* sum += the products of a panel in windows: see sp_gemm_s8_fn. */
void sp_add_windows_avx2(const void *a, size_t a_stride, int rows, const void *w, int columns,
                         int32_t *sum);

#endif
