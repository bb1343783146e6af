/* Integer matrix product with int32 output, and what it shares with the convolution: the split
 * into tasks and the walk over panels. */
#include "gemm_s8.h"
#include "operators.h"
#include "requantize.h"
#include "rows.h"

enum {
    SCRATCH_ROWS = 96,        /* of patches that are gathered, and of sums that wait */
    BLOCK_BYTES = 256 * 1024, /* activations of a block, read again for every panel: half of L2 */
    FEWEST_ROWS = 16,         /* of several blocks: each reads all weights */
    WORTH_A_THREAD = 100000   /* products; some 2 microseconds */
};

static int whole_tiles(const struct sp_ukernel_entry *kernel, int rows)
{
    return SP_MAX(rows / kernel->mr, 1) * kernel->mr;
}

static int block_rows(const struct sp_ukernel_entry *kernel, int k, int in_place)
{
    const int fit = whole_tiles(kernel, BLOCK_BYTES / (k * sp_activation_bytes(kernel)));
    return in_place ? fit : SP_MIN(fit, whole_tiles(kernel, SCRATCH_ROWS));
}

int sp_scratch_rows(const struct sp_ukernel_entry *kernel, int k)
{
    return block_rows(kernel, k, 0) + kernel->mr; /* since sp_part() rounds */
}

static int divide_up(int a, int b) { return (a + b - 1) / b; }

struct sp_split sp_split_product(const struct sp_ukernel_entry *kernel, int rows, int k, int panels,
                                 int threads, int in_place)
{
    double products = (double)rows * k * panels * kernel->nr;
    int workers = (int)SP_MAX(SP_MIN(products / WORTH_A_THREAD, threads), 1);
    struct sp_split split = {rows, divide_up(rows, block_rows(kernel, k, in_place)), kernel->mr, 1,
                             panels};
    if (rows == 0)
        return split;
    const int even = SP_ROUND_UP(split.blocks, workers);
    if (split.blocks > 1 && rows >= FEWEST_ROWS * even) {
        split.blocks = even;
    } else if (split.blocks % workers != 0) {
        split.ranges = SP_MIN(workers, panels);
        if (split.ranges < workers && rows >= workers)
            split.blocks = even;
    }
    return split;
}

int sp_first_row(const struct sp_split *split, int block)
{
    return sp_part(split->rows, block, split->blocks, split->mr);
}

struct sp_panel sp_find_panel(const struct sp_panels *panels, int i)
{
    const struct sp_ukernel_entry *kernel = panels->kernel;
    const int first = i * kernel->nr;
    /* All panels before this one are whole. */
    const size_t before = panels->start
                              ? (size_t)panels->start[i]
                              : (size_t)first * (size_t)panels->k * (size_t)kernel->weight_bytes;
    const uint32_t *place = panels->quad_place;
    return (struct sp_panel){panels->weights + before, place ? place + i * (panels->k / 4) : NULL,
                             first, SP_MIN(kernel->nr, panels->columns - first)};
}

void sp_sum_panel(const struct sp_panels *panels, struct sp_panel panel, const void *a,
                  size_t a_stride, int rows, int32_t *sum)
{
    sp_gemm_s8_fn *run = (sp_gemm_s8_fn *)panels->kernel->run;
    run(a, a_stride, rows, panel.weights, panels->k, panel.count, sum);
}

struct job {
    const sp_gemm_s8 *p;
    const sp_context *context;
    struct sp_panels panels;
    struct sp_split split;
};

static size_t row_bytes(const sp_gemm_s8 *p, const struct sp_ukernel_entry *kernel)
{
    return (size_t)p->k_padded * (size_t)sp_activation_bytes(kernel);
}

size_t sp_scratch_gemm_s8(const void *params)
{
    const sp_gemm_s8 *p = params;
    const struct sp_ukernel_entry *kernel = &sp_ukernels[p->ukernel];
    size_t rows = (size_t)SP_MIN(sp_scratch_rows(kernel, p->k_padded), p->m);
    return rows * SP_ROUND_UP(row_bytes(p, kernel), 64) + rows * (size_t)kernel->nr * 4;
}

/* The block's rows in the form the micro-kernel reads: where they are, or copied. */
static const void *prepare_rows(const sp_gemm_s8 *p, const struct sp_ukernel_entry *kernel,
                                const uint8_t *x, int rows, void *scratch, size_t *stride)
{
    *stride = (size_t)p->k;
    if (sp_activation_bytes(kernel) == 1 && p->k == p->k_padded)
        return x;
    *stride = SP_ROUND_UP(row_bytes(p, kernel), 64);
    for (int i = 0; i < rows; i++)
        if (sp_activation_bytes(kernel) == 1)
            sp_put((char *)scratch + (size_t)i * *stride, 0, x + (size_t)i * (size_t)p->k, p->k, 1);
        else
            sp_put((char *)scratch + (size_t)i * *stride, 0, x + (size_t)i * (size_t)p->k, p->k, 2);
    return scratch;
}

/* The place of a block's results, into the caches while they are computed: stores to one row after
 * the other, far apart, would each wait for their memory. */
static void fetch_rows(const int32_t *y, size_t stride, int rows, int columns)
{
    enum { LINE = 64 / sizeof *y };
    for (int row = 0; row < rows; row++)
        for (int j = 0; j < columns; j += LINE)
            __builtin_prefetch(y + (size_t)row * stride + j, 0, 2);
}

static void add_bias(const int32_t *restrict sum, const int32_t *restrict bias, int n,
                     int32_t *restrict y)
{
    for (int j = 0; j < n; j++)
        y[j] = sp_wrapping_add(sum[j], bias[j]);
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_gemm_s8 *p = job->p;
    const struct sp_split *split = &job->split;
    const struct sp_ukernel_entry *kernel = job->panels.kernel;
    const int range = task % split->ranges, block = task / split->ranges;
    const int first_row = sp_first_row(split, block);
    const int rows = sp_first_row(split, block + 1) - first_row;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    int32_t *sum = (int32_t *)scratch;
    size_t stride;
    const void *a = prepare_rows(
        p, kernel, (const uint8_t *)job->context->input[0] + (size_t)first_row * (size_t)p->k, rows,
        scratch + (size_t)rows * (size_t)kernel->nr * 4, &stride);
    for (int i = split->panels * range / split->ranges;
         i < split->panels * (range + 1) / split->ranges; i++) {
        const struct sp_panel panel = sp_find_panel(&job->panels, i);
        int32_t *y =
            (int32_t *)job->context->output + (size_t)first_row * (size_t)p->n + panel.first;
        fetch_rows(y, (size_t)p->n, rows, panel.count);
        sp_sum_panel(&job->panels, panel, a, stride, rows, sum);
        for (int row = 0; row < rows; row++)
            add_bias(sum + row * kernel->nr, p->bias + panel.first, panel.count,
                     y + (size_t)row * (size_t)p->n);
    }
}

void sp_op_gemm_s8(const void *params, const sp_context *context)
{
    const sp_gemm_s8 *p = params;
    const struct sp_ukernel_entry *kernel = &sp_ukernels[p->ukernel];
    struct job job = {
        p, context, {kernel, p->weights, p->panel_start, p->n, p->k_padded, NULL}, {0}};
    job.split = sp_split_product(kernel, p->m, p->k_padded, divide_up(p->n, kernel->nr),
                                 context->threads, 0);
    sp_parallel(context->threads, job.split.blocks * job.split.ranges, run_task, &job);
}
