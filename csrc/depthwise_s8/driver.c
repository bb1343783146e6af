/* Depthwise int8 convolution, nhwc: bands of output rows, cut into strips. As many bands as the L2
 * cache holds the input of are one task: what a chunk of channels prepares serves them all. */
#include "depthwise_s8.h"

#include <string.h>

#include "elementwise/look_up.h"
#include "operators.h"
#include "ukernels.h"

enum {
    EDGE_BYTES = 64,      /* of padding read left and right of a row */
    COLUMN_BYTES = 16384, /* a strip's interleaved columns: half of the L1 cache */
    INPUT_BYTES = 65536,  /* a strip's input in a band: a small part of the L2 cache */
    TASK_BYTES = 131072,  /* the input of a task's bands */
    FEWEST_PIXELS = 8,    /* of a strip: neighbouring strips read the same columns */
    MOST_PIECES = 4,      /* pixels that a vector of one chunk may hold */
    WORTH_A_THREAD = 8192 /* outputs; a few microseconds */
};

struct job {
    const sp_depthwise_s8 *p;
    sp_depthwise_s8 without_table; /* which is applied to whole strips */
    const sp_context *context;
    const struct sp_ukernel_entry *kernel;
    struct sp_band band;
    int input_rows;   /* of a band */
    int bands;        /* of an image */
    int task_bands;   /* of a task, the most */
    int parts;        /* tasks of an image, but for ranges */
    int strip_pixels; /* the most */
    int chunk_tasks;  /* chunks that do not overlap another, or the last two together */
    int ranges;       /* of chunk tasks, where there are few bands */
    size_t weight_bytes, column_bytes, list_bytes, outside_bytes;
};

/* Chunks, not counting the one that overlaps another. */
static int count_chunk_tasks(int channels, int nr)
{
    int count = 0;
    for (int at = 0; at < channels;) {
        const struct sp_chunk chunk = sp_find_chunk(at, channels, nr);
        count += chunk.first == at;
        at = chunk.first + chunk.width;
    }
    return count;
}

static size_t row_bytes(const sp_conv_shape *s) { return (size_t)s->in_w * (size_t)s->in_c; }

/* Pixels of a strip, in whole vectors, that need no more than some columns. */
static int pixels_of_columns(const sp_conv_shape *s, int columns)
{
    const int pixels = (columns - 1 - sp_reach(s)) / s->stride_w + 1;
    return SP_MAX(pixels, 0) / MOST_PIECES * MOST_PIECES;
}

/* Bands of a task: as few as leave every thread some tasks. */
static int count_task_bands(const struct job *job, int threads)
{
    const sp_conv_shape *s = &job->p->shape;
    const size_t band_bytes = (size_t)(job->band.rows * s->stride_h) * row_bytes(s);
    int most = job->bands;
    if (threads > 1)
        most = (int)SP_MIN((int64_t)s->batch * job->bands / (4 * threads), most);
    return SP_MAX((int)SP_MIN(TASK_BYTES / SP_MAX(band_bytes, 1), (size_t)most), 1);
}

static struct job plan_job(const sp_depthwise_s8 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job job = {.p = p, .without_table = *p, .kernel = &sp_ukernels[p->ukernel]};
    job.without_table.epilogue.table = NULL;
    const int nr = job.kernel->nr, k_group = job.kernel->k_group;
    job.band = sp_find_band(s, k_group);
    job.input_rows = job.band.groups * k_group;
    job.bands = (s->out_h + job.band.rows - 1) / job.band.rows;
    job.task_bands = count_task_bands(&job, threads);
    job.parts = (job.bands + job.task_bands - 1) / job.task_bands;
    const int column = job.band.groups * nr * k_group * job.kernel->weight_bytes;
    const int pieces = nr / sp_find_chunk(0, s->in_c, nr).width; /* the fewest of a vector */
    const int pixels = SP_MIN(pieces * pixels_of_columns(s, COLUMN_BYTES / column),
                              pixels_of_columns(s, INPUT_BYTES / (job.input_rows * s->in_c)));
    job.strip_pixels = SP_MAX(pixels, FEWEST_PIXELS);
    const int vectors = SP_MIN(job.strip_pixels, SP_ROUND_UP(s->out_w, MOST_PIECES)) / pieces;
    job.column_bytes =
        ((size_t)(vectors - 1) * (size_t)s->stride_w + (size_t)sp_reach(s) + 1) * (size_t)column;
    job.weight_bytes = (size_t)column * (size_t)s->kernel_w * (size_t)job.band.rows;
    const size_t listed = (size_t)job.input_rows * (size_t)count_task_bands(&job, 1);
    job.list_bytes = SP_ROUND_UP(listed * sizeof(void *), 64);
    job.outside_bytes = SP_ROUND_UP(row_bytes(s), 64) + EDGE_BYTES;
    job.chunk_tasks = count_chunk_tasks(s->in_c, nr);
    job.ranges = 1;
    if (s->batch * job.parts < 4 * threads)
        job.ranges = SP_MIN(threads, job.chunk_tasks);
    return job;
}

size_t sp_scratch_depthwise_s8(const void *params)
{
    const struct job job = plan_job(params, 1);
    return job.outside_bytes + job.column_bytes + job.list_bytes;
}

/* A thread's scratch memory. */
struct memory {
    uint8_t *outside, *columns;
    const uint8_t **row;
};

static struct memory find_memory(const struct job *job, int thread)
{
    char *at = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    char *columns = at + job->outside_bytes;
    return (struct memory){(uint8_t *)at, (uint8_t *)columns,
                           (const uint8_t **)(columns + job->column_bytes)};
}

/* Where a strip lies: which output rows and pixels. */
struct part {
    int image, row, rows, first, pixels;
};

/* Returns whether some lie outside the image. */
static int find_input_rows(const struct job *job, struct part part, const struct memory *memory)
{
    const sp_conv_shape *s = &job->p->shape;
    const uint8_t *x = (const uint8_t *)job->context->input[0] +
                       (size_t)part.image * (size_t)s->in_h * row_bytes(s);
    const uint8_t **row = memory->row;
    int outside = 0;
    for (int first = part.row; first < part.row + part.rows; first += job->band.rows)
        for (int i = 0; i < job->input_rows; i++) {
            const int y = first * s->stride_h - s->pad_top + i * s->dilation_h;
            const int inside = y >= 0 && y < s->in_h;
            *row++ = inside ? x + (size_t)y * row_bytes(s) : memory->outside;
            outside |= !inside;
        }
    return outside;
}

static void run_chunk(const struct job *job, struct part part, struct sp_chunk chunk,
                      const char *weights, const struct memory *memory)
{
    const sp_depthwise_s8 *p = job->p;
    const sp_conv_shape *s = &p->shape;
    const size_t row = (size_t)part.image * (size_t)s->out_h + (size_t)part.row;
    const size_t pixel = row * (size_t)s->out_w + (size_t)part.first;
    const size_t at = pixel * (size_t)s->in_c + (size_t)chunk.first;
    const int has_residual = p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    const struct sp_depthwise_run run = {
        .p = &job->without_table,
        .band = job->band,
        .chunk = chunk,
        .weights = weights,
        .row = memory->row,
        .outside = memory->outside,
        .rows = part.rows,
        .first = part.first,
        .pixels = part.pixels,
        .y = (uint8_t *)job->context->output + at,
        .residual = has_residual ? (const uint8_t *)job->context->input[1] + at : NULL,
        .columns = memory->columns,
    };
    ((sp_depthwise_s8_fn *)job->kernel->run)(&run);
}

/* Some channels of a strip: by the table, where there is one. */
static void look_up(const struct job *job, struct part part, int first, int end)
{
    const uint8_t *table = job->p->epilogue.table;
    const sp_conv_shape *s = &job->p->shape;
    for (int i = 0; table && i < part.rows; i++) {
        const size_t row = (size_t)part.image * (size_t)s->out_h + (size_t)(part.row + i);
        const size_t pixel = row * (size_t)s->out_w + (size_t)part.first;
        uint8_t *y = (uint8_t *)job->context->output + pixel * (size_t)s->in_c + first;
        const struct sp_byte_rows pixels = {y, y, part.pixels, end - first, (size_t)s->in_c};
        sp_look_up(table, &pixels);
    }
}

/* Chunk tasks [first, last). One that overlaps another belongs to the same task, so that no two
 * threads write to the same place. */
static void run_chunks(const struct job *job, struct part part, int first, int last,
                       const struct memory *memory)
{
    const int channels = job->p->shape.in_c;
    const char *weights = job->p->weights;
    int first_channel = channels, end_channel = 0;
    for (int at = 0, i = -1; at < channels; weights += job->weight_bytes) {
        const struct sp_chunk chunk = sp_find_chunk(at, channels, job->kernel->nr);
        i += chunk.first == at;
        at = chunk.first + chunk.width;
        if (i >= first && i < last) {
            run_chunk(job, part, chunk, weights, memory);
            first_channel = SP_MIN(first_channel, chunk.first);
            end_channel = SP_MIN(at, channels);
        }
    }
    look_up(job, part, first_channel, end_channel);
}

/* A task is some bands of one image and a range of chunks. */
static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_conv_shape *s = &job->p->shape;
    const struct memory memory = find_memory(job, thread);
    const int range = task % job->ranges, number = task / job->ranges;
    const int first = job->chunk_tasks * range / job->ranges;
    const int last = job->chunk_tasks * (range + 1) / job->ranges;
    const int rows = job->task_bands * job->band.rows;
    struct part part = {.image = number / job->parts, .row = number % job->parts * rows};
    part.rows = SP_MIN(rows, s->out_h - part.row);
    memset(memory.outside, job->p->x_zero_point,
           find_input_rows(job, part, &memory) ? job->outside_bytes : EDGE_BYTES);
    for (; part.first < s->out_w; part.first += job->strip_pixels) {
        part.pixels = SP_MIN(job->strip_pixels, s->out_w - part.first);
        run_chunks(job, part, first, last, &memory);
    }
}

void sp_op_depthwise_s8(const void *params, const sp_context *context)
{
    const sp_depthwise_s8 *p = params;
    const double outputs = (double)p->shape.out_h * p->shape.out_w * p->shape.in_c * p->shape.batch;
    const int threads = (int)SP_MAX(SP_MIN(outputs / WORTH_A_THREAD, context->threads), 1);
    struct job job = plan_job(p, threads);
    job.context = context;
    sp_parallel(threads, p->shape.batch * job.parts * job.ranges, run_task, &job);
}
