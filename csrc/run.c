/* Runs the steps of a plan in one call. */
#include "internal.h"

#include <time.h>

#include "operators.h"

static const struct {
    sp_op_fn *run;
    sp_scratch_fn *scratch; /* NULL: needs none */
} operators[SP_OP_COUNT] = {
    [SP_CONV_S8] = {sp_op_conv_s8, sp_scratch_conv_s8},
    [SP_DEPTHWISE_S8] = {sp_op_depthwise_s8, sp_scratch_depthwise_s8},
    [SP_WINOGRAD_S8] = {sp_op_winograd_s8, sp_scratch_winograd_s8},
    [SP_GEMM_S8] = {sp_op_gemm_s8, sp_scratch_gemm_s8},
    [SP_CONV_CSR_S8] = {sp_op_conv_csr_s8, sp_scratch_conv_csr_s8},
    [SP_CONV_BLOCK_S8] = {sp_op_conv_block_s8, sp_scratch_conv_block_s8},
    [SP_GEMM_CSR_S8] = {sp_op_gemm_csr_s8, sp_scratch_gemm_csr_s8},
    [SP_CONV_F32] = {sp_op_conv_f32, sp_scratch_conv_f32},
    [SP_WINOGRAD_F32] = {sp_op_winograd_f32, sp_scratch_winograd_f32},
    [SP_CONV_CSR_F32] = {sp_op_conv_csr_f32, sp_scratch_conv_csr_f32},
    [SP_QUANTIZE] = {sp_op_quantize, NULL},
    [SP_DEQUANTIZE] = {sp_op_dequantize, NULL},
    [SP_ADD_S8] = {sp_op_add_s8, NULL},
    [SP_MUL_S8] = {sp_op_mul_s8, NULL},
    [SP_CONCAT_S8] = {sp_op_concat_s8, NULL},
    [SP_RESCALE_S8] = {sp_op_rescale_s8, NULL},
    [SP_MAX_POOL_S8] = {sp_op_max_pool_s8, NULL},
    [SP_AVERAGE_POOL_S8] = {sp_op_average_pool_s8, NULL},
    [SP_TABLE_S8] = {sp_op_table_s8, NULL},
    [SP_TRANSPOSE] = {sp_op_transpose, NULL},
    [SP_NC4HW4] = {sp_op_nc4hw4, NULL},
    [SP_SLAB] = {sp_op_slab, NULL},
    [SP_SELECT_CHANNELS] = {sp_op_select_channels, NULL},
    [SP_MAX_POOL_F32] = {sp_op_max_pool_f32, NULL},
    [SP_AVERAGE_POOL_F32] = {sp_op_average_pool_f32, NULL},
    [SP_BINARY_F32] = {sp_op_binary_f32, NULL},
    [SP_ACTIVATION_F32] = {sp_op_activation_f32, NULL},
    [SP_GATHER_PIXELS] = {sp_op_gather_pixels, NULL},
    [SP_DEPTH_TO_SPACE] = {sp_op_depth_to_space, NULL},
    [SP_INTERPOLATE] = {sp_op_interpolate, sp_scratch_interpolate},
    [SP_NORMALIZE] = {sp_op_normalize, NULL},
    [SP_PRELU_S8] = {sp_op_prelu_s8, NULL},
    [SP_PRELU_F32] = {sp_op_prelu_f32, NULL},
    [SP_GROUPED_S8] = {sp_op_grouped_s8, sp_scratch_grouped_s8},
    [SP_DYNAMIC_RANGE] = {sp_op_dynamic_range, NULL},
    [SP_DYNAMIC_QUANTIZE] = {sp_op_dynamic_quantize, NULL},
    [SP_DYNAMIC_CONV] = {sp_op_dynamic_conv, sp_scratch_dynamic_conv},
    [SP_DYNAMIC_WINOGRAD] = {sp_op_dynamic_winograd, sp_scratch_dynamic_winograd},
    [SP_DYNAMIC_DEPTHWISE] = {sp_op_dynamic_depthwise, sp_scratch_dynamic_depthwise},
};

size_t sp_scratch_bytes(int op, const void *params)
{
    return operators[op].scratch ? operators[op].scratch(params) : 0;
}

static void *locate(void *const *blocks, sp_ref ref)
{
    return (char *)blocks[ref.slot] + ref.offset;
}

static void run_step(const sp_step *step, void *const *blocks, sp_context *context)
{
    const void *input[SP_MAX_INPUTS];
    for (int i = 0; i < step->inputs; i++)
        input[i] = locate(blocks, step->input[i]);
    context->input = input;
    context->output = locate(blocks, step->output);
    operators[step->op].run(step->params, context);
}

double sp_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void sp_run_timed(const sp_step *steps, int count, void *const *blocks, void *scratch,
                  size_t scratch_per_thread, int threads, double *seconds)
{
    sp_context context = {NULL, NULL, scratch, scratch_per_thread, threads};
    sp_float_state caller = sp_enter_float_state();
    for (int i = 0; i < count; i++) {
        double start = seconds ? sp_seconds() : 0;
        run_step(&steps[i], blocks, &context);
        if (seconds)
            seconds[i] = sp_seconds() - start;
    }
    sp_leave_float_state(caller);
}

void sp_run(const sp_step *steps, int count, void *const *blocks, void *scratch,
            size_t scratch_per_thread, int threads)
{
    sp_run_timed(steps, count, blocks, scratch, scratch_per_thread, threads, NULL);
}
