/* Sparse convolution: splits the output into blocks of lanes and panels of output channels, and
 * brings the input into lanes. */
#include "csr.h"

#include "interleave.h"
#include "pixels.h"
#include "ukernels.h"

struct pass { /* some images at once */
    const struct sp_csr_operator *op;
    const sp_context *context;
    sp_csr_fn *run;
    int images, lanes;
    const char *x, *residual;
    char *y;
};

/* ---- scratch memory: the planes (of thread 0 alone), then what each thread has of its own ---- */

struct layout {      /* offsets in bytes */
    size_t slab;     /* SP_CSR_GATHERED: [channel_block][channel_lanes]              */
    size_t output;   /* [rows][block]: blocks whose lanes are not neighbours in memory   */
    size_t residual; /* [rows][block]                                                    */
    size_t partial;  /* [rows][block], 4 bytes each                                      */
    size_t end;
};

/* Elements of an output pixel, in memory. */
static int output_planes(const struct sp_csr_operator *op)
{
    return (op->shape->out_c + op->lane_channels - 1) / op->lane_channels;
}

/* Bytes of one output channel's lane. */
static int row_bytes(const struct sp_csr_operator *op)
{
    return op->element_bytes / op->lane_channels;
}

static struct layout scratch_layout(const struct sp_csr_operator *op)
{
    const size_t bytes = (size_t)op->element_bytes;
    const size_t block = (size_t)(output_planes(op) * op->lane_channels) * SP_CSR_WIDTH;
    struct layout l = {0};
    if (op->lanes->source == SP_CSR_PLANES)
        l.slab =
            SP_ROUND_UP((size_t)op->shape->in_c * (size_t)op->lanes->channel_lanes * bytes, 64);
    l.output = l.slab;
    if (op->lanes->source == SP_CSR_GATHERED)
        l.output += SP_ROUND_UP(
            (size_t)op->matrix->channel_block * (size_t)op->lanes->channel_lanes * bytes, 64);
    l.residual = l.output + block * (op->is_product ? 4 : (size_t)row_bytes(op));
    l.partial = l.residual + (op->has_residual ? block * (size_t)row_bytes(op) : 0);
    l.end = l.partial + (op->matrix->split_rows ? block * 4 : 0);
    return l;
}

size_t sp_csr_scratch(const struct sp_csr_operator *op) { return scratch_layout(op).end; }

/* ---- blocks of lanes ---- */

static int add_piece(const struct pass *pass, int lane, int first, int end, int pieces,
                     struct sp_csr_piece *piece)
{
    const sp_conv_shape *s = pass->op->shape;
    const sp_csr_lanes *l = pass->op->lanes;
    int image = lane / l->image_lanes, row = lane % l->image_lanes / l->row_width;
    int column = lane % l->image_lanes % l->row_width;
    const int in_planes = pass->op->nhwc ? 1 : s->in_c;
    const int out_planes = pass->op->nhwc ? 1 : output_planes(pass->op);
    struct sp_csr_piece new = {
        .lane = lane - first,
        .length = SP_MIN(s->out_w - column, end - lane),
        .output = ((int64_t)image * out_planes * s->out_h + row) * s->out_w + column,
        .input = ((int64_t)image * in_planes * s->in_h + row * s->stride_h) * s->in_w +
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

static void copy_row(int pieces, const struct sp_csr_piece *piece, int bytes, char *lanes,
                     char *plane, int to_image)
{
    for (int i = 0; i < pieces; i++) {
        char *a = lanes + piece[i].lane * bytes, *b = plane + piece[i].output * bytes;
        sp_copy_lanes(to_image ? b : a, to_image ? a : b, piece[i].length * bytes);
    }
}

/* The same for four rows and a plane of words. */
static void copy_words(int pieces, const struct sp_csr_piece *piece, uint8_t *lanes, char *plane,
                       int to_image)
{
    uint8_t *const row[] = {lanes, lanes + SP_CSR_WIDTH, lanes + 2 * SP_CSR_WIDTH,
                            lanes + 3 * SP_CSR_WIDTH};
    uint8_t copy[4 * SP_CSR_WIDTH];
    const int whole = piece[0].length == SP_CSR_WIDTH; /* the words are neighbours in the image */
    uint8_t *words = whole ? (uint8_t *)plane + 4 * piece[0].output : copy;
    if (to_image)
        sp_interleave_4(words, (const uint8_t *const *)row, SP_CSR_WIDTH);
    if (!whole)
        copy_row(pieces, piece, 4, (char *)words, plane, to_image);
    if (!to_image)
        sp_deinterleave_4(row, words, SP_CSR_WIDTH);
}

/* A panel's first segment. */
static int panel_begin(const sp_csr_matrix *m, int panel)
{
    return m->part_segment[panel * m->parts];
}

/* Copy the pieces of a panel's rows between [rows][block] lanes and an image's planes. */
static void copy_pieces(const struct pass *pass, int panel, int pieces,
                        const struct sp_csr_piece *piece, char *lanes, char *image, int to_image)
{
    const sp_csr_matrix *m = pass->op->matrix;
    const int bytes = pass->op->element_bytes, channels = pass->op->lane_channels;
    const int64_t pixels = (int64_t)pass->op->shape->out_h * pass->op->shape->out_w;
    for (int s = panel_begin(m, panel); s < panel_begin(m, panel + 1); s++) {
        const int row = m->segments[s].row;
        if (!m->segments[s].last || row % channels) /* a word's channels are all in one panel */
            continue;
        char *row_lanes = lanes + (int64_t)row * SP_CSR_WIDTH * row_bytes(pass->op);
        char *plane = image + row / channels * pixels * bytes;
        if (channels == 4)
            copy_words(pieces, piece, (uint8_t *)row_lanes, plane, to_image);
        else
            copy_row(pieces, piece, bytes, row_lanes, plane, to_image);
    }
}

/* nhwc: the pixels of a block to lanes, [channels][64]. from: elements to the pieces' pixels. */
static void pixels_to_lanes(const struct pass *pass, int pieces, const struct sp_csr_piece *piece,
                            int channels, const uint8_t *x, int is_input, uint8_t *lanes)
{
    sp_tiles_fn *tiles = sp_tiles_of(sp_ukernels[pass->op->ukernel].isa);
    const size_t step = (size_t)channels * (is_input ? (size_t)pass->op->shape->stride_w : 1);
    for (int i = 0; i < pieces; i++) {
        const int64_t pixel = is_input ? piece[i].input : piece[i].output;
        sp_transpose_tiles(tiles, x + pixel * channels, step, lanes + piece[i].lane, SP_CSR_WIDTH,
                           piece[i].length, channels);
    }
}

/* nhwc: a panel's rows of lanes to the block's pixels, TOGETHER channels at a time. */
static void lanes_to_pixels(const struct pass *pass, int panel, int pieces,
                            const struct sp_csr_piece *piece, const uint8_t *lanes)
{
    const sp_csr_matrix *m = pass->op->matrix;
    sp_tiles_fn *tiles = sp_tiles_of(sp_ukernels[pass->op->ukernel].isa);
    const int channels = pass->op->shape->out_c;
    for (int s = panel_begin(m, panel); s < panel_begin(m, panel + 1); s++) {
        const int row = m->segments[s].row;
        if (!m->segments[s].last || row % SP_CSR_TOGETHER)
            continue;
        for (int i = 0; i < pieces; i++)
            sp_transpose_tiles(tiles, lanes + row * SP_CSR_WIDTH + piece[i].lane, SP_CSR_WIDTH,
                               (uint8_t *)pass->y + piece[i].output * channels + row,
                               (size_t)channels, SP_MIN(SP_CSR_TOGETHER, channels - row),
                               piece[i].length);
    }
}

/* A matrix product: rows of sums become columns of y, some at a time, which are in one panel. */
static void store_product(const struct pass *pass, int panel, const int32_t *sums, int first,
                          int count)
{
    const sp_csr_matrix *m = pass->op->matrix;
    const int columns = pass->op->shape->out_c;
    for (int s = panel_begin(m, panel); s < panel_begin(m, panel + 1); s++) {
        const int column = m->segments[s].row;
        if (!m->segments[s].last || column % SP_CSR_TOGETHER)
            continue;
        const int n = SP_MIN(SP_CSR_TOGETHER, columns - column);
        const int32_t *from = sums + (int64_t)column * SP_CSR_WIDTH;
        int32_t *to = (int32_t *)pass->y + (int64_t)first * columns + column;
        for (int lane = 0; lane < count; lane++)
            for (int i = 0; i < n; i++)
                to[(int64_t)lane * columns + i] = from[i * SP_CSR_WIDTH + lane];
    }
}

/* Lanes to compute for `rest` ones. */
static int block_width(const struct sp_csr_operator *op, int rest)
{
    const int narrowest = sp_ukernels[op->ukernel].nr;
    return SP_MAX(rest > 32 ? 64 : rest > 16 ? 32 : 16, narrowest);
}

/* All parts of a panel, one after the other. */
static void run_parts(const struct pass *pass, int panel, int pieces,
                      const struct sp_csr_piece *piece, int fetch, char *slab,
                      struct sp_csr_work *work)
{
    const struct sp_csr_operator *op = pass->op;
    const sp_csr_matrix *m = op->matrix;
    const char *x = work->x;
    const int64_t part_bytes =
        (int64_t)m->channel_block * op->lanes->channel_lanes * op->element_bytes;
    for (int part = 0; part < m->parts; part++) {
        const int at = panel * m->parts + part, segment = m->part_segment[at];
        work->segment = m->segments + segment;
        work->segments = m->part_segment[at + 1] - segment;
        work->entries = (const char *)m->entries + m->part_byte[at];
        if (op->nhwc) { /* int8, which has one part */
            pixels_to_lanes(pass, pieces, piece, op->shape->in_c, (const uint8_t *)pass->x, 1,
                            (uint8_t *)slab);
            work->x = slab;
        } else if (op->lanes->source == SP_CSR_GATHERED) {
            const int channel = part * m->channel_block;
            const int channels = SP_MIN(m->channel_block, op->shape->in_c - channel);
            sp_csr_gather(op, pass->x, pieces, piece, channel, channels, fetch, slab);
            work->x = slab;
        } else {
            work->x = x + part * part_bytes;
        }
        pass->run(work);
    }
}

static void run_block(void *pass_, int task, int thread)
{
    const struct pass *pass = pass_;
    const struct sp_csr_operator *op = pass->op;
    const size_t bytes = (size_t)op->element_bytes;
    const int panel = task % op->matrix->panels, begin = task / op->matrix->panels * SP_CSR_WIDTH;
    const int end = SP_MIN(begin + SP_CSR_WIDTH, pass->lanes), rest = end - begin;
    const int width = block_width(op, rest);
    /* in place nothing may be read beyond the image: the last block begins earlier */
    const int first =
        op->lanes->source == SP_CSR_IN_PLACE ? SP_MIN(begin, pass->lanes - width) : begin;

    struct sp_csr_piece piece[SP_CSR_WIDTH];
    const int pieces = find_pieces(pass, begin, first, end, piece);
    if (!pieces) /* padding between images */
        return;
    const struct layout at = scratch_layout(op);
    char *own = pass->context->scratch + (size_t)thread * pass->context->scratch_per_thread;
    char *planes = pass->context->scratch;
    struct sp_csr_work work = {
        .params = op->params,
        .x = (op->lanes->source == SP_CSR_PLANES ? planes : pass->x) + (size_t)first * bytes,
        .width = width,
        .partial = own + at.partial,
    };
    if (op->is_product) {
        work.sums = (int32_t *)(own + at.output);
        work.used = rest;
        run_parts(pass, panel, pieces, piece, end < pass->lanes, own + at.slab, &work);
        store_product(pass, panel, work.sums, begin, rest);
        return;
    }
    if (piece[0].length == width && op->lane_channels == 1 &&
        !op->nhwc) { /* one run of output pixels */
        work.y = pass->y + piece[0].output * bytes;
        work.residual = op->has_residual ? pass->residual + piece[0].output * bytes : NULL;
        work.channel_step = (int64_t)op->shape->out_h * op->shape->out_w;
        run_parts(pass, panel, pieces, piece, end < pass->lanes, own + at.slab, &work);
        return;
    }
    work.y = own + at.output;
    work.residual = own + at.residual;
    work.channel_step = SP_CSR_WIDTH;
    if (op->nhwc) {
        if (op->has_residual)
            pixels_to_lanes(pass, pieces, piece, op->shape->out_c, (const uint8_t *)pass->residual,
                            0, (uint8_t *)own + at.residual);
        run_parts(pass, panel, pieces, piece, end < pass->lanes, own + at.slab, &work);
        lanes_to_pixels(pass, panel, pieces, piece, (const uint8_t *)own + at.output);
        return;
    }
    if (op->has_residual)
        copy_pieces(pass, panel, pieces, piece, own + at.residual, (char *)pass->residual, 0);
    if (op->shape->out_c % op->lane_channels) /* the last word's unused channels */
        memset(own + at.output + op->shape->out_c * SP_CSR_WIDTH, 0,
               (size_t)((output_planes(op) * op->lane_channels - op->shape->out_c) * SP_CSR_WIDTH));
    run_parts(pass, panel, pieces, piece, end < pass->lanes, own + at.slab, &work);
    copy_pieces(pass, panel, pieces, piece, own + at.output, pass->y, 1);
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
    const size_t out_image = (size_t)output_planes(op) * s->out_h * s->out_w * bytes;
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
