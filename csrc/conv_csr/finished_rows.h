/* Rows of sums that are complete, and their requantization. */
#ifndef SPARING_FINISHED_ROWS_H
#define SPARING_FINISHED_ROWS_H

#include "csr.h"

/* They are finished several at a time: one row alone is a long chain of dependent instructions.
 * Each row's lanes are in the order that the micro-kernel likes. */
enum { FINISH_ROWS = 8 };
struct finished {
    int count, row[FINISH_ROWS];
    _Alignas(64) int32_t sums[FINISH_ROWS][SP_CSR_WIDTH];
};

/* y = the rule for the first n lanes of each row, but for the table; it may write anything to the
 * lanes beyond. residual and y in the order of sums. */
typedef void sp_csr_requantize_fn(const sp_epilogue *e, const struct finished *f,
                                  const uint8_t (*residual)[SP_CSR_WIDTH],
                                  uint8_t (*y)[SP_CSR_WIDTH], int n);
sp_csr_requantize_fn sp_csr_requantize_portable, sp_csr_requantize_avx2,
    sp_csr_requantize_avx512vnni;

#endif
