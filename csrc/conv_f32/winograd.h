/* Winograd convolution F(4x4, 3x3) of floats: what the driver and the instruction sets share.
 *
 * Source: A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016),
 * points 0, 1, -1, 2, -2, infinity. A tile of 4x4 outputs costs 36 products instead of 144:
 *
 *     V = B' d B   of each input channel    d: 6x6 inputs
 *     U = G g G'   of each weight           by native_winograd_f32.py, in float64
 *     M = sum over channels of U * V, element by element: 36 matrix products
 *     S = A' M A                            S: 4x4 sums
 *
 *          4  0 -5  0  1  0          6  0  0
 *          0 -4 -4  1  1  0         -4 -4 -4                1  1  1  1  1  0
 *     B' = 0  4 -4 -1  1  0     G = -4  4 -4  / 24     A' = 0  1 -1  2 -2  0
 *          0 -2 -1  2  1  0          1  2  4                0  1  1  4  4  0
 *          0  2 -1 -2  1  0          1 -2  4                0  1 -1  8 -8  1
 *          0  4  0 -5  0  1          0  0 24
 *
 * Every output is a fixed sequence of float operations: it does not depend on threads. On the way
 * from an input to an output lie at most 3 roundings in each row of B' and of A', C + 1 in the
 * products and their sum, one in U, and one for each of bias and residual: what the bound in
 * pyinterp/ops/winograd_bound.py counts. */
#ifndef SPARING_WINOGRAD_F32_H
#define SPARING_WINOGRAD_F32_H

#include "conv_f32.h"

enum { SP_W_OUT = 4, SP_W_IN = 6, SP_W_POSITIONS = SP_W_IN * SP_W_IN };

/* Of one tile: all channels to V; or, with `sums`, one panel's sums to 16 outputs. */
struct sp_winograd_tile_f32 {
    const float *const *x; /* [36] input pixels, each of `channels` floats */
    float *v;              /* first channel of position 0 */
    size_t v_position;     /* floats from one position to the next */
    int channels;          /* at least a vector; of a panel a multiple of vectors */

    const float *sums, *bias; /* of the panel */
    size_t sums_position;
    struct sp_finish_f32 finish; /* stride: from one output pixel to the next in its row */
    size_t row;                  /* from one row of outputs to the next */
};
typedef void sp_winograd_f32_fn(const struct sp_winograd_tile_f32 *tile);

#endif
