/* Dense int8 convolution, nhwc, by tile registers. These read activations at any pitch: where they
 * are, or from a copy of some rows of the image with its padding, each tap at its place in it. Only
 * narrow images, and channels that are no quads, have their patches gathered.
 *
 * A task is a block of output pixels and a range of panels. */
#include "tiled.h"

#include "gemm_s8/rows.h"

enum {
    BLOCK_BYTES =
        256 * 1024, /* activations of a block, read again for every panel: of an L2 cache */
    PATCH_BYTES = 256 * 1024,
    MOST_COPIED = 1024 * 1024, /* bytes of the rows that one row of pixels sees */
    FEWEST_ROWS = 64,          /* of gathered patches: each block reads all weights */
    NARROW = 12,               /* output pixels of a row: tiles of fewer take as long */
    TILE_ROWS = 16,            /* of a tile */
    WORTH_A_THREAD = 2000000   /* products; some 2 microseconds */
};

enum { FILL = 4 /* bytes behind a row of taps that may be read */ };

enum source { IN_PLACE, PADDED, GATHERED };

struct job {
    const sp_conv_s8 *p;
    const sp_context *context;
    const struct sp_ukernel_entry *kernel;
    sp_tiled_fn *run;
    enum source source;
    int linear; /* pixels of all images are one row */
    /* What blocks divide: rows of pixels of each image; where they are linear, pixels */
    int images, units, most_units, blocks;
    int unit_pixels, granule; /* blocks begin at multiples of `granule` units */
    int group_columns, group_panels;
    int panels, ranges;  /* of all groups */
    size_t column_bytes; /* of a pixel, in place or padded */
    int padded_w;
    size_t patch_stride;
};

static int divide_up(int a, int b) { return (a + b - 1) / b; }

/* Pixels of the image that a row of so many output pixels sees. */
static int seen(int outputs, int stride, int kernel, int dilation)
{
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1;
}

static int is_padded(const sp_conv_shape *s)
{
    return s->pad_top || s->pad_left ||
           seen(s->out_h, s->stride_h, s->kernel_h, s->dilation_h) > s->in_h ||
           seen(s->out_w, s->stride_w, s->kernel_w, s->dilation_w) > s->in_w;
}

static int is_pointwise(const sp_conv_shape *s)
{
    return s->kernel_h * s->kernel_w * s->stride_h * s->stride_w == 1 && !is_padded(s) &&
           s->in_h == s->out_h && s->in_w == s->out_w;
}

static int seen_rows(const struct job *job, int units)
{
    const sp_conv_shape *s = &job->p->shape;
    return seen(units, s->stride_h, s->kernel_h, s->dilation_h);
}

/* A copy has room for the fill of its last row of taps; what the weights are for it is zero. */
static enum source find_source(const sp_conv_s8 *p, int pointwise)
{
    const sp_conv_shape *s = &p->shape;
    const int quads = s->in_c > 0 && s->in_c / s->groups % 4 == 0;
    const int64_t row = (int64_t)s->in_c * seen(s->out_w, s->stride_w, s->kernel_w, s->dilation_w);
    if (!p->row_bytes && (!quads || (!pointwise && s->out_w < NARROW)))
        return GATHERED;
    if (quads && !is_padded(s))
        return IN_PLACE;
    return row * s->kernel_h > MOST_COPIED && !p->row_bytes ? GATHERED : PADDED;
}

/* The most units of a block. */
static int fit_units(const struct job *job)
{
    const sp_conv_shape *s = &job->p->shape;
    if (job->source == GATHERED)
        return SP_MAX(FEWEST_ROWS, PATCH_BYTES / (int)job->patch_stride);
    if (job->linear)
        return SP_MAX(FEWEST_ROWS, BLOCK_BYTES / (int)job->column_bytes);
    const int rows = (int)(BLOCK_BYTES / ((int64_t)job->column_bytes * job->padded_w));
    return SP_MAX(1, (rows - seen_rows(job, 1)) / s->stride_h + 1);
}

static void split_tasks(struct job *job, int threads)
{
    const sp_conv_shape *s = &job->p->shape;
    const double products =
        (double)s->batch * s->out_h * s->out_w * job->p->k_padded * job->panels * job->kernel->nr;
    const int workers = (int)SP_MAX(SP_MIN(products / WORTH_A_THREAD, threads), 1);
    job->blocks = divide_up(job->units, job->most_units);
    job->ranges = 1;
    if (job->images * job->blocks % workers == 0)
        return;
    const int even = SP_ROUND_UP(job->blocks, workers);
    if (job->units >= job->granule * 2 * even)
        job->blocks = even;
    else
        job->ranges = SP_MIN(workers, job->panels);
}

/* NULL where the instruction set has no tile registers, or the epilogue's values may be too large.
 */
static sp_tiled_fn *find_kernel(const sp_conv_s8 *p)
{
#ifdef SP_X86
    if (sp_ukernels[p->ukernel].isa == SP_ISA_AMX && p->epilogue.fits)
        return sp_tiled_amx;
#endif
    (void)p;
    return NULL;
}

static struct job plan_job(const sp_conv_s8 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job job = {.p = p, .kernel = &sp_ukernels[p->ukernel], .run = find_kernel(p)};
    const int pointwise = is_pointwise(s);
    job.source = find_source(p, pointwise);
    job.linear = (pointwise && job.source == IN_PLACE) || job.source == GATHERED;
    job.images = job.linear ? 1 : s->batch;
    job.units = job.linear ? s->batch * s->out_h * s->out_w : s->out_h;
    job.unit_pixels = job.linear ? 1 : s->out_w;
    job.granule = job.linear ? TILE_ROWS : 1;
    job.group_columns = s->out_c / s->groups;
    job.group_panels = divide_up(job.group_columns, job.kernel->nr);
    job.panels = job.group_panels * s->groups;
    job.column_bytes = (size_t)s->in_c;
    job.padded_w =
        job.source == PADDED ? seen(s->out_w, s->stride_w, s->kernel_w, s->dilation_w) : s->in_w;
    job.patch_stride = (size_t)p->k_padded;
    job.most_units = fit_units(&job);
    if (job.units > 0)
        split_tasks(&job, threads);
    return job;
}

int sp_tiled_serves(const sp_conv_s8 *p) { return find_kernel(p) != NULL; }

size_t sp_scratch_tiled(const sp_conv_s8 *p)
{
    const struct job job = plan_job(p, 1);
    const int units = SP_MIN(job.units, job.most_units + job.granule); /* sp_part() rounds */
    if (job.source == IN_PLACE || units == 0)
        return 0;
    if (job.source == GATHERED)
        return (size_t)units * job.patch_stride + SP_PATCH_SLACK;
    return (size_t)seen_rows(&job, units) * (size_t)job.padded_w * job.column_bytes + FILL;
}

/* Rows of an image from first_y on, with what lies left and right of it. */
static void copy_padded(const struct job *job, const uint8_t *image, int first_y, int rows,
                        uint8_t *to)
{
    const sp_conv_shape *s = &job->p->shape;
    const int zero = job->p->x_zero_point;
    const size_t pixel = job->column_bytes, row_bytes = (size_t)job->padded_w * pixel;
    /* A window may see nothing but padding. */
    const int columns = SP_MIN(s->pad_left, job->padded_w), behind = job->padded_w - columns;
    const size_t left = (size_t)columns * pixel;
    const size_t inside = (size_t)SP_MIN(s->in_w, behind) * pixel;
    for (int y = first_y; y < first_y + rows; y++, to += row_bytes) {
        if (y < 0 || y >= s->in_h) {
            memset(to, zero, row_bytes);
            continue;
        }
        memset(to, zero, left);
        memcpy(to + left, image + (size_t)y * (size_t)s->in_w * pixel, inside);
        memset(to + left + inside, zero, row_bytes - left - inside);
    }
}

/* Taps of an image that is in memory with its padding; groups: the first one's. */
static struct sp_tiled_block find_taps(const struct job *job, const uint8_t *first, int units)
{
    const sp_conv_shape *s = &job->p->shape;
    const size_t row = (size_t)job->padded_w * job->column_bytes;
    const int whole = s->groups == 1 && s->dilation_w == 1; /* a row of taps is one stretch */
    return (struct sp_tiled_block){
        .first = first,
        .rows = job->linear ? 1 : units,
        .width = job->linear ? units : s->out_w,
        .row_pitch = (size_t)s->stride_h * row,
        .pixel_pitch = (size_t)s->stride_w * job->column_bytes,
        .tap_rows = s->kernel_h,
        .taps = whole ? 1 : s->kernel_w,
        .tap_bytes =
            job->p->row_bytes ? job->p->row_bytes : s->in_c / s->groups * (whole ? s->kernel_w : 1),
        .tap_row_pitch = (size_t)s->dilation_h * row,
        .tap_pitch = (size_t)s->dilation_w * job->column_bytes,
    };
}

/* A block of an image, for the first group. */
static struct sp_tiled_block find_block(const struct job *job, int image, int first, int units,
                                        void *scratch)
{
    const sp_conv_shape *s = &job->p->shape;
    const uint8_t *x = job->context->input[0];
    if (job->linear)
        return find_taps(job, x + (size_t)first * job->column_bytes, units);
    const size_t row = (size_t)s->in_w * job->column_bytes;
    x += (size_t)image * (size_t)s->in_h * row;
    const int y = first * s->stride_h - s->pad_top;
    if (job->source == IN_PLACE)
        return find_taps(job, x + (size_t)y * row, units);
    copy_padded(job, x, y, seen_rows(job, units), scratch);
    return find_taps(job, scratch, units);
}

/* A block of patches of a group. */
static struct sp_tiled_block gather_block(const struct job *job, int group, int first, int units,
                                          void *scratch)
{
    sp_gather_s8(job->p, job->context->input[0], group, first, units, scratch, job->patch_stride,
                 1);
    return (struct sp_tiled_block){
        .first = scratch,
        .rows = 1,
        .width = units,
        .pixel_pitch = job->patch_stride,
        .tap_rows = 1,
        .taps = 1,
        .tap_bytes = job->p->k_padded,
    };
}

static struct sp_panels find_panels(const struct job *job, int group)
{
    const sp_conv_s8 *p = job->p;
    const size_t columns = (size_t)SP_ROUND_UP(job->group_columns, SP_COLUMN_GROUP);
    return (struct sp_panels){
        .kernel = job->kernel,
        .weights = (const char *)p->weights + (size_t)group * columns * (size_t)p->k_padded,
        .columns = job->group_columns,
        .k = p->k_padded,
    };
}

static struct sp_rows find_results(const struct job *job, int pixel, int pixels, int channel)
{
    const size_t stride = (size_t)job->p->shape.out_c;
    const size_t at = (size_t)pixel * stride + (size_t)channel;
    const int has_residual = job->p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    return (struct sp_rows){
        .rows = pixels,
        .first = channel,
        .residual = has_residual ? (const uint8_t *)job->context->input[1] + at : NULL,
        .y = (uint8_t *)job->context->output + at,
        .stride = stride,
    };
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_conv_shape *s = &job->p->shape;
    const int range = task % job->ranges, block = task / job->ranges;
    const int image = block / job->blocks, part = block % job->blocks;
    const int first = sp_part(job->units, part, job->blocks, job->granule);
    const int units = sp_part(job->units, part + 1, job->blocks, job->granule) - first;
    const int pixel = (image * job->units + first) * job->unit_pixels;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    const int begin = job->panels * range / job->ranges;
    const int end = job->panels * (range + 1) / job->ranges;
    struct sp_tiled_block all = {0};
    if (units == 0 || begin == end)
        return;
    if (job->source != GATHERED)
        all = find_block(job, image, first, units, scratch);
    for (int group = begin / job->group_panels; group * job->group_panels < end; group++) {
        const int before = group * job->group_panels;
        const struct sp_panels panels = find_panels(job, group);
        struct sp_tiled_block own = all;
        if (job->source == GATHERED)
            own = gather_block(job, group, first, units, scratch);
        else
            own.first += group * (s->in_c / s->groups);
        const struct sp_rows results =
            find_results(job, pixel, units * job->unit_pixels, group * job->group_columns);
        job->run(&job->p->epilogue, &results, &own, &panels, SP_MAX(begin - before, 0),
                 SP_MIN(end - before, job->group_panels));
    }
}

void sp_tiled_conv_s8(const sp_conv_s8 *p, const sp_context *context)
{
    struct job job = plan_job(p, context->threads);
    job.context = context;
    sp_parallel(context->threads, job.images * job.blocks * job.ranges, run_task, &job);
}
