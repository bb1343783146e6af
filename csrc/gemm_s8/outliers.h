/* Activations far from the zero point, split off: x = lowest + y + rest, 0 <= y <= SP_CEILING.
 *
 * The lower the largest activation, the more products a window holds (windows.h), and few
 * activations lie far from the zero point. So windows are packed for activations up to the ceiling,
 * none of them in int16: these are the y. The bias holds what `lowest` adds to all of them. The
 * rest is multiplied on its own: a quad at a time where few quads have any, else in the same
 * windows once more. Sums are the same modulo 2^32 whatever the activations are; only the time
 * depends on them. The idea is that of the mixed decomposition of LLM.int8 (Dettmers et al., 2022,
 * arXiv:2208.07339). */
#ifndef SPARING_OUTLIERS_H
#define SPARING_OUTLIERS_H

#include "windows.h"

enum { SP_CEILING = 128, SP_OUTLIERS_TOGETHER = 2 };

/* What is left of a block of rows. */
struct sp_outliers {
    /* Quads with outliers, row by row, first those with rest below zero, then those above: the
     * first of each [rows][2], and the end; their places in the row; and the size of the rest of
     * their four activations. All are rounded up to SP_OUTLIERS_TOGETHER by quads without any. */
    int32_t *first, *quad;
    uint32_t *rest;
    /* Or, where these are many, lowest + rest of all: k bytes a row, and a row of `lowest`. */
    uint8_t *rows;
    int k, lowest, many;
    char *end; /* of the memory of all this */
};

/* Divides memory of sp_outlier_bytes() for so many rows of k activations, a multiple of 4. lowest:
 * at most 255 - SP_CEILING. */
size_t sp_outlier_bytes(int rows, int k, int lowest);
struct sp_outliers sp_divide_outliers(void *memory, int rows, int k, int lowest);

/* y as above, the rest goes to `outliers`. x: may be y. */
void sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, uint8_t *y,
                            size_t y_stride, struct sp_outliers *outliers);

/* sum[rows][SP_WINDOW_COLUMNS] += the outliers' products with a panel. */
void sp_add_outliers_avx2(const struct sp_outliers *outliers, struct sp_panel panel, int rows,
                          int32_t *sum);

/* sum += the products of a panel in windows: see sp_gemm_s8_fn. */
void sp_add_windows_avx2(const void *a, size_t a_stride, int rows, const void *w, int columns,
                         int32_t *sum);

#endif
