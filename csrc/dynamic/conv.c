/* Convolution of activations whose range is known at run time, nhwc, to floats: a matrix product
 * of patches and packed weights, as in conv_s8, whose sums become floats while they are in the L1
 * cache. */
#include "conv_s8/conv_s8.h"
#include "dynamic.h"
#include "gemm_s8/gemm_s8.h"
#include "gemm_s8/rows.h"
#include "operators.h"

struct job {
    const sp_dynamic_conv *p;
    const sp_context *context;
    sp_conv_s8 product; /* with the zero point of this run */
    struct sp_dynamic_unit unit;
    struct sp_panels panels;
    struct sp_split split;
    int pointwise;       /* patches are the input's pixels */
    size_t patch_stride; /* bytes */
    size_t panel_bytes;  /* what a column needs, times nr, in cache lines */
};

static int is_pointwise(const sp_conv_s8 *p)
{
    const sp_conv_shape *s = &p->shape;
    return s->kernel_h * s->kernel_w * s->stride_h * s->stride_w == 1 && s->in_h == s->out_h &&
           s->in_w == s->out_w && s->pad_top == 0 && s->pad_left == 0 && s->in_c == p->k_padded;
}

static struct job plan_job(const sp_dynamic_conv *p, int threads)
{
    const sp_conv_shape *s = &p->product.shape;
    const struct sp_ukernel_entry *kernel = &sp_ukernels[p->product.ukernel];
    struct job job = {.p = p, .product = p->product, .pointwise = is_pointwise(&p->product)};
    const int panels = (s->out_c + kernel->nr - 1) / kernel->nr;
    job.panels = (struct sp_panels){kernel,   p->product.weights,  p->product.panel_start,
                                    s->out_c, p->product.k_padded, NULL};
    job.split = sp_split_product(kernel, s->batch * s->out_h * s->out_w, p->product.k_padded,
                                 panels, threads, 0);
    job.patch_stride = (size_t)p->product.k_padded * (size_t)sp_activation_bytes(kernel);
    job.panel_bytes = SP_ROUND_UP((size_t)kernel->nr * sizeof(float), 64);
    return job;
}

/* Scratch memory: corrections and multipliers of a panel, sums of a block [rows][nr], patches. */
size_t sp_scratch_dynamic_conv(const void *params)
{
    const struct job job = plan_job(params, 1);
    const int most = sp_scratch_rows(job.panels.kernel, job.panels.k);
    const size_t rows = (size_t)SP_MIN(most, job.split.rows);
    return 2 * job.panel_bytes + rows * (job.panel_bytes + job.patch_stride) + SP_PATCH_SLACK;
}

/* The patches of a block: where they are, or copied. */
static const void *find_patches(const struct job *job, int first, int rows, void *scratch)
{
    const int in_c = job->product.shape.in_c, bytes = sp_activation_bytes(job->panels.kernel);
    const uint8_t *x = job->context->input[0];
    if (job->pointwise && bytes == 1)
        return x + (size_t)first * (size_t)in_c;
    if (job->pointwise)
        sp_put(scratch, 0, x + (size_t)first * (size_t)in_c, rows * in_c, 2);
    else
        sp_gather_s8(&job->product, x, 0, first, rows, scratch, job->patch_stride, bytes);
    return scratch;
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const struct sp_split *split = &job->split;
    const sp_dynamic_real *real = &job->p->real;
    const int range = task % split->ranges, block = task / split->ranges;
    const int first = sp_first_row(split, block), rows = sp_first_row(split, block + 1) - first;
    const size_t nr = (size_t)job->panels.kernel->nr, out_c = (size_t)job->product.shape.out_c;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    int32_t *correction = (int32_t *)scratch;
    float *multiplier = (float *)(scratch + job->panel_bytes);
    int32_t *sum = (int32_t *)(scratch + 2 * job->panel_bytes);
    char *patch_space = (char *)sum + (size_t)rows * job->panel_bytes;
    const void *patches = find_patches(job, first, rows, patch_space);
    for (int i = split->panels * range / split->ranges;
         i < split->panels * (range + 1) / split->ranges; i++) {
        const struct sp_panel panel = sp_find_panel(&job->panels, i);
        float *y = (float *)job->context->output + (size_t)first * out_c + panel.first;
        sp_prepare_channels(real, job->unit, panel.first, panel.count, correction, multiplier);
        sp_sum_panel(&job->panels, panel, patches, job->patch_stride, rows, sum);
        const struct sp_real_rows results = {
            sum,      nr,       rows, panel.count, correction, multiplier, real->bias + panel.first,
            real->lo, real->hi, y,    out_c,
        };
        sp_dynamic_loops_in_use()->sums_to_reals(&results);
    }
}

void sp_op_dynamic_conv(const void *params, const sp_context *context)
{
    struct job job = plan_job(params, context->threads);
    job.context = context;
    job.unit = sp_read_range(context->input[1]);
    job.product.x_zero_point = job.unit.zero_point;
    sp_parallel(context->threads, job.split.blocks * job.split.ranges, run_task, &job);
}
