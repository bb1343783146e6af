/* Sparse float32 convolution: splits the output into slabs and panels of output channels. */
#include "slab.h"

#include "operators.h"
#include "ukernels.h"

struct pass {
    const sp_conv_csr_f32 *params;
    const sp_context *context;
    int64_t pixels; /* of the output, of the whole batch */
    int slabs;      /* without a tail that the one before takes with it */
};

/* ---- scratch memory of a thread ---- */

struct layout { /* offsets in bytes */
    size_t piece, first_run, inside,
        gather;               /* of a slab's gathering, and all of it: the tail's follows */
    size_t lanes, tail_lanes; /* [channel_block][taps][SP_SLAB_WIDTH], or [SP_SLAB_TAIL] */
    size_t partial;           /* [out_c][SP_SLAB_WIDTH], and the tail's */
    size_t end;
};

static struct layout scratch_layout(const sp_conv_csr_f32 *p)
{
    const size_t taps = (size_t)(p->shape.kernel_h * p->shape.kernel_w);
    const size_t rows = (size_t)p->matrix.channel_block * taps * sizeof(float);
    struct layout l = {0};
    l.piece = taps * SP_SLAB_WIDTH * sizeof(struct sp_slab_run);
    l.inside = l.piece + taps * SP_SLAB_WIDTH * sizeof(struct sp_slab_piece);
    l.first_run = l.inside + taps * sizeof(uint64_t);
    l.gather = SP_ROUND_UP(l.first_run + (taps + 1) * sizeof(int), 64);
    l.lanes = 2 * l.gather;
    l.tail_lanes = l.lanes + (p->in_place ? 0 : rows * SP_SLAB_WIDTH);
    l.partial = l.tail_lanes + rows * SP_SLAB_TAIL;
    l.end = l.partial;
    if (p->matrix.split_rows)
        l.end += 2 * (size_t)sp_slab_row(p->shape.out_c) * sizeof(float);
    return l;
}

size_t sp_scratch_conv_csr_f32(const void *params) { return scratch_layout(params).end; }

/* ---- slabs ---- */

/* Whether vectors are put together at once, instead of run by run. */
static int takes_pieces(const sp_conv_shape *s)
{
    return s->stride_w == 1 && sp_isa_includes(SP_ISA_AVX2);
}

/* How to gather for a slab, by its number. own: memory for it. */
static struct sp_slab_gather make_gather(const struct pass *pass, int slab, int is_tail, char *own)
{
    const struct layout at = scratch_layout(pass->params);
    const int64_t first = (int64_t)slab * SP_SLAB_WIDTH;
    const int pixels = (int)SP_MIN(pass->pixels - first, SP_SLAB_WIDTH);
    const int width = SP_ROUND_UP(pixels, 8);
    struct sp_slab_gather gather = {.shape = &pass->params->shape,
                                    .width = width,
                                    .row = is_tail ? width : SP_SLAB_WIDTH,
                                    .run = (struct sp_slab_run *)own,
                                    .first_run = (int *)(own + at.first_run),
                                    .inside = (uint64_t *)(own + at.inside),
                                    .piece = (struct sp_slab_piece *)(own + at.piece)};
    sp_slab_find_runs(first, pixels, &gather);
    if (takes_pieces(gather.shape))
        sp_slab_find_pieces(&gather);
    return gather;
}

static void run_gather(const struct sp_slab_gather *gather, const float *x, int channels,
                       float *lanes)
{
#ifdef SP_X86
    if (takes_pieces(gather->shape)) {
        sp_slab_gather_pieces_avx2(gather, x, channels, lanes);
        return;
    }
#endif
    sp_slab_gather_runs(gather, x, channels, lanes);
}

/* All parts of a panel, one after the other. own: the thread's memory. */
static void run_parts(const struct pass *pass, int panel, int slab, char *own,
                      struct sp_slab_work *work)
{
    const sp_conv_csr_f32 *p = pass->params;
    const sp_csr_matrix *m = &p->matrix;
    const struct layout at = scratch_layout(p);
    const float *x = pass->context->input[0];
    float *lanes = (float *)(own + at.lanes), *tail_lanes = (float *)(own + at.tail_lanes);
    struct sp_slab_gather gather, tail;
    if (!p->in_place)
        gather = make_gather(pass, slab, 0, own);
    if (work->tail_width)
        tail = make_gather(pass, slab + 1, 1, own + at.gather);
    for (int part = 0; part < m->parts; part++, x += sp_slab_row(m->channel_block)) {
        const int number = panel * m->parts + part, segment = m->part_segment[number];
        const int channels = SP_MIN(m->channel_block, p->shape.in_c - part * m->channel_block);
        work->segment = m->segments + segment;
        work->segments = m->part_segment[number + 1] - segment;
        work->entries = (const char *)m->entries + m->part_byte[number];
        work->x = p->in_place ? x + slab * sp_slab_row(p->shape.in_c) : lanes;
        work->tail_x = tail_lanes;
        if (!p->in_place)
            run_gather(&gather, x, channels, lanes);
        if (work->tail_width)
            run_gather(&tail, x, channels, tail_lanes);
        ((sp_slab_fn *)sp_ukernels[p->ukernel].run)(work);
    }
}

static void run_slab(void *pass_, int task, int thread)
{
    const struct pass *pass = pass_;
    const sp_conv_csr_f32 *p = pass->params;
    const sp_context *context = pass->context;
    const int slab = task / p->matrix.panels;
    const int64_t pixels = pass->pixels - (int64_t)slab * SP_SLAB_WIDTH;
    const int64_t row = sp_slab_row(p->shape.out_c), output = slab * row;
    char *own = context->scratch + (size_t)thread * context->scratch_per_thread;
    struct sp_slab_work work = {
        .params = p,
        .width = (int)SP_ROUND_UP(SP_MIN(pixels, SP_SLAB_WIDTH), 8),
        .partial = (float *)(own + scratch_layout(p).partial),
        .y = (float *)context->output + output,
        .residual = p->has_residual ? (const float *)context->input[1] + output : NULL,
        .tail_y = row,
    };
    if (slab == pass->slabs - 1 && pixels > SP_SLAB_WIDTH)
        work.tail_width = (int)SP_ROUND_UP(pixels - SP_SLAB_WIDTH, 8);
    run_parts(pass, task % p->matrix.panels, slab, own, &work);
}

void sp_op_conv_csr_f32(const void *params, const sp_context *context)
{
    const sp_conv_csr_f32 *p = params;
    const sp_conv_shape *s = &p->shape;
    struct pass pass = {p, context, (int64_t)s->batch * s->out_h * s->out_w, 0};
    const int tail = (int)(pass.pixels % SP_SLAB_WIDTH);
    pass.slabs = (int)(pass.pixels / SP_SLAB_WIDTH);
    if (tail > SP_SLAB_TAIL || (tail && !pass.slabs))
        pass.slabs++;
    sp_parallel(context->threads, pass.slabs * p->matrix.panels, run_slab, &pass);
}
