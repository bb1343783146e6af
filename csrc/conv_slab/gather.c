/* Brings what each tap reads into lanes of its own, so that every row of lanes is aligned. */
#include "copy_words.h"
#include "slab.h"

static int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static int ceil_div(int a, int b) { return floor_div(a + b - 1, b); }

/* Lanes of a slab that are neighbours in one row of the output. */
struct strip {
    int lane, length;
    int64_t image; /* its first row, of the input */
    int row, column;
};

static int find_strips(const sp_conv_shape *s, int64_t first, int pixels, struct strip *strip)
{
    int strips = 0;
    const int64_t row_of_batch = first / s->out_w;
    int64_t image = row_of_batch / s->out_h;
    int row = (int)(row_of_batch % s->out_h), column = (int)(first % s->out_w);
    for (int lane = 0; lane < pixels; strips++) {
        const int length = SP_MIN(s->out_w - column, pixels - lane);
        strip[strips] = (struct strip){lane, length, image * s->in_h, row, column};
        lane += length;
        column = 0;
        if (++row == s->out_h)
            row = 0, image++;
    }
    return strips;
}

/* One tap's runs, before they are cut at the borders of slabs: pixels of the batch. */
struct stretch {
    int lane, length;
    int64_t pixel;
};

/* Appends pixels, to the stretch before where they go on like it: the lanes between the two then
 * hold pixels that do not belong there. */
static int add_stretch(struct stretch *stretch, int count, struct stretch new, int stride)
{
    struct stretch *last = &stretch[count - 1];
    if (count && last->pixel + (int64_t)(new.lane - last->lane) * stride == new.pixel) {
        last->length = new.lane + new.length - last->lane;
        return count;
    }
    stretch[count] = new;
    return count + 1;
}

static struct sp_slab_run *add_runs(const sp_conv_shape *s, int count,
                                    const struct stretch *stretch, struct sp_slab_run *run)
{
    for (int i = 0; i < count; i++) {
        int64_t pixel = stretch[i].pixel;
        for (int done = 0, length; done < stretch[i].length; done += length) {
            const int inside = (int)(pixel % SP_SLAB_WIDTH);
            length =
                SP_MIN(ceil_div(SP_SLAB_WIDTH - inside, s->stride_w), stretch[i].length - done);
            const int64_t from = pixel / SP_SLAB_WIDTH * sp_slab_row(s->in_c) + inside;
            *run++ = (struct sp_slab_run){from, stretch[i].lane + done, length};
            pixel += (int64_t)length * s->stride_w;
        }
    }
    return run;
}

static uint64_t bits(int first, int count)
{
    return (count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1) << first;
}

/* Returns the end of its runs. dy, dx: from an output's position, in input pixels, to the tap. */
static struct sp_slab_run *find_tap(const sp_conv_shape *s, int strips, const struct strip *strip,
                                    int dy, int dx, struct sp_slab_run *run, uint64_t *inside)
{
    struct stretch stretch[SP_SLAB_WIDTH];
    const int begin = ceil_div(-dx, s->stride_w), end = ceil_div(s->in_w - dx, s->stride_w);
    int count = 0;
    *inside = 0;
    for (int i = 0; i < strips; i++) {
        const int y = strip[i].row * s->stride_h + dy;
        const int first = SP_MAX(strip[i].column, begin);
        const int last = SP_MIN(strip[i].column + strip[i].length, end);
        if (y < 0 || y >= s->in_h || first >= last)
            continue;
        const int lane = strip[i].lane + first - strip[i].column;
        const int64_t pixel = (strip[i].image + y) * s->in_w + (int64_t)first * s->stride_w + dx;
        count =
            add_stretch(stretch, count, (struct stretch){lane, last - first, pixel}, s->stride_w);
        *inside |= bits(lane, last - first);
    }
    return add_runs(s, count, stretch, run);
}

void sp_slab_find_runs(int64_t first, int pixels, struct sp_slab_gather *gather)
{
    const sp_conv_shape *s = gather->shape;
    struct strip strip[SP_SLAB_WIDTH];
    const int strips = find_strips(s, first, pixels, strip);
    struct sp_slab_run *run = gather->run;
    int tap = 0;
    for (int i = 0; i < s->kernel_h; i++)
        for (int j = 0; j < s->kernel_w; j++, tap++) {
            gather->first_run[tap] = (int)(run - gather->run);
            run = find_tap(s, strips, strip, i * s->dilation_h - s->pad_top,
                           j * s->dilation_w - s->pad_left, run, &gather->inside[tap]);
        }
    gather->first_run[tap] = (int)(run - gather->run);
}

/* Zeros for the lanes that no bit is set for. */
static void clear_lanes(uint64_t inside, int width, float *to, int64_t to_row, int rows)
{
    for (int lane = 0, next; lane < width; lane = next) {
        const int is_inside = (int)(inside >> lane & 1);
        for (next = lane + 1; next < width && (int)(inside >> next & 1) == is_inside;)
            next++;
        for (int row = 0; row < rows && !is_inside; row++)
            for (int i = lane; i < next; i++)
                to[row * to_row + i] = 0;
    }
}

void sp_slab_gather_runs(const struct sp_slab_gather *gather, const float *x, int channels,
                         float *lanes)
{
    const sp_conv_shape *s = gather->shape;
    const int taps = s->kernel_h * s->kernel_w;
    const int64_t step = (int64_t)taps * gather->row;
    sp_word_copy_fn *const copy = sp_word_copy_in_use();
    for (int tap = 0; tap < taps; tap++, lanes += gather->row) {
        for (int i = gather->first_run[tap]; i < gather->first_run[tap + 1]; i++)
            copy(&(struct sp_word_copy){.to = (uint32_t *)lanes + gather->run[i].lane,
                                        .from = (const uint32_t *)x + gather->run[i].from,
                                        .to_row = step,
                                        .from_row = SP_SLAB_WIDTH,
                                        .rows = channels,
                                        .n = gather->run[i].length,
                                        .step = s->stride_w});
        clear_lanes(gather->inside[tap], gather->width, lanes, step, channels);
    }
}
