/* The sparse operators of operators.h: how each uses the driver. */
#include "csr.h"
#include "operators.h"

static struct sp_csr_operator s8_operator(const sp_conv_csr_s8 *p)
{
    return (struct sp_csr_operator){
        .shape = &p->shape,
        .lanes = &p->lanes,
        .matrix = &p->matrix,
        .params = p,
        .ukernel = p->ukernel,
        .element_bytes = 1,
        .has_residual = p->epilogue.residual_mode != 0,
        .fill = (uint8_t)p->x_zero_point,
        .lane_channels = 1,
        .nhwc = p->nhwc,
    };
}

static struct sp_csr_operator block_operator(const sp_conv_csr_s8 *p)
{
    struct sp_csr_operator op = s8_operator(p);
    op.element_bytes = op.lane_channels = 4;
    return op;
}

static struct sp_csr_operator product_operator(const sp_conv_csr_s8 *p)
{
    struct sp_csr_operator op = s8_operator(p);
    op.is_product = 1;
    return op;
}

#define DEFINE_OPERATOR(name, operator_of)                                                         \
    void sp_op_##name(const void *params, const sp_context *context)                               \
    {                                                                                              \
        struct sp_csr_operator op = operator_of(params);                                           \
        sp_csr_run(&op, context);                                                                  \
    }                                                                                              \
    size_t sp_scratch_##name(const void *params)                                                   \
    {                                                                                              \
        struct sp_csr_operator op = operator_of(params);                                           \
        return sp_csr_scratch(&op);                                                                \
    }

DEFINE_OPERATOR(conv_csr_s8, s8_operator)
DEFINE_OPERATOR(conv_block_s8, block_operator)
DEFINE_OPERATOR(gemm_csr_s8, product_operator)
