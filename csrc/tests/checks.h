/* What the C tests share: data from a seed, one case at a time, and running one step.
 *
 * Every array is a heap block of its exact size, so that the sanitizers of check.sh see any access
 * beyond it. Expected values come from plain loops over the definition of each operator. */
#ifndef SPARING_CHECKS_H
#define SPARING_CHECKS_H

#include "internal.h"
#include "ukernels.h"

/* ---- cases ---- */

/* Begins a case, named as printf would; random numbers start again from the case's own seed. */
__attribute__((format(printf, 1, 2))) void begin_case(const char *format, ...);
/* Ends it: passed where no check since begin_case failed. A failed case is printed with the
 * instruction set and the seed, and its first failed check. */
void end_case(void);
#define CHECK(condition) check((condition) != 0, __FILE__, __LINE__, #condition)
void check(int passed, const char *file, int line, const char *condition);
int case_failures(void);    /* so far, of the case */
void report_progress(void); /* prints what passed since the last call */
/* Prints "N passed, M failed"; returns the program's exit status. */
int finish_cases(void);
/* Arrays must be equal; the first difference is printed. */
void check_bytes(const uint8_t *got, const uint8_t *wanted, size_t n);
void check_sums(const int32_t *got, const int32_t *wanted, size_t n);

/* ---- data ---- */

uint32_t next_random(void);
int random_between(int first, int last); /* both included */
void *allocate(size_t bytes);            /* 64-byte aligned, zeroed */
float *random_floats(size_t n);

/* How integers are drawn: all values alike, the ends of their range alone, or the upper end. */
enum values { EVEN_VALUES, END_VALUES, HIGHEST_VALUES, VALUE_KINDS };
uint8_t *random_bytes(size_t n, enum values kind);
int16_t *random_weights(size_t n, int lo, int hi, enum values kind);

/* ---- steps ---- */

/* Runs an operator; b is its second input or NULL. */
void run_step(int op, const void *params, const void *a, const void *b, void *y, int threads);

/* The next micro-kernel of an operator after `previous` that is made for the instruction set in
 * use, or -1; begin with -1. It counts as tested. */
int next_ukernel(const char *op, int previous);
/* Checks that every micro-kernel that some instruction set here runs was tested. */
void check_all_ukernels_tested(void);

/* ---- windows ---- */

struct window {
    int kernel, stride, dilation, pad;
};
/* Two images of h x w pixels. */
sp_conv_shape make_shape(int h, int w, int in_c, int out_c, int groups, struct window window);
void describe_shape(const sp_conv_shape *s, char *text, size_t size);
size_t in_elements(const sp_conv_shape *s);
size_t out_elements(const sp_conv_shape *s);
/* Index of the input (nhwc) that output `pixel` (of all images) sees at a tap, -1 in the padding.
 */
int64_t find_input(const sp_conv_shape *s, int64_t pixel, int tap, int channel);
/* sum (x - x_zero_point) * w, modulo 2^32, nhwc. w: [O][taps][in_c / groups]. */
int32_t *convolve(const sp_conv_shape *s, const uint8_t *x, const int16_t *w, int x_zero_point);

/* ---- the epilogue ---- */

extern const sp_range ODD_RANGE;
uint8_t expect_round(float real, sp_range r);

/* A random epilogue for `columns` channels and its bias before folding. variant: which residual
 * mode, table, multipliers. */
struct epilogue_case {
    sp_epilogue epilogue; /* its bias is folded: bias - x_zero_point * sum(w) */
    int32_t *bias;
};
struct epilogue_case make_epilogue(int columns, int k, const int16_t *w, int x_zero_point,
                                   int variant);
void free_epilogue(struct epilogue_case *e);
/* What it makes of sums: nhwc. */
uint8_t *expect_epilogue(const struct epilogue_case *e, const int32_t *sum, const uint8_t *residual,
                         size_t pixels, int columns);

/* ---- packing ---- */

/* Panels as csrc/sparing.h describes: bytes 1 or 2. w: [groups][columns][k]. */
void *pack_panels(const int16_t *w, int groups, int columns, int k,
                  const struct sp_ukernel_entry *kernel);

/* 3x3 weights [O][9][C] as int8 in ONNX order, [O][C][9]. */
int8_t *in_onnx_order(const int16_t *w, int outputs, int channels);

/* ---- the tests ---- */

void test_elementwise(int threads);
void test_float(int threads);
void test_windows(int threads);
void test_products(int threads);
void test_gemm_windows(int threads);
void test_outliers(int threads);
void test_depthwise(int threads);
void test_grouped(int threads);
void test_dynamic(int threads);
void test_winograd(int threads);
void test_sparse(int threads);
void test_slab(int threads);
void test_threads(int with_forks);
void test_packing(void);

#endif
