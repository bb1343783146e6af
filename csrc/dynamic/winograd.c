/* The exact integer Winograd convolution of activations whose range is known at run time, to
 * floats.
 */
#include "dynamic.h"
#include "operators.h"
#include "winograd_s8/winograd_s8.h"

size_t sp_scratch_dynamic_winograd(const void *params)
{
    const sp_dynamic_winograd *p = params;
    return sp_scratch_winograd_s8(&p->product);
}

static void to_reals(const void *params, const sp_context *context, int64_t at, struct sp_rows rows)
{
    const sp_dynamic_real *real = params;
    int32_t correction[SP_BLOCK_COLUMNS];
    float multiplier[SP_BLOCK_COLUMNS];
    sp_prepare_channels(real, sp_read_range(context->input[1]), rows.first, rows.count, correction,
                        multiplier);
    const struct sp_real_rows results = {
        rows.sum,    rows.sum_stride,         rows.rows, rows.count, correction,
        multiplier,  real->bias + rows.first, real->lo,  real->hi,   (float *)context->output + at,
        rows.stride,
    };
    sp_dynamic_loops_in_use()->sums_to_reals(&results);
}

void sp_op_dynamic_winograd(const void *params, const sp_context *context)
{
    const sp_dynamic_winograd *p = params;
    const struct sp_winograd_finish finish = {to_reals, &p->real};
    sp_winograd_s8 product = p->product;
    product.x_zero_point = sp_read_range(context->input[1]).zero_point;
    sp_run_winograd_s8(&product, context, &finish);
}
