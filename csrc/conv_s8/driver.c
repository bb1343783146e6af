/* Dense int8 convolution, nhwc: a matrix product of patches and packed weights, with the epilogue
 * on each block of sums while it is in the L1 cache.
 *
 * A task is a block of pixels and a range of panels. Its patches are gathered into scratch memory,
 * or read where they are, and stay in the L2 cache while the panels pass by. */
#include "conv_s8.h"
#include "gemm_s8/outliers.h"
#include "gemm_s8/rows.h"
#include "gemm_s8/windows.h"
#include "operators.h"

struct job {
    const sp_conv_s8 *p;
    const sp_context *context;
    const struct sp_ukernel_entry *kernel;
    sp_conv_s8_fused_fn *fused; /* or NULL */
    int pixels;                 /* of all images */
    int group_columns;          /* output channels of a group */
    int group_panels;
    int pointwise; /* patches are the input's pixels */
    int direct;    /* and read where they are */
    size_t patch_stride;
    struct sp_split split; /* its panels are those of all groups */
};

static int is_pointwise(const sp_conv_shape *s)
{
    return s->kernel_h == 1 && s->kernel_w == 1 && s->stride_h == 1 && s->stride_w == 1 &&
           s->in_h == s->out_h && s->in_w == s->out_w && s->pad_top == 0 && s->pad_left == 0;
}

static size_t patch_bytes(const sp_conv_s8 *p, const struct sp_ukernel_entry *kernel)
{
    return (size_t)p->k_padded * (size_t)sp_activation_bytes(kernel);
}

static sp_conv_s8_fused_fn *find_fused(const sp_conv_s8 *p, const struct sp_ukernel_entry *kernel)
{
#ifdef SP_X86
    if (kernel->isa == SP_ISA_AVX512VNNI && p->epilogue.fits)
        return sp_conv_s8_fused_avx512vnni;
    if (kernel->isa == SP_ISA_AVX2 && p->panel_start && p->epilogue.fits &&
        p->k_padded <= 4 * SP_CHUNK_QUADS)
        return sp_conv_s8_fused_avx2;
#endif
    (void)p, (void)kernel;
    return NULL;
}

/* Whether job->fused takes so many rows of a panel of so many columns. */
static int takes_panel(const struct job *job, int rows, int count)
{
    if (job->p->panel_start)
        return rows >= SP_FUSED_ROWS_AVX2 && (count == 16 || count == 24 || count == 32);
    return count == 16 || count == 32 || count == 64;
}

static struct job plan_job(const sp_conv_s8 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job job = {.p = p, .kernel = &sp_ukernels[p->ukernel]};
    const int nr = job.kernel->nr;
    job.fused = find_fused(p, job.kernel);
    job.pixels = s->batch * s->out_h * s->out_w;
    job.group_columns = s->out_c / s->groups;
    job.group_panels = (job.group_columns + nr - 1) / nr;
    job.pointwise = is_pointwise(s) && s->in_c / s->groups == p->k_padded;
    job.direct = job.pointwise && sp_activation_bytes(job.kernel) == 1 && !p->quad_place;
    job.patch_stride = job.direct ? (size_t)s->in_c : patch_bytes(p, job.kernel);
    job.split = sp_split_product(job.kernel, job.pixels, p->k_padded, job.group_panels * s->groups,
                                 threads, job.direct);
    return job;
}

/* Rows of a block whose sums wait in scratch memory, all of them but where patches are not. */
static int waiting_rows(const struct job *job, int rows)
{
    return SP_MIN(rows, sp_scratch_rows(job->kernel, job->p->k_padded));
}

/* Scratch memory: sums of a block [waiting_rows][nr], then its outliers, then its patches. */
static size_t sum_bytes(const struct job *job, int rows)
{
    return (size_t)waiting_rows(job, rows) * (size_t)job->kernel->nr * sizeof(int32_t);
}

size_t sp_scratch_conv_s8(const void *params)
{
    const sp_conv_s8 *p = params;
    struct job job = plan_job(p, 1);
    const int rows = waiting_rows(&job, job.pixels);
    const size_t patches = (size_t)rows * job.patch_stride + SP_PATCH_SLACK;
    if (p->quad_place)
        return sum_bytes(&job, rows) + sp_outlier_bytes(rows, p->k_padded, p->lowest) + patches;
    return sum_bytes(&job, rows) + (job.direct ? 0 : patches);
}

static const uint8_t *find_pixel(const struct job *job, int group, int pixel)
{
    const sp_conv_shape *s = &job->p->shape;
    const uint8_t *x = job->context->input[0];
    return x + (size_t)pixel * (size_t)s->in_c + group * (s->in_c / s->groups);
}

static const void *find_patches(const struct job *job, int group, int first, int rows,
                                void *scratch)
{
    const sp_conv_shape *s = &job->p->shape;
    const uint8_t *x = job->context->input[0];
    if (job->direct)
        return find_pixel(job, group, first);
    if (job->pointwise && s->groups == 1)
        sp_put(scratch, 0, x + (size_t)first * (size_t)s->in_c, rows * s->in_c, 2);
    else
        sp_gather_s8(job->p, x, group, first, rows, scratch, job->patch_stride,
                     sp_activation_bytes(job->kernel));
    return scratch;
}

static void split_rows(const struct job *job, const uint8_t *x, size_t x_stride, int rows,
                       struct sp_outliers *outliers, void *y)
{
#ifdef SP_X86
    sp_split_outliers_avx2(x, x_stride, rows, y, job->patch_stride, outliers);
#else
    (void)job, (void)x, (void)x_stride, (void)rows, (void)outliers, (void)y;
#endif
}

/* The patches without their outliers, in scratch memory. */
static const void *split_patches(const struct job *job, int group, int first, int rows,
                                 struct sp_outliers *outliers, void *scratch)
{
    if (job->pointwise) {
        split_rows(job, find_pixel(job, group, first), (size_t)job->p->shape.in_c, rows, outliers,
                   scratch);
    } else {
        find_patches(job, group, first, rows, scratch);
        split_rows(job, scratch, job->patch_stride, rows, outliers, scratch);
    }
    return scratch;
}

/* Where the results of a block and a panel go. */
static struct sp_rows find_rows(const struct job *job, int first_pixel, int rows, int channel,
                                int count, const int32_t *sum)
{
    const size_t stride = (size_t)job->p->shape.out_c;
    const size_t at = (size_t)first_pixel * stride + (size_t)channel;
    const int has_residual = job->p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    return (struct sp_rows){
        .sum = sum,
        .sum_stride = (size_t)job->kernel->nr,
        .rows = rows,
        .first = channel,
        .count = count,
        .residual = has_residual ? (const uint8_t *)job->context->input[1] + at : NULL,
        .y = (uint8_t *)job->context->output + at,
        .stride = stride,
    };
}

/* The panels of a group. */
static struct sp_panels find_panels(const struct job *job, int group)
{
    const sp_conv_s8 *p = job->p;
    const int64_t *start = p->panel_start;
    const size_t group_bytes = (size_t)SP_ROUND_UP(job->group_columns, SP_COLUMN_GROUP) *
                               (size_t)p->k_padded * (size_t)job->kernel->weight_bytes;
    return (struct sp_panels){
        job->kernel,
        (const char *)p->weights + (start ? 0 : (size_t)group * group_bytes),
        start ? start + group * job->group_panels : NULL,
        job->group_columns,
        p->k_padded,
        p->quad_place ? p->quad_place + group * job->group_panels * (p->k_padded / 4) : NULL,
    };
}

/* The sums of some rows, and the epilogue on them. outliers: of these rows, or NULL. */
static void run_rows(const struct job *job, const struct sp_panels *panels, struct sp_panel panel,
                     const void *patches, const struct sp_outliers *outliers,
                     const struct sp_rows *rows, int32_t *sum)
{
    sp_sum_panel(panels, panel, patches, job->patch_stride, rows->rows, sum);
#ifdef SP_X86
    if (outliers)
        sp_add_outliers_avx2(outliers, panel, rows->rows, sum);
#else
    (void)outliers;
#endif
    sp_epilogue_of(job->kernel->isa)(&job->p->epilogue, rows);
}

/* outliers: of the patches, or NULL. first: the block's first pixel. */
static void run_panel(const struct job *job, const struct sp_panels *panels, struct sp_panel panel,
                      int group, const void *patches, const struct sp_outliers *outliers, int first,
                      int rows, int32_t *sum)
{
    const int channel = group * job->group_columns + panel.first, count = panel.count;
    if (job->fused && takes_panel(job, rows, count) && !(outliers && outliers->many)) {
        const struct sp_rows all = find_rows(job, first, rows, channel, count, NULL);
        job->fused(&job->p->epilogue, &all, patches, job->patch_stride, panel, panels->k, outliers);
        return;
    }
    const int step = waiting_rows(job, rows);
    for (int row = 0; row < rows; row += step) {
        const struct sp_rows some =
            find_rows(job, first + row, SP_MIN(step, rows - row), channel, count, sum);
        const char *at = (const char *)patches + (size_t)row * job->patch_stride;
        run_rows(job, panels, panel, at, outliers, &some, sum);
    }
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const struct sp_split *split = &job->split;
    const int range = task % split->ranges, block = task / split->ranges;
    const int first = sp_first_row(split, block), rows = sp_first_row(split, block + 1) - first;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    int32_t *sum = (int32_t *)scratch;
    char *patch_space = scratch + sum_bytes(job, rows);
    struct sp_outliers found_outliers, *outliers = NULL;
    if (job->p->quad_place) {
        found_outliers = sp_divide_outliers(patch_space, rows, job->p->k_padded, job->p->lowest);
        outliers = &found_outliers;
        patch_space = found_outliers.end;
    }
    const void *patches = NULL;
    int patches_group = -1;
    for (int i = split->panels * range / split->ranges;
         i < split->panels * (range + 1) / split->ranges; i++) {
        const int group = i / job->group_panels, panel = i % job->group_panels;
        const struct sp_panels panels = find_panels(job, group);
        if (group != patches_group) {
            patches = outliers ? split_patches(job, group, first, rows, outliers, patch_space)
                               : find_patches(job, group, first, rows, patch_space);
            patches_group = group;
        }
        const struct sp_panel found = sp_find_panel(&panels, panel);
        run_panel(job, &panels, found, group, patches, outliers, first, rows, sum);
    }
}

void sp_op_conv_s8(const void *params, const sp_context *context)
{
    struct job job = plan_job(params, context->threads);
    job.context = context;
    sp_parallel(context->threads, job.split.blocks * job.split.ranges, run_task, &job);
}
