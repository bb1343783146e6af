/* Winograd convolution F(4x4, 3x3) of floats, nhwc: winograd.h has the arithmetic.
 *
 * A task is a block of tiles and a range of panels of output channels. It transforms the tiles'
 * inputs once; each panel then takes 36 matrix products, whose sums are transformed back while they
 * are in the cache. */
#include "winograd.h"

#include <math.h>
#include <string.h>

#include "operators.h"
#include "ukernels.h"

enum {
    MOST_TILES = 48,          /* of a block */
    BLOCK_BYTES = 400 * 1024, /* of its transformed inputs, about */
    FEW_TILES = 24,
    LARGE_BYTES = 16 * 1024 * 1024, /* of weights */
    LINE = 16,                      /* floats a cache line */
    MOST_COLUMNS = 64               /* of a panel */
};

struct job {
    const sp_winograd_f32 *p;
    const sp_context *context;
    const struct sp_ukernel_entry *transforms, *products;
    int tiles_h, tiles_w;
    int64_t tiles, blocks;
    int block; /* tiles of a block, a multiple of mr */
    int panels, panel_ranges;
    size_t lda, position, sums_position; /* floats: from a tile, from a position to the next */
};

static struct job plan_job(const sp_winograd_f32 *p, int threads)
{
    const sp_conv_shape *s = &p->shape;
    struct job j = {
        .p = p, .transforms = &sp_ukernels[p->ukernel], .products = &sp_ukernels[p->products]};
    const int mr = j.products->mr, nr = j.products->nr;
    j.tiles_h = (s->out_h + SP_W_OUT - 1) / SP_W_OUT;
    j.tiles_w = (s->out_w + SP_W_OUT - 1) / SP_W_OUT;
    j.tiles = (int64_t)s->batch * j.tiles_h * j.tiles_w;
    /* odd numbers of cache lines spread tiles and positions over all sets of a cache */
    j.lda = (size_t)((s->in_c + LINE - 1) / LINE | 1) * LINE;
    const int fit = (int)(BLOCK_BYTES / (SP_W_POSITIONS * j.lda * sizeof(float)));
    const size_t weight_bytes = SP_W_POSITIONS * sizeof(float) * (size_t)s->in_c * (size_t)s->out_c;
    /* every block reads all weights: those that no cache holds should be read by few */
    const int least = j.tiles <= FEW_TILES || weight_bytes > LARGE_BYTES ? FEW_TILES : 1;
    j.block = SP_MAX(SP_MIN(SP_MAX(fit, least), MOST_TILES) / mr, 1) * mr;
    j.blocks = (j.tiles + j.block - 1) / j.block;
    j.position = ((size_t)j.block * j.lda / LINE | 1) * LINE;
    j.panels = (s->out_c + nr - 1) / nr;
    j.sums_position = (size_t)(j.block * nr);
    /* few blocks do not divide evenly among threads */
    int uneven = j.blocks % threads != 0 && j.blocks < 4 * threads;
    j.panel_ranges = uneven ? SP_MIN(threads, j.panels) : 1;
    return j;
}

/* Scratch memory in floats: transformed inputs, sums, outputs of a tile, a pixel of zeros. */
static size_t input_floats(const struct job *j) { return SP_W_POSITIONS * j->position; }
static size_t sum_floats(const struct job *j) { return SP_W_POSITIONS * j->sums_position; }
static size_t tile_floats(const struct job *j)
{
    return (size_t)(SP_W_OUT * SP_W_OUT * j->products->nr);
}

size_t sp_scratch_winograd_f32(const void *params)
{
    struct job j = plan_job(params, 1); /* what depends on threads takes no memory */
    return (input_floats(&j) + sum_floats(&j) + tile_floats(&j) + j.lda) * sizeof(float);
}

struct tile_place {
    int64_t image;
    int y, x; /* its first output */
};
static struct tile_place place_of(const struct job *j, int64_t tile)
{
    const int64_t row = tile / j->tiles_w;
    return (struct tile_place){row / j->tiles_h, (int)(row % j->tiles_h) * SP_W_OUT,
                               (int)(tile % j->tiles_w) * SP_W_OUT};
}

static void transform_inputs(const struct job *j, int64_t first, int tiles, float *inputs,
                             const float *zeros)
{
    const sp_conv_shape *s = &j->p->shape;
    const float *pixel[SP_W_POSITIONS];
    for (int t = 0; t < tiles; t++) {
        const struct tile_place at = place_of(j, first + t);
        const float *image =
            (const float *)j->context->input[0] + at.image * s->in_h * s->in_w * s->in_c;
        for (int i = 0; i < SP_W_POSITIONS; i++) {
            const int y = at.y - s->pad_top + i / SP_W_IN, x = at.x - s->pad_left + i % SP_W_IN;
            const int inside = y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
            pixel[i] = inside ? image + ((int64_t)y * s->in_w + x) * s->in_c : zeros;
        }
        const struct sp_winograd_tile_f32 call = {
            .x = pixel,
            .v = inputs + (size_t)t * j->lda,
            .v_position = j->position,
            .channels = s->in_c,
        };
        ((sp_winograd_f32_fn *)j->transforms->run)(&call);
    }
}

static void multiply(const struct job *j, int panel, int tiles, const float *inputs, float *sums)
{
    static const float none[MOST_COLUMNS];
    const int mr = j->products->mr, nr = j->products->nr, channels = j->p->shape.in_c;
    const float *w = j->p->weights + (size_t)panel * SP_W_POSITIONS * (size_t)(channels * nr);
    for (int i = 0; i < SP_W_POSITIONS; i++, w += channels * nr)
        for (int t = 0; t < tiles; t += mr) {
            const struct sp_tile_f32 call = {
                .a = inputs + (size_t)i * j->position + (size_t)t * j->lda,
                .lda = j->lda,
                .rows = SP_MIN(mr, tiles - t),
                .k = channels,
                .panels = 1,
                .w = w,
                .start = none,
                .sums = sums + (size_t)i * j->sums_position + (size_t)(t * nr),
            };
            ((sp_gemm_f32_fn *)j->products->run)(&call);
        }
}

/* Where a tile's outputs of one panel belong. */
static struct sp_finish_f32 find_outputs(const struct job *j, struct tile_place at, int column)
{
    const sp_conv_shape *s = &j->p->shape;
    const int64_t pixel = (at.image * s->out_h + at.y) * s->out_w + at.x;
    const int64_t out = pixel * s->out_c + column;
    return (struct sp_finish_f32){
        .lo = j->p->lo,
        .hi = j->p->hi,
        .residual = j->p->has_residual ? (const float *)j->context->input[1] + out : NULL,
        .y = (float *)j->context->output + out,
        .stride = (size_t)s->out_c,
    };
}

/* Outputs of a tile, or a panel, which the image's border cuts off. */
static void finish_some(const struct sp_finish_f32 *f, const float *tile, int nr, int rows,
                        int columns, int channels, size_t row)
{
    for (int i = 0; i < rows * columns; i++) {
        const int y = i / columns, x = i % columns;
        const size_t at = (size_t)y * row + (size_t)x * f->stride;
        for (int c = 0; c < channels; c++) {
            float v = tile[(y * SP_W_OUT + x) * nr + c];
            v = f->residual ? v + f->residual[at + (size_t)c] : v;
            v = v < f->lo ? f->lo : v;
            f->y[at + (size_t)c] = v > f->hi ? f->hi : v;
        }
    }
}

static void transform_sums(const struct job *j, int panel, int64_t first, int tiles,
                           const float *sums, float *cut)
{
    const sp_conv_shape *s = &j->p->shape;
    const int nr = j->products->nr, column = panel * nr;
    const int channels = SP_MIN(nr, s->out_c - column);
    const size_t row = (size_t)s->out_w * (size_t)s->out_c;
    for (int t = 0; t < tiles; t++) {
        const struct tile_place at = place_of(j, first + t);
        const struct sp_finish_f32 finish = find_outputs(j, at, column);
        const int rows = SP_MIN(SP_W_OUT, s->out_h - at.y);
        const int columns = SP_MIN(SP_W_OUT, s->out_w - at.x);
        const int whole = rows == SP_W_OUT && columns == SP_W_OUT && channels == nr;
        const struct sp_finish_f32 apart = {-INFINITY, INFINITY, NULL, cut, (size_t)nr};
        const struct sp_winograd_tile_f32 call = {
            .channels = nr,
            .sums = sums + (size_t)(t * nr),
            .bias = j->p->bias + column,
            .sums_position = j->sums_position,
            .finish = whole ? finish : apart,
            .row = whole ? row : (size_t)(SP_W_OUT * nr),
        };
        ((sp_winograd_f32_fn *)j->transforms->run)(&call);
        if (!whole)
            finish_some(&finish, cut, nr, rows, columns, channels, row);
    }
}

static void run_task(void *argument, int task, int thread)
{
    const struct job *j = argument;
    float *inputs =
        (float *)(j->context->scratch + (size_t)thread * j->context->scratch_per_thread);
    float *sums = inputs + input_floats(j), *cut = sums + sum_floats(j);
    float *zeros = cut + tile_floats(j);
    const int range = task % j->panel_ranges;
    const int64_t first = (int64_t)(task / j->panel_ranges) * j->block;
    const int tiles = (int)SP_MIN(j->block, j->tiles - first);
    memset(zeros, 0, j->lda * sizeof *zeros);
    transform_inputs(j, first, tiles, inputs, zeros);
    const int end = j->panels * (range + 1) / j->panel_ranges;
    for (int panel = j->panels * range / j->panel_ranges; panel < end; panel++) {
        multiply(j, panel, tiles, inputs, sums);
        transform_sums(j, panel, first, tiles, sums, cut);
    }
}

void sp_op_winograd_f32(const void *params, const sp_context *context)
{
    struct job j = plan_job(params, context->threads);
    j.context = context;
    sp_parallel(context->threads, (int)(j.blocks * j.panel_ranges), run_task, &j);
}
