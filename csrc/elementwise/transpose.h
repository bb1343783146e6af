/* Transposition of matrices whose rows need not follow each other. */
#ifndef SPARING_TRANSPOSE_H
#define SPARING_TRANSPOSE_H

#include "internal.h"

/* y[c][r] = x[r][c] for elements of four bytes; strides in bytes. */
void sp_transpose_words(const char *x, size_t x_stride, char *y, size_t y_stride, int rows,
                        int columns);

#endif
