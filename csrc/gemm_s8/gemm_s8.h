/* What the drivers and the micro-kernels of the integer products share. */
#ifndef SPARING_GEMM_S8_H
#define SPARING_GEMM_S8_H

#include "internal.h"
#include "ukernels.h"

/* sum[i][j] = sum_k a[i][k] * w[k][j], i < rows, j < columns, modulo 2^32.
 *
 * a: activations, row i at a + i * a_stride bytes; uint8, or for k_group 2 uint8 widened to int16.
 * w: one packed panel, [k / k_group][columns rounded up to SP_COLUMN_GROUP][k_group], or such ones
 * of SP_COLUMN_GROUP columns one after the other, or for gemm_windows_s8 chunks of windows.h. k: a
 * positive multiple of k_group. columns: at most nr. rows: any number; no others are read or
 * written. sum: [rows][nr], of which columns beyond `columns` may be written or not. */
typedef void sp_gemm_s8_fn(const void *a, size_t a_stride, int rows, const void *w, int k,
                           int columns, int32_t *sum);

/* Packed panels have nr columns, and the last one the rest, rounded up to this. */
enum { SP_COLUMN_GROUP = 16 };

/* Columns of a panel that are packed side by side: all, or those of a tile register. */
SP_INLINE int sp_columns_side_by_side(const struct sp_ukernel_entry *kernel)
{
    return kernel->isa == SP_ISA_AMX ? SP_COLUMN_GROUP : kernel->nr;
}

/* Bytes of one activation as the micro-kernel reads it. */
SP_INLINE int sp_activation_bytes(const struct sp_ukernel_entry *kernel)
{
    return kernel->k_group == 2 ? 2 : 1;
}

/* The packed panels of one weight matrix. */
struct sp_panels {
    const struct sp_ukernel_entry *kernel;
    const char *weights;
    const int64_t *start; /* first byte of each panel; NULL: panels are as long as their columns */
    int columns, k;       /* output channels; k is padded to k_group */
    const uint32_t *quad_place; /* as in sp_conv_s8 */
};

struct sp_panel {
    const void *weights;
    const uint32_t *quad_place;
    int first, count; /* columns */
};
struct sp_panel sp_find_panel(const struct sp_panels *panels, int i);

/* Runs the micro-kernel on a panel: sums in the layout of sp_gemm_s8_fn. */
void sp_sum_panel(const struct sp_panels *panels, struct sp_panel panel, const void *a,
                  size_t a_stride, int rows, int32_t *sum);

/* How a product is split into tasks: blocks of rows, times ranges of panels where there are few
 * blocks. */
struct sp_split {
    int rows, blocks; /* rows: of all blocks */
    int mr;
    int ranges, panels;
};

/* in_place: all rows are read where they are, so that a block is as large as the caches allow;
 * else it has at most sp_scratch_rows(). */
struct sp_split sp_split_product(const struct sp_ukernel_entry *kernel, int rows, int k, int panels,
                                 int threads, int in_place);

/* The first row of a block; of block `blocks` the end. */
int sp_first_row(const struct sp_split *split, int block);

/* The most rows that are in scratch memory at a time, whatever the number of threads. */
int sp_scratch_rows(const struct sp_ukernel_entry *kernel, int k);

#endif
