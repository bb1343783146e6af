/* Activations far from the zero point, split off: x = lowest + y + rest, 0 <= y <= SP_CEILING.
 *
 * The lower the largest activation, the more products a window holds (windows.h), and few
 * activations lie far from the zero point. So windows are packed for activations up to the ceiling,
 * none of them in int16: these are the y. The bias holds what `lowest` adds to all of them. The
 * rest is multiplied on its own, a quad at a time. Where many quads have any, x - lowest is
 * multiplied in int16 instead. Sums are the same modulo 2^32 whatever the activations are; only the
 * time depends on them. The idea is that of the mixed decomposition of LLM.int8 (Dettmers et al.,
 * 2022, arXiv:2208.07339). */
#ifndef SPARING_OUTLIERS_H
#define SPARING_OUTLIERS_H

#include "windows.h"

enum { SP_CEILING = 128, SP_OUTLIERS_TOGETHER = 2, SP_WIDE_COLUMNS = 16 };

/* What is left of a block of rows: quads with outliers, row by row, first those with rest below
 * zero, then those above. The first of each is in [rows][2], and the end; their places are in the
 * row; `rest` is the size of the rest of their four activations. All are rounded up to
 * SP_OUTLIERS_TOGETHER by quads without any. */
struct sp_outliers {
    int32_t *first, *quad;
    uint32_t *rest;
    int k, lowest;
    int most; /* quads are listed, but for those of one more row */
};

/* Divides memory of sp_outlier_bytes() for so many rows of k activations, a multiple of 4. lowest:
 * at most 255 - SP_CEILING. */
size_t sp_outlier_bytes(int rows, int k, int lowest);
struct sp_outliers sp_divide_outliers(void *memory, int rows, int k, int lowest);

/* y as above, the rest goes to `outliers`. x: may be y. Returns 0 where these are many: then only
 * some rows are done. */
int sp_split_outliers_avx2(const uint8_t *x, size_t x_stride, int rows, uint8_t *y, size_t y_stride,
                           const struct sp_outliers *outliers);

/* sum[rows][SP_WINDOW_COLUMNS] += the outliers' products with a panel. */
void sp_add_outliers_avx2(const struct sp_outliers *outliers, struct sp_panel panel, int rows,
                          int32_t *sum);

/* The panel's weights as sp_gemm_s8_6x16_avx2() reads them, [columns / SP_WIDE_COLUMNS][k / 2]
 * [SP_WIDE_COLUMNS][2]. w: at 64 bytes; columns are rounded up to SP_WIDE_COLUMNS. */
void sp_unpack_windows_avx2(struct sp_panel panel, int k, int8_t *w);
sp_gemm_s8_fn sp_gemm_s8_6x16_avx2;

#endif
