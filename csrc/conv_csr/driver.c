/* Sparse convolution: splits the output into blocks of lanes and panels of output channels, and
 * brings the input into lanes. */
#include "csr.h"

#include "operators.h"
#include "ukernels.h"

struct pass { /* some images at once */
    const struct sp_csr_operator *op;
    const sp_context *context;
    sp_csr_fn *run;
    int images, lanes;
    const char *x, *residual;
    char *y;
};

/* ---- scratch memory: [planes of all channels] (thread 0's alone), then for each thread
 * [slab][partial sums] ---- */

static size_t planes_bytes(const struct sp_csr_operator *op)
{
    if (op->lanes->source != SP_CSR_PLANES)
        return 0;
    size_t lanes = (size_t)op->shape->in_c * (size_t)op->lanes->channel_lanes;
    return SP_ROUND_UP(lanes * (size_t)op->element_bytes, 64);
}

static size_t slab_bytes(const struct sp_csr_operator *op)
{
    if (op->lanes->source != SP_CSR_GATHERED)
        return 0;
    return (size_t)op->shape->in_c * SP_CSR_WIDTH * (size_t)op->element_bytes;
}

size_t sp_csr_scratch(const struct sp_csr_operator *op)
{
    size_t partial = op->matrix->split_rows ? (size_t)op->shape->out_c * SP_CSR_WIDTH * 4 : 0;
    return planes_bytes(op) + slab_bytes(op) + partial;
}

/* ---- blocks of lanes ---- */

static int add_piece(const struct pass *pass, int lane, int first, int end, int pieces,
                     struct sp_csr_piece *piece)
{
    const sp_conv_shape *s = pass->op->shape;
    const sp_csr_lanes *l = pass->op->lanes;
    int image = lane / l->image_lanes, row = lane % l->image_lanes / l->row_width;
    int column = lane % l->image_lanes % l->row_width;
    struct sp_csr_piece new = {
        .lane = lane - first,
        .length = SP_MIN(s->out_w - column, end - lane),
        .output = ((int64_t)image * s->out_c * s->out_h + row) * s->out_w + column,
        .input = ((int64_t)image * s->in_c * s->in_h + row * s->stride_h) * s->in_w +
                 (int64_t)column * s->stride_w,
    };
    struct sp_csr_piece *last = &piece[pieces - 1];
    if (pieces && last->lane + last->length == new.lane &&
        last->output + last->length == new.output &&
        (l->source != SP_CSR_GATHERED ||
         last->input + (int64_t)last->length * s->stride_w == new.input)) {
        last->length += new.length;
        return pieces;
    }
    piece[pieces] = new;
    return pieces + 1;
}

/* The pieces of lanes [begin, end); lane numbers in them count from `first`. */
static int find_pieces(const struct pass *pass, int begin, int first, int end,
                       struct sp_csr_piece *piece)
{
    const sp_conv_shape *s = pass->op->shape;
    const sp_csr_lanes *l = pass->op->lanes;
    int pieces = 0;
    for (int lane = begin; lane < end;) {
        int image = lane / l->image_lanes, inside = lane % l->image_lanes;
        int column = inside % l->row_width;
        if (inside / l->row_width >= s->out_h) {
            lane = (image + 1) * l->image_lanes;
        } else if (column >= s->out_w) {
            lane += l->row_width - column;
        } else {
            pieces = add_piece(pass, lane, first, end, pieces, piece);
            lane += SP_MIN(s->out_w - column, end - lane);
        }
    }
    return pieces;
}

static void run_block(void *pass_, int task, int thread)
{
    const struct pass *pass = pass_;
    const struct sp_csr_operator *op = pass->op;
    const sp_csr_matrix *m = op->matrix;
    const size_t bytes = (size_t)op->element_bytes;
    const int panel = task % m->panels, begin = task / m->panels * SP_CSR_WIDTH;
    const int end = SP_MIN(begin + SP_CSR_WIDTH, pass->lanes), rest = end - begin;
    const int width = SP_MAX(rest > 32 ? 64 : rest > 16 ? 32 : 16, sp_ukernels[op->ukernel].nr);
    /* in place nothing may be read beyond the image: the last block begins earlier */
    const int first =
        op->lanes->source == SP_CSR_IN_PLACE ? SP_MIN(begin, pass->lanes - width) : begin;

    struct sp_csr_piece piece[SP_CSR_WIDTH];
    const int pieces = find_pieces(pass, begin, first, end, piece);
    char *own = pass->context->scratch + (size_t)thread * pass->context->scratch_per_thread +
                planes_bytes(op);
    const char *x = pass->x + (size_t)first * bytes;
    if (op->lanes->source == SP_CSR_PLANES)
        x = pass->context->scratch + (size_t)first * bytes;
    if (op->lanes->source == SP_CSR_GATHERED) {
        sp_csr_gather(op, pass->x, pieces, piece, own);
        x = own;
    }
    const int segment = m->panel_segment[panel];
    pass->run(&(struct sp_csr_work){
        .params = op->params,
        .x = x,
        .width = width,
        .segment = m->segments + segment,
        .segments = m->panel_segment[panel + 1] - segment,
        .entries = (const char *)m->entries + m->panel_byte[panel],
        .partial = own + slab_bytes(op),
        .y = pass->y,
        .residual = pass->residual,
        .channel_pixels = (int64_t)op->shape->out_h * op->shape->out_w,
        .pieces = pieces,
        .piece = piece,
    });
}

static void fill_channel(void *pass_, int channel, int thread)
{
    const struct pass *pass = pass_;
    (void)thread;
    sp_csr_fill_planes(pass->op, pass->x, pass->images, channel, pass->context->scratch);
}

void sp_csr_run(const struct sp_csr_operator *op, const sp_context *context)
{
    const sp_conv_shape *s = op->shape;
    const sp_csr_lanes *l = op->lanes;
    const size_t bytes = (size_t)op->element_bytes;
    const size_t in_image = (size_t)s->in_c * s->in_h * s->in_w * bytes;
    const size_t out_image = (size_t)s->out_c * s->out_h * s->out_w * bytes;
    for (int image = 0; image < s->batch; image += l->images) {
        struct pass pass = {
            .op = op,
            .context = context,
            .run = (sp_csr_fn *)sp_ukernels[op->ukernel].run,
            .images = SP_MIN(l->images, s->batch - image),
        };
        pass.lanes = (pass.images - 1) * l->image_lanes + (s->out_h - 1) * l->row_width + s->out_w;
        pass.x = (const char *)context->input[0] + image * in_image;
        pass.y = (char *)context->output + image * out_image;
        if (op->has_residual)
            pass.residual = (const char *)context->input[1] + image * out_image;
        if (l->source == SP_CSR_PLANES)
            sp_parallel(context->threads, s->in_c, fill_channel, &pass);
        int blocks = (pass.lanes + SP_CSR_WIDTH - 1) / SP_CSR_WIDTH;
        sp_parallel(context->threads, blocks * op->matrix->panels, run_block, &pass);
    }
}

/* ---- the operators ---- */

static struct sp_csr_operator s8_operator(const sp_conv_csr_s8 *p)
{
    return (struct sp_csr_operator){&p->shape,
                                    &p->lanes,
                                    &p->matrix,
                                    p,
                                    p->ukernel,
                                    1,
                                    p->epilogue.residual_mode != 0,
                                    (uint8_t)p->x_zero_point};
}

static struct sp_csr_operator f32_operator(const sp_conv_csr_f32 *p)
{
    return (struct sp_csr_operator){&p->shape,  &p->lanes, &p->matrix,      p,
                                    p->ukernel, 4,         p->has_residual, 0};
}

void sp_op_conv_csr_s8(const void *params, const sp_context *context)
{
    struct sp_csr_operator op = s8_operator(params);
    sp_csr_run(&op, context);
}

size_t sp_scratch_conv_csr_s8(const void *params)
{
    struct sp_csr_operator op = s8_operator(params);
    return sp_csr_scratch(&op);
}

void sp_op_conv_csr_f32(const void *params, const sp_context *context)
{
    struct sp_csr_operator op = f32_operator(params);
    sp_csr_run(&op, context);
}

size_t sp_scratch_conv_csr_f32(const void *params)
{
    struct sp_csr_operator op = f32_operator(params);
    return sp_csr_scratch(&op);
}
