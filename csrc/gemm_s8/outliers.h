/* Activations above 7 bits, split off: x = min(x, 127) + rest.
 *
 * The lower the largest activation, the more products a window holds (windows.h), and behind a Relu
 * few activations lie far up. So windows are packed for activations up to 127, and what exceeds
 * that is multiplied on its own, a quad at a time. Sums are the same modulo 2^32 whatever the
 * activations are; only the time depends on how many outliers there are. The idea is that of the
 * mixed decomposition of LLM.int8 (Dettmers et al., 2022, arXiv:2208.07339). */
#ifndef SPARING_OUTLIERS_H
#define SPARING_OUTLIERS_H

#include "windows.h"

enum { SP_OUTLIERS_TOGETHER = 2 };

/* Quads with outliers, row by row: their places in the row, and what exceeds 127 in their four
 * activations. Each row's are rounded up to SP_OUTLIERS_TOGETHER by quads without any. */
struct sp_outliers {
    int32_t *first; /* [rows + 1]: the first quad of each row */
    int32_t *quad;
    uint32_t *rest;
    char *end; /* of the memory of all three */
};

/* Divides memory of sp_outlier_bytes() for so many rows of k activations. */
size_t sp_outlier_bytes(int rows, int k);
struct sp_outliers sp_divide_outliers(void *memory, int rows, int k);

/* y = min(x, 127), the rest goes to `outliers`. k: a multiple of 4. x: may be y. */
void sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, int k, uint8_t *y,
                            size_t y_stride, const struct sp_outliers *outliers);

/* sum[rows][SP_WINDOW_COLUMNS] += the outliers' products with a panel. */
void sp_add_outliers_avx2(const struct sp_outliers *outliers, struct sp_panel panel, int rows,
                          int32_t *sum);

#endif
