/* Dense float32 convolution, nhwc: a matrix product of gathered patches and packed weights.
 *
 * A task is a block of pixels and a range of panels. It goes through K in blocks that keep the
 * patches and a panel's weights in the L2 cache; sums wait in scratch memory between K blocks, of
 * no more panels than stay in the L2 cache, too. The order of summation follows from K alone, so
 * that results do not depend on threads. */
#include "conv_f32.h"
#include "operators.h"
#include "ukernels.h"

enum {
    K_BLOCK = 320,
    K_BLOCK_FEW = 4096, /* of so few rows that they stay in the L1 cache */
    ROW_BLOCK = 112,    /* pixels at most, about */
    WAITING = 40960,    /* sums between K blocks: 160 KB */
    LINE = 16,          /* floats a cache line */
    L1_WAY = 1024,      /* floats; 64 sets of lines */
    L1_WAYS = 8         /* at least */
};

struct job {
    const sp_conv_f32 *p;
    const sp_context *context;
    const struct sp_ukernel_entry *ukernel;
    int k, k_blocks, k_block; /* patch length; its blocks, the last one may be shorter */
    int columns, panels;      /* of one group */
    int waiting;              /* panels whose sums wait between K blocks */
    int together;             /* panels in a tile */
    int64_t pixels, pixel_blocks;
    int rows;         /* pixels of a block, a multiple of mr */
    int panel_ranges; /* tasks that share a block of pixels */
    int direct;       /* patches are read where they are */
    size_t patch_stride;
};

static struct job plan_job(const sp_conv_f32 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job j = {.p = p, .ukernel = &sp_ukernels[p->ukernel]};
    const int mr = j.ukernel->mr, nr = j.ukernel->nr;
    j.k = s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    j.pixels = (int64_t)s->batch * s->out_h * s->out_w;
    const int few = j.pixels <= 2;
    const int k_block = few ? K_BLOCK_FEW : K_BLOCK;
    j.together = few ? SP_FEW_F32 / SP_MAX((int)j.pixels, 1) : 1;
    j.k_blocks = (j.k + k_block - 1) / k_block;
    j.k_block = SP_ROUND_UP((j.k + j.k_blocks - 1) / j.k_blocks, LINE);
    j.k_blocks = (j.k + j.k_block - 1) / j.k_block;
    j.columns = s->out_c / s->groups;
    j.panels = (j.columns + nr - 1) / nr;
    const int64_t blocks = SP_MAX((j.pixels + ROW_BLOCK - 1) / ROW_BLOCK, 1);
    j.rows = SP_ROUND_UP(SP_MAX((int)((j.pixels + blocks - 1) / blocks), 1), mr);
    j.pixel_blocks = (j.pixels + j.rows - 1) / j.rows;
    j.waiting = SP_MIN(j.panels, SP_MAX(WAITING / (j.rows * nr), 1));
    /* few blocks do not divide evenly among threads */
    int uneven = j.pixel_blocks % threads != 0 && j.pixel_blocks < 4 * threads;
    j.panel_ranges = uneven ? SP_MIN(threads, j.panels) : 1;
    /* all rows of a tile would share one set of the L1 cache */
    int aliasing = s->in_c % L1_WAY == 0 && mr > L1_WAYS && j.panels > 1 && j.pixels > 1;
    j.direct = s->kernel_h == 1 && s->kernel_w == 1 && s->stride_h == 1 && s->stride_w == 1 &&
               s->pad_top == 0 && s->pad_left == 0 && s->out_h == s->in_h && s->out_w == s->in_w &&
               !aliasing;
    j.patch_stride = j.direct ? (size_t)s->in_c : (size_t)(j.k_block + LINE);
    return j;
}

static size_t patch_floats(const struct job *j)
{
    return j->direct ? 0 : (size_t)j->rows * j->patch_stride;
}

/* Waiting sums where K has several blocks, else one tile. */
static size_t sum_floats(const struct job *j)
{
    size_t panel = (size_t)j->rows * (size_t)j->ukernel->nr;
    return j->k_blocks > 1 ? (size_t)j->waiting * panel : panel;
}

static int is_depthwise(const sp_conv_shape *s)
{
    return s->groups > 1 && s->groups == s->in_c && s->groups == s->out_c;
}

size_t sp_scratch_conv_f32(const void *params)
{
    const sp_conv_f32 *p = params;
    if (is_depthwise(&p->shape))
        return 0;
    struct job j = plan_job(p, 1); /* what depends on threads takes no memory */
    return (patch_floats(&j) + sum_floats(&j)) * sizeof(float);
}

/* The last panel of a group may have fewer columns than the micro-kernel. */
static void finish_columns(const struct sp_finish_f32 *f, const float *sums, int nr, int rows,
                           int columns)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            size_t at = (size_t)i * f->stride + (size_t)j;
            float v = sums[i * nr + j];
            v = f->residual ? v + f->residual[at] : v;
            v = v < f->lo ? f->lo : v;
            f->y[at] = v > f->hi ? f->hi : v;
        }
}

/* Where a task is: block of K, panel or several from it on, and the tile's first pixel. */
struct place {
    int group, k_block, panel, panels;
    int64_t pixel;
    int rows;
};

static void run_tile(const struct job *j, struct place at, const float *a, float *sums)
{
    const sp_conv_f32 *p = j->p;
    const int nr = j->ukernel->nr, column = at.panel * nr, k0 = at.k_block * j->k_block;
    const size_t panel_weights = (size_t)j->k * (size_t)nr;
    const int panel = at.group * j->panels + at.panel;
    const size_t out =
        (size_t)at.pixel * (size_t)p->shape.out_c + (size_t)(at.group * j->columns + column);
    const int last = at.k_block == j->k_blocks - 1, whole = j->columns - column >= at.panels * nr;
    struct sp_finish_f32 finish = {
        p->lo,
        p->hi,
        p->has_residual ? (const float *)j->context->input[1] + out : NULL,
        (float *)j->context->output + out,
        (size_t)p->shape.out_c,
    };
    struct sp_tile_f32 tile = {
        .a = a,
        .lda = j->patch_stride,
        .rows = at.rows,
        .k = SP_MIN(j->k_block, j->k - k0),
        .panels = at.panels,
        .panel = panel_weights,
        .w = p->weights + (size_t)panel * panel_weights + (size_t)k0 * (size_t)nr,
        .start = at.k_block == 0 ? p->bias + (size_t)panel * (size_t)nr : NULL,
        .sums = sums,
        .finish = last && whole ? &finish : NULL,
    };
    ((sp_gemm_f32_fn *)j->ukernel->run)(&tile);
    if (last && !whole)
        finish_columns(&finish, sums, nr, at.rows, j->columns - column);
}

/* Panels from `panel` on, of those before `end`, that a tile takes together: whole ones. */
static int count_together(const struct job *j, int panel, int end)
{
    const int whole = SP_MIN(end, j->columns / j->ukernel->nr);
    int count = j->together;
    while (count > 1 && panel + count > whole)
        count /= 2;
    return count;
}

/* All tiles of one panel, or of several together, and one block of K. sums: the panel's. The rows
 * are shared out evenly: a tile of one or two would wait for its own sums. */
static void run_panel(const struct job *j, struct place at, int rows, const float *a, float *sums)
{
    const int mr = j->ukernel->mr, nr = j->ukernel->nr;
    const int64_t first = at.pixel;
    const int tiles = (rows + mr - 1) / mr;
    for (int i = 0; i < tiles; i++) {
        const int row = rows * i / tiles;
        at.pixel = first + row;
        at.rows = rows * (i + 1) / tiles - row;
        size_t tile = j->k_blocks > 1 ? (size_t)row * (size_t)nr : 0;
        run_tile(j, at, a + (size_t)row * j->patch_stride, sums + tile);
    }
}

static const float *find_patches(const struct job *j, struct place at, int rows, float *scratch)
{
    const sp_conv_shape *s = &j->p->shape;
    const float *x = j->context->input[0];
    const int k0 = at.k_block * j->k_block;
    if (j->direct)
        return x + at.pixel * s->in_c + at.group * j->k + k0;
    sp_gather_f32(s, x, at.group, at.pixel, rows, k0, SP_MIN(k0 + j->k_block, j->k), scratch,
                  j->patch_stride);
    return scratch;
}

/* Panels [at.panel, end) in all blocks of K. */
static void run_panels(const struct job *j, struct place at, int end, float *patches, float *sums)
{
    const int first = at.panel, rows = (int)SP_MIN(j->rows, j->pixels - at.pixel);
    const size_t panel_sums = (size_t)j->rows * (size_t)j->ukernel->nr;
    for (at.k_block = 0; at.k_block < j->k_blocks; at.k_block++) {
        const float *a = find_patches(j, at, rows, patches);
        for (at.panel = first; at.panel < end; at.panel += at.panels) {
            at.panels = count_together(j, at.panel, end);
            size_t panel = j->k_blocks > 1 ? (size_t)(at.panel - first) * panel_sums : 0;
            run_panel(j, at, rows, a, sums + panel);
        }
    }
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *j = argument;
    float *patches =
        (float *)(j->context->scratch + (size_t)thread * j->context->scratch_per_thread);
    float *sums = patches + patch_floats(j);
    const int range = task % j->panel_ranges, block = task / j->panel_ranges;
    struct place at = {
        .group = (int)(block / j->pixel_blocks),
        .pixel = block % j->pixel_blocks * j->rows,
    };
    const int end = j->panels * (range + 1) / j->panel_ranges;
    const int together = j->k_blocks > 1 ? j->waiting : j->panels;
    for (at.panel = j->panels * range / j->panel_ranges; at.panel < end; at.panel += together)
        run_panels(j, at, SP_MIN(at.panel + together, end), patches, sums);
}

void sp_op_conv_f32(const void *params, const sp_context *context)
{
    const sp_conv_f32 *p = params;
    if (is_depthwise(&p->shape)) {
        sp_depthwise_conv_f32(p, context);
        return;
    }
    struct job j = plan_job(p, context->threads);
    j.context = context;
    int64_t tasks = j.pixel_blocks * j.panel_ranges * p->shape.groups;
    sp_parallel(context->threads, (int)tasks, run_task, &j);
}
