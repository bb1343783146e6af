/* Exact integer Winograd convolution F(4x4, 3x3): what the driver and the instruction sets share.
 *
 * Source: S. Winograd, Arithmetic Complexity of Computations (SIAM, 1980); A. Lavin and S. Gray,
 * Fast Algorithms for Convolutional Neural Networks (CVPR 2016), points 0, 1, -1, 2, -2, infinity.
 * A tile of 4x4 sums costs 36 products instead of 144:
 *
 *     V = B' d B   of each input channel    d: 6x6 inputs, V: int16
 *     U = G g G'   of each weight           g: 3x3 int8,   U: int16 (packing_winograd.py)
 *     M = sum over channels of U * V, element by element: 36 matrix products, int32
 *     S = A' M A                            S: 4x4 sums, scaled
 *
 *          4  0 -5  0  1  0         6  0  0
 *          0 -4 -4  1  1  0         1  1  1           1 -4 -4  1  1  0
 *     B' = 0  4 -4 -1  1  0     G = 1 -1  1      A' = 0 -2  2  1 -1  0
 *          0 -2 -1  2  1  0         1  2  4           0 -1 -1  1  1  0
 *          0  2 -1 -2  1  0         1 -2  4           0 -1  1  2 -2  1
 *          0  4  0 -5  0  1         0  0  6
 *
 * The usual G has fractions. Here each of its rows is multiplied by a number that makes it integer,
 * A' carries the inverse, and each row of A' is multiplied to be integer as well: by 24, 12, 6, 6.
 * So S[i][j] = r[i] r[j] sum[i][j], and r[i] r[j] = 9 * 2^(6 - h[i] - h[j]) with h = 0, 1, 2, 2.
 *
 * Exactness. A product of two rows of B' with d in 0..255: the positive coefficients sum up to at
 * most 68 and the negative ones to at most 50, so -50 * 255 <= V <= 68 * 255 = 17340. Half-way
 * values, of one row, are at most 8 * 255, and no sum on the way is larger than 17340. For |g| <=
 * 128, |U| <= 7 * 7 * 128 = 6272. All fit int16, and the sum of two products (vpmaddwd) int32. From
 * there on everything is modulo 2^32, where additions wrap and 9 has an inverse: multiplying by it
 * leaves 2^(6 - h[i] - h[j]) * sum, modulo 2^32. This is the true value, and an arithmetic shift
 * right recovers the sum, where it fits int32: for shifts up to 6, where -2^25 <= sum < 2^25.
 * conditions.py sees to that. */
#ifndef SPARING_WINOGRAD_S8_H
#define SPARING_WINOGRAD_S8_H

#include "epilogue/epilogue.h"

enum {
    SP_TILE_OUT = 4,       /* outputs of a tile, along each axis */
    SP_TILE_IN = 6,        /* inputs                             */
    SP_TAPS = 3,           /* weights                            */
    SP_POSITIONS = 36,     /* products                           */
    SP_M_COLUMNS = 16,     /* M of a tile: [columns / 16][36][16] */
    SP_BLOCK_COLUMNS = 64, /* output channels whose M exists at a time */
    SP_V_CHANNELS = 16,    /* rows of V are whole multiples of so many channels: AVX2's vectors */
    /* U that is made while it is used, in the L1 cache: two rows of it, of SP_CHUNK_PAIRS pairs of
     * input channels by SP_M_COLUMNS output channels at a time, [12][pairs][SP_M_COLUMNS][2]. A
     * line lies between the positions, so that they do not share cache sets. */
    SP_PAIR_WEIGHTS = 2 * SP_M_COLUMNS,
    SP_CHUNK_PAIRS = 128,
    SP_CHUNK_POSITIONS = 2 * SP_TILE_IN,
    SP_U_STRIDE = SP_CHUNK_PAIRS * SP_PAIR_WEIGHTS + 32
};
#define SP_INVERSE_OF_9 954437177U /* modulo 2^32 */

/* What becomes of sums, of which rows->sum has some neighbouring pixels' and channels': `at` is the
 * first element's place in the output. rows has neither a residual nor y. */
struct sp_winograd_finish {
    void (*run)(const void *params, const sp_context *context, int64_t at, struct sp_rows rows);
    const void *params;
};
/* The operator with another end than its epilogue, which is unused. */
void sp_run_winograd_s8(const sp_winograd_s8 *p, const sp_context *context,
                        const struct sp_winograd_finish *finish);

/* V of one tile. pixel: the tile's 36 inputs, each `channels` uint8. Position i is written at
 * v + i * position_stride, rounded up to SP_V_CHANNELS channels, of which only those that exist
 * mean something. */
typedef void sp_winograd_input_fn(const uint8_t *const *pixel, int channels, int16_t *v,
                                  size_t position_stride);

/* Two rows of U that share steps, of at most SP_CHUNK_PAIRS pairs: `first` is 0 (rows 0 and 5), 1
 * (1 and 2) or 3 (3 and 4). w: [pairs][9][SP_M_COLUMNS][2]. The twelve positions are written
 * SP_U_STRIDE apart. */
typedef void sp_winograd_weights_fn(const int8_t *w, int pairs, int first, int16_t *u);
/* The other one of two rows. */
SP_INLINE int sp_second_row(int first) { return first == 0 ? SP_TILE_IN - 1 : first + 1; }

/* A micro-kernel of kernels.def: M of one position for many tiles. m[i][j] (+)= sum_k v[i][k]
 * u[k][j], i < rows, j < columns, modulo 2^32; begin: m is set, not added to. v: row i at v + i *
 * v_stride. u: one packed panel, [k / 2][columns][2]. columns: a multiple of 16, at most nr. m: row
 * i, columns 16 * g ... at m + i * m_stride + g * 36 * 16. next: the panel that comes after this
 * one, as large, which is fetched into the L2 cache meanwhile. */
typedef void sp_winograd_product_fn(const int16_t *v, size_t v_stride, int rows, const int16_t *u,
                                    int k, int columns, const int16_t *next, int begin, int32_t *m,
                                    size_t m_stride);

/* The 4x4 sums of one tile for `columns` output channels, a multiple of 16. m: [columns / 16][36]
 * [16]. Pixel (i, j) is written at sum + i * row_stride + j * pixel_stride. */
typedef void sp_winograd_output_fn(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                                   size_t pixel_stride);

sp_winograd_input_fn sp_winograd_input_portable, sp_winograd_input_avx2,
    sp_winograd_input_avx512vnni;
sp_winograd_weights_fn sp_winograd_weights_portable, sp_winograd_weights_avx2,
    sp_winograd_weights_avx512vnni;
sp_winograd_output_fn sp_winograd_output_portable, sp_winograd_output_avx2,
    sp_winograd_output_avx512vnni;

#endif
