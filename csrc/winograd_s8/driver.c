/* Exact integer Winograd convolution, nhwc: a block of tiles is transformed, multiplied and
 * transformed back while it stays in the L2 cache, and then requantized. winograd_s8.h has the
 * arithmetic.
 *
 * Tiles count through the rows of tiles of all images. A task is a block of tiles and a range of
 * column blocks. */
#include "winograd_s8.h"

#include <string.h>

#include "epilogue/epilogue.h"
#include "operators.h"
#include "ukernels.h"

enum {
    CACHE_BYTES = 512 * 1024, /* of an L2 cache: V and M of a block fill it; or most of it, */
    BLOCK_BYTES = 320 * 1024, /* where weights are few enough to stay there, too */
    BLOCK_TILES = 48,         /* more only cost cache */
    /* Where weights are transformed anew for each block: V comes from the L3 cache. */
    ONCE_BYTES = 2560 * 1024,
    ONCE_TILES = 64,
    RUN_TILES = 4, /* tiles whose sums are requantized together, from L1 */
    LINE = 64
};

struct stages {
    sp_winograd_input_fn *input;
    sp_winograd_weights_fn *weights;
    sp_winograd_output_fn *output;
};

/* Few channels do not fill the widest vectors. */
static struct stages stages_of(enum sp_isa_id isa, int channels)
{
#ifdef SP_X86
    if (isa == SP_ISA_AVX512VNNI)
        return (struct stages){channels < 32 ? sp_winograd_input_avx2
                                             : sp_winograd_input_avx512vnni,
                               sp_winograd_weights_avx512vnni, sp_winograd_output_avx512vnni};
    if (isa == SP_ISA_AVX2 || isa == SP_ISA_AVXVNNI)
        return (struct stages){sp_winograd_input_avx2, sp_winograd_weights_avx2,
                               sp_winograd_output_avx2};
#endif
    (void)isa, (void)channels;
    return (struct stages){sp_winograd_input_portable, sp_winograd_weights_portable,
                           sp_winograd_output_portable};
}

struct job {
    const sp_winograd_s8 *p;
    const sp_context *context;
    const struct sp_winograd_finish *finish;
    const struct sp_ukernel_entry *kernel;
    struct stages stages;
    int tiles_y, tiles_x, tiles;         /* tiles: of all images */
    int blocks, block_tiles;             /* block_tiles: of the largest block */
    int most_tiles;                      /* with any number of threads */
    int ranges, column_blocks;           /* ranges of column blocks */
    size_t tile_stride, position_stride; /* of V, in int16 */
};

static int divide_up(int a, int b) { return (a + b - 1) / b; }

static int whole_columns(const struct job *job)
{
    return SP_ROUND_UP(job->p->shape.out_c, SP_M_COLUMNS);
}

static int first_tile(const struct job *job, int block)
{
    return sp_part(job->tiles, block, job->blocks, job->kernel->mr);
}

/* Few blocks rarely divide evenly among the threads, and blocks of less than two micro-kernels
 * waste weights: then column blocks are divided, though each range repeats the transform of the
 * inputs. */
static void split_blocks(struct job *job, int most, int threads)
{
    const int mr = job->kernel->mr;
    const int blocks = divide_up(job->tiles, most);
    const int even = SP_MAX((blocks + threads / 2) / threads, 1) * threads;
    job->blocks = blocks;
    job->ranges = 1;
    if (job->tiles >= 2 * mr * even && divide_up(job->tiles, even) <= most + mr / 2) {
        job->blocks = even;
    } else if (blocks % threads != 0) {
        job->ranges = SP_MIN(threads, job->column_blocks);
        if (job->ranges < threads)
            job->blocks = SP_MAX(blocks, SP_MIN(threads, job->tiles));
    }
}

static void make_room(struct job *job, int tiles)
{
    job->block_tiles = tiles;
    /* A line more, so that the positions of a tile do not share cache sets. */
    job->position_stride = (size_t)tiles * job->tile_stride + LINE / 2;
}

static struct job plan_job(const sp_winograd_s8 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job job = {.p = p, .kernel = &sp_ukernels[p->ukernel]};
    job.stages = stages_of(job.kernel->isa, s->in_c);
    job.tiles_y = divide_up(s->out_h, SP_TILE_OUT);
    job.tiles_x = divide_up(s->out_w, SP_TILE_OUT);
    job.tiles = s->batch * job.tiles_y * job.tiles_x;
    job.column_blocks = divide_up(s->out_c, SP_BLOCK_COLUMNS);
    job.tile_stride = (size_t)SP_ROUND_UP(s->in_c, SP_V_CHANNELS);

    const int bytes = SP_POSITIONS * ((int)job.tile_stride * 2 + SP_BLOCK_COLUMNS * 4);
    const int64_t weight_bytes = (int64_t)2 * SP_POSITIONS * s->in_c * s->out_c;
    const int cached = weight_bytes <= CACHE_BYTES ? BLOCK_BYTES : CACHE_BYTES;
    const int room = p->transformed ? cached : ONCE_BYTES;
    const int mr = job.kernel->mr, fit = room / bytes / mr * mr;
    const int most = SP_MAX(SP_MIN(fit, p->transformed ? BLOCK_TILES : ONCE_TILES), mr);
    split_blocks(&job, most, threads);
    int largest = 0;
    for (int i = 0; i < job.blocks; i++)
        largest = SP_MAX(largest, first_tile(&job, i + 1) - first_tile(&job, i));
    make_room(&job, largest);
    job.most_tiles = SP_MIN(most + mr, job.tiles); /* sp_part() rounds */
    return job;
}

/* Scratch memory of a thread, each part a multiple of LINE bytes. */
struct memory {
    int16_t *v;       /* [36][tiles][channels] */
    int32_t *m;       /* [tiles][columns / 16][36][16] */
    int16_t *u;       /* see SP_U_STRIDE */
    int32_t *sum;     /* [4][4 * RUN_TILES][columns] */
    uint8_t *padding; /* [channels]: a pixel outside the image */
};

static size_t lay_out(const struct job *job, char *scratch, struct memory *memory)
{
    const size_t v_bytes = SP_POSITIONS * job->position_stride * 2;
    const int columns = SP_MIN(SP_BLOCK_COLUMNS, whole_columns(job));
    const size_t m_bytes = (size_t)(job->block_tiles * SP_POSITIONS * columns) * 4;
    const size_t sum_bytes = SP_TILE_OUT * SP_TILE_OUT * RUN_TILES * SP_BLOCK_COLUMNS * 4;
    const size_t u_bytes = job->p->transformed ? 0 : SP_CHUNK_POSITIONS * SP_U_STRIDE * 2;
    *memory = (struct memory){
        (int16_t *)scratch,
        (int32_t *)(scratch + v_bytes),
        (int16_t *)(scratch + v_bytes + m_bytes),
        (int32_t *)(scratch + v_bytes + m_bytes + u_bytes),
        (uint8_t *)(scratch + v_bytes + m_bytes + u_bytes + sum_bytes),
    };
    return v_bytes + m_bytes + u_bytes + sum_bytes + job->tile_stride;
}

size_t sp_scratch_winograd_s8(const void *params)
{
    struct job job = plan_job(params, 1);
    struct memory memory;
    make_room(&job, job.most_tiles);
    return lay_out(&job, NULL, &memory);
}

struct position {
    int image, y, x; /* of a tile, in tiles */
};

static struct position find_tile(const struct job *job, int tile)
{
    const int row = tile / job->tiles_x;
    return (struct position){row / job->tiles_y, row % job->tiles_y, tile % job->tiles_x};
}

/* ---- inputs ---- */

static void find_pixels(const struct job *job, struct position at, const uint8_t *padding,
                        const uint8_t **pixel)
{
    const sp_conv_shape *s = &job->p->shape;
    const uint8_t *x = job->context->input[0];
    const int first_y = at.y * SP_TILE_OUT - s->pad_top, first_x = at.x * SP_TILE_OUT - s->pad_left;
    for (int i = 0; i < SP_TILE_IN; i++)
        for (int j = 0; j < SP_TILE_IN; j++) {
            const int py = first_y + i, px = first_x + j;
            const int inside = py >= 0 && py < s->in_h && px >= 0 && px < s->in_w;
            const int64_t index = ((int64_t)at.image * s->in_h + py) * s->in_w + px;
            pixel[i * SP_TILE_IN + j] = inside ? x + index * s->in_c : padding;
        }
}

static void transform_inputs(const struct job *job, int first, int tiles,
                             const struct memory *memory)
{
    const int channels = job->p->shape.in_c;
    memset(memory->padding, job->p->x_zero_point, (size_t)channels);
    for (int i = 0; i < tiles; i++) {
        const uint8_t *pixel[SP_POSITIONS];
        find_pixels(job, find_tile(job, first + i), memory->padding, pixel);
        job->stages.input(pixel, channels, memory->v + (size_t)i * job->tile_stride,
                          job->position_stride);
    }
}

/* ---- products ---- */

/* The transformed weights of a block of columns: [36][panels]. */
static void multiply(const struct job *job, const int16_t *u, int columns, int tiles,
                     const struct memory *memory)
{
    const int k = job->p->k_padded, nr = job->kernel->nr;
    const size_t m_stride = (size_t)columns * SP_POSITIONS;
    for (int position = 0; position < SP_POSITIONS; position++) {
        const int16_t *v = memory->v + (size_t)position * job->position_stride;
        for (int column = 0; column < columns; column += nr) {
            const int width = SP_MIN(nr, columns - column);
            const int16_t *next = u + (size_t)k * (size_t)width;
            ((sp_winograd_product_fn *)job->kernel->run)(
                v, job->tile_stride, tiles, u, k, width, next, 1,
                memory->m + column * SP_POSITIONS + position * SP_M_COLUMNS, m_stride);
            u = next;
        }
    }
}

/* The share of one position in fetching the weights that come next, as many: all at once would
 * be more than the CPU can wait for. */
static void fetch(const int8_t *w, int bytes, int position)
{
    const int end = bytes * (position + 1) / SP_CHUNK_POSITIONS;
    for (int i = bytes * position / SP_CHUNK_POSITIONS; i < end; i += LINE)
        __builtin_prefetch(w + i, 0, 2);
}

/* A block of SP_M_COLUMNS columns and two rows of positions, from untransformed weights:
 * [k / 2][9][16][2]. m: of the columns. */
static void multiply_rows(const struct job *job, const int8_t *w, int first, int tiles,
                          size_t m_stride, const struct memory *memory, int32_t *m)
{
    const int k = job->p->k_padded;
    for (int at = 0, depth; at < k; at += depth) {
        depth = SP_MIN(2 * SP_CHUNK_PAIRS, k - at);
        const int bytes = depth * SP_TAPS * SP_TAPS * SP_M_COLUMNS;
        job->stages.weights(w, depth / 2, first, memory->u);
        w += bytes;
        for (int i = 0; i < SP_CHUNK_POSITIONS; i++) {
            const int row = i < SP_TILE_IN ? first : sp_second_row(first);
            const int position = row * SP_TILE_IN + i % SP_TILE_IN;
            const int16_t *u = memory->u + i * SP_U_STRIDE;
            fetch(w, bytes, i);
            ((sp_winograd_product_fn *)job->kernel->run)(
                memory->v + (size_t)position * job->position_stride + at, job->tile_stride, tiles,
                u, depth, SP_M_COLUMNS, u, at == 0, m + position * SP_M_COLUMNS, m_stride);
        }
    }
}

/* The same from untransformed weights: [columns / 16][k / 2][9][16][2]. U of some input channels at
 * a time is made, used and forgotten: for a few tiles this takes less time than reading it from
 * memory, where it is eight times as large. */
static void transform_and_multiply(const struct job *job, const int8_t *w, int columns, int tiles,
                                   const struct memory *memory)
{
    static const int first[] = {0, 1, 3};
    const size_t m_stride = (size_t)columns * SP_POSITIONS;
    const size_t bytes = (size_t)job->p->k_padded * SP_TAPS * SP_TAPS * SP_M_COLUMNS;
    for (int column = 0; column < columns; column += SP_M_COLUMNS, w += bytes)
        for (int i = 0; i < 3; i++)
            multiply_rows(job, w, first[i], tiles, m_stride, memory,
                          memory->m + column * SP_POSITIONS);
}

/* ---- outputs ---- */

/* Sums to bytes, by the epilogue of the parameters. */
static void requantize(const void *params, const sp_context *context, int64_t at,
                       struct sp_rows rows)
{
    const sp_winograd_s8 *p = params;
    if (p->epilogue.residual_mode != SP_RESIDUAL_NONE)
        rows.residual = (const uint8_t *)context->input[1] + at;
    rows.y = (uint8_t *)context->output + at;
    sp_epilogue_of(sp_ukernels[p->ukernel].isa)(&p->epilogue, &rows);
}

/* `count` neighbouring tiles of a row of tiles; their sums are in memory->sum. */
static void finish_rows(const struct job *job, struct position at, int count, int first_column,
                        const struct memory *memory)
{
    const sp_conv_shape *s = &job->p->shape;
    const int y = at.y * SP_TILE_OUT, x = at.x * SP_TILE_OUT;
    for (int i = 0; i < SP_TILE_OUT && y + i < s->out_h; i++) {
        const int64_t pixel = ((int64_t)at.image * s->out_h + y + i) * s->out_w + x;
        const struct sp_rows rows = {
            .sum = memory->sum + i * SP_TILE_OUT * RUN_TILES * SP_BLOCK_COLUMNS,
            .sum_stride = SP_BLOCK_COLUMNS,
            .rows = SP_MIN(count * SP_TILE_OUT, s->out_w - x),
            .first = first_column,
            .count = SP_MIN(SP_BLOCK_COLUMNS, s->out_c - first_column),
            .stride = (size_t)s->out_c,
        };
        job->finish->run(job->finish->params, job->context, pixel * s->out_c + first_column, rows);
    }
}

static void finish(const struct job *job, int first, int tiles, int first_column, int columns,
                   const struct memory *memory)
{
    const size_t m_stride = (size_t)columns * SP_POSITIONS;
    for (int done = 0, count; done < tiles; done += count) {
        const struct position at = find_tile(job, first + done);
        count = SP_MIN(SP_MIN(RUN_TILES, tiles - done), job->tiles_x - at.x);
        for (int i = 0; i < count; i++)
            job->stages.output(memory->m + (size_t)(done + i) * m_stride, columns,
                               memory->sum + i * SP_TILE_OUT * SP_BLOCK_COLUMNS,
                               SP_TILE_OUT * RUN_TILES * SP_BLOCK_COLUMNS, SP_BLOCK_COLUMNS);
        finish_rows(job, at, count, first_column, memory);
    }
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const int range = task % job->ranges, block = task / job->ranges;
    const int first = first_tile(job, block), tiles = first_tile(job, block + 1) - first;
    const int whole = whole_columns(job);
    struct memory memory;
    lay_out(job, job->context->scratch + (size_t)thread * job->context->scratch_per_thread,
            &memory);
    transform_inputs(job, first, tiles, &memory);
    for (int i = job->column_blocks * range / job->ranges;
         i < job->column_blocks * (range + 1) / job->ranges; i++) {
        const int column = i * SP_BLOCK_COLUMNS, columns = SP_MIN(SP_BLOCK_COLUMNS, whole - column);
        /* All blocks before this one are whole. */
        const size_t before = (size_t)job->p->k_padded * (size_t)column;
        if (job->p->transformed)
            multiply(job, (const int16_t *)job->p->weights + SP_POSITIONS * before, columns, tiles,
                     &memory);
        else
            transform_and_multiply(job,
                                   (const int8_t *)job->p->weights + SP_TAPS * SP_TAPS * before,
                                   columns, tiles, &memory);
        finish(job, first, tiles, column, columns, &memory);
    }
}

void sp_op_winograd_s8(const void *params, const sp_context *context)
{
    const struct sp_winograd_finish finish = {requantize, params};
    sp_run_winograd_s8(params, context, &finish);
}

void sp_run_winograd_s8(const sp_winograd_s8 *p, const sp_context *context,
                        const struct sp_winograd_finish *finish)
{
    struct job job = plan_job(p, context->threads);
    job.context = context;
    job.finish = finish;
    sp_parallel(context->threads, job.blocks * job.ranges, run_task, &job);
}
