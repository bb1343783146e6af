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
#include "tiled.h"

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

/* Scratch memory: sums [waiting_rows][nr] of a block, then what is left of its patches and a panel
 * for them, then its patches. */
static size_t sum_bytes(const struct job *job, int rows)
{
    return (size_t)waiting_rows(job, rows) * (size_t)job->kernel->nr * sizeof(int32_t);
}

static size_t wide_stride(const struct job *job) { return 2 * (size_t)job->p->k_padded; }

static size_t panel_bytes(const struct job *job)
{
    return SP_ROUND_UP((size_t)job->p->k_padded * SP_WINDOW_COLUMNS, 64);
}

/* Outliers that are listed, or the patches in int16. */
static size_t left_bytes(const struct job *job, int rows)
{
    const size_t listed = sp_outlier_bytes(rows, job->p->k_padded, job->p->lowest);
    return SP_ROUND_UP(SP_MAX(listed, (size_t)rows * wide_stride(job) + SP_PATCH_SLACK), 64);
}

size_t sp_scratch_conv_s8(const void *params)
{
    const sp_conv_s8 *p = params;
    if (sp_tiled_serves(p))
        return sp_scratch_tiled(p);
    struct job job = plan_job(p, 1);
    const int rows = waiting_rows(&job, job.pixels);
    const size_t patches = (size_t)rows * job.patch_stride + SP_PATCH_SLACK;
    if (p->quad_place)
        return sum_bytes(&job, rows) + panel_bytes(&job) + left_bytes(&job, rows) + patches;
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

/* A block of pixels and what a panel is multiplied with. */
struct block {
    int first, rows;
    const void *patches;
    const struct sp_outliers *outliers; /* of the patches, or NULL */
    int8_t *panel;                      /* memory for one, where patches are in int16, or NULL */
};

#ifdef SP_X86
/* All patches less `lowest` in int16. */
static void widen_patches(const struct job *job, int group, int first, int rows, int16_t *wide)
{
    sp_gather_s8(job->p, job->context->input[0], group, first, rows, wide, wide_stride(job), 2);
    const int lowest = job->p->lowest, all = lowest ? rows * job->p->k_padded : 0;
    for (int i = 0; i < all; i++)
        wide[i] = (int16_t)(wide[i] - lowest);
}

/* The block's patches without their outliers, or where these are many in int16. */
static void split_patches(const struct job *job, int group, struct block *block,
                          struct sp_outliers *outliers, char *scratch)
{
    const int rows = block->rows, first = block->first;
    char *left = scratch + panel_bytes(job);
    uint8_t *patches = (uint8_t *)left + left_bytes(job, rows);
    const uint8_t *x = patches;
    if (job->pointwise)
        x = find_pixel(job, group, first);
    else
        find_patches(job, group, first, rows, patches);
    const size_t x_stride = job->pointwise ? (size_t)job->p->shape.in_c : job->patch_stride;
    *outliers = sp_divide_outliers(left, rows, job->p->k_padded, job->p->lowest);
    const int few = sp_split_outliers_avx2(x, x_stride, rows, patches, job->patch_stride, outliers);
    if (!few)
        widen_patches(job, group, first, rows, (int16_t *)left);
    block->patches = few ? patches : (const void *)left;
    block->outliers = few ? outliers : NULL;
    block->panel = few ? NULL : (int8_t *)scratch;
}
#endif

/* Its patches of a group; outliers: memory. */
static void find_block(const struct job *job, int group, struct block *block,
                       struct sp_outliers *outliers, char *scratch)
{
#ifdef SP_X86
    if (job->p->quad_place) {
        split_patches(job, group, block, outliers, scratch);
        return;
    }
#else
    (void)outliers;
#endif
    block->patches = find_patches(job, group, block->first, block->rows, scratch);
}

/* Where the results of a block and a panel go. */
static struct sp_rows find_rows(const struct job *job, int first_pixel, int rows, int channel,
                                int count, const int32_t *sum, int sum_stride)
{
    const size_t stride = (size_t)job->p->shape.out_c;
    const size_t at = (size_t)first_pixel * stride + (size_t)channel;
    const int has_residual = job->p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    return (struct sp_rows){
        .sum = sum,
        .sum_stride = (size_t)sum_stride,
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

#ifdef SP_X86
/* The panel in int16. */
static void run_wide_panel(const struct job *job, const struct block *block, struct sp_panel panel,
                           int channel, int32_t *sum)
{
    const int k = job->p->k_padded, rows = block->rows;
    sp_unpack_windows_avx2(panel, k, block->panel);
    for (int i = 0; i < panel.count; i += SP_WIDE_COLUMNS) {
        const int count = SP_MIN(panel.count - i, SP_WIDE_COLUMNS);
        const struct sp_rows results =
            find_rows(job, block->first, rows, channel + i, count, sum, SP_WIDE_COLUMNS);
        sp_gemm_s8_6x16_avx2(block->patches, wide_stride(job), rows, block->panel + i * k, k, count,
                             sum);
        sp_epilogue_of(job->kernel->isa)(&job->p->epilogue, &results);
    }
}
#endif

static void run_panel(const struct job *job, const struct block *block,
                      const struct sp_panels *panels, struct sp_panel panel, int group,
                      int32_t *sum)
{
    const int channel = group * job->group_columns + panel.first, count = panel.count;
    const int first = block->first, rows = block->rows, nr = job->kernel->nr;
#ifdef SP_X86
    if (block->panel) {
        run_wide_panel(job, block, panel, channel, sum);
        return;
    }
#endif
    if (job->fused && takes_panel(job, rows, count)) {
        const struct sp_rows all = find_rows(job, first, rows, channel, count, NULL, 0);
        job->fused(&job->p->epilogue, &all, block->patches, job->patch_stride, panel, panels->k,
                   block->outliers);
        return;
    }
    const int step = waiting_rows(job, rows);
    for (int row = 0; row < rows; row += step) {
        const struct sp_rows some =
            find_rows(job, first + row, SP_MIN(step, rows - row), channel, count, sum, nr);
        const char *patches = (const char *)block->patches + (size_t)row * job->patch_stride;
        run_rows(job, panels, panel, patches, block->outliers, &some, sum);
    }
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const struct sp_split *split = &job->split;
    const int range = task % split->ranges, number = task / split->ranges;
    const int first = sp_first_row(split, number), rows = sp_first_row(split, number + 1) - first;
    struct block block = {.first = first, .rows = rows};
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    int32_t *sum = (int32_t *)scratch;
    scratch += sum_bytes(job, rows);
    struct sp_outliers outliers;
    int patches_group = -1;
    for (int i = split->panels * range / split->ranges;
         i < split->panels * (range + 1) / split->ranges; i++) {
        const int group = i / job->group_panels, panel = i % job->group_panels;
        const struct sp_panels panels = find_panels(job, group);
        if (group != patches_group) {
            find_block(job, group, &block, &outliers, scratch);
            patches_group = group;
        }
        run_panel(job, &block, &panels, sp_find_panel(&panels, panel), group, sum);
    }
}

void sp_op_conv_s8(const void *params, const sp_context *context)
{
    if (sp_tiled_serves(params)) {
        sp_tiled_conv_s8(params, context);
        return;
    }
    struct job job = plan_job(params, context->threads);
    job.context = context;
    sp_parallel(context->threads, job.split.blocks * job.split.ranges, run_task, &job);
}
