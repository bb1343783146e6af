/* The operators that run.c knows: each has a driver in a folder of its name. */
#ifndef SPARING_OPERATORS_H
#define SPARING_OPERATORS_H

#include "internal.h"

enum { SP_MAX_INPUTS = 1024 }; /* a concatenation's parts; native_elementwise.py checks */

sp_op_fn sp_op_conv_s8, sp_op_depthwise_s8, sp_op_winograd_s8, sp_op_gemm_s8, sp_op_conv_csr_s8,
    sp_op_conv_block_s8, sp_op_gemm_csr_s8, sp_op_conv_f32, sp_op_winograd_f32, sp_op_conv_csr_f32,
    sp_op_quantize, sp_op_dequantize, sp_op_add_s8, sp_op_mul_s8, sp_op_concat_s8, sp_op_rescale_s8,
    sp_op_max_pool_s8, sp_op_average_pool_s8, sp_op_table_s8, sp_op_transpose, sp_op_nc4hw4,
    sp_op_slab, sp_op_select_channels, sp_op_max_pool_f32, sp_op_average_pool_f32, sp_op_binary_f32,
    sp_op_activation_f32, sp_op_gather_pixels, sp_op_depth_to_space, sp_op_interpolate,
    sp_op_normalize, sp_op_prelu_s8, sp_op_prelu_f32, sp_op_grouped_s8, sp_op_dynamic_range,
    sp_op_dynamic_quantize, sp_op_dynamic_conv, sp_op_dynamic_winograd, sp_op_dynamic_depthwise;

/* Bytes of scratch memory that one thread needs. */
sp_scratch_fn sp_scratch_conv_s8, sp_scratch_depthwise_s8, sp_scratch_winograd_s8,
    sp_scratch_gemm_s8, sp_scratch_conv_csr_s8, sp_scratch_conv_block_s8, sp_scratch_gemm_csr_s8,
    sp_scratch_conv_f32, sp_scratch_winograd_f32, sp_scratch_conv_csr_f32, sp_scratch_interpolate,
    sp_scratch_grouped_s8, sp_scratch_dynamic_conv, sp_scratch_dynamic_winograd,
    sp_scratch_dynamic_depthwise;

#endif
