/* Narrow grouped int8 convolution, nhwc: of some neighbouring pixels, where their taps lie; then
 * sixteen channels after the other, with the epilogue on their sums. */
#include <string.h>

#include "epilogue/epilogue.h"
#include "grouped_s8.h"
#include "operators.h"
#include "ukernels.h"

enum {
    PIXELS = 32,          /* whose sums stay in the L1 cache */
    WORTH_A_THREAD = 8192 /* outputs; a few microseconds */
};

struct job {
    const sp_grouped_s8 *p;
    const sp_context *context;
    int tasks;
};

static int taps_of(const sp_conv_shape *s) { return s->kernel_h * s->kernel_w; }

static size_t outside_bytes(const sp_conv_shape *s) { return SP_ROUND_UP((size_t)s->in_c, 64); }

static size_t sum_count(void) { return PIXELS * SP_GROUPED_CHANNELS + SP_EPILOGUE_SLACK; }

size_t sp_scratch_grouped_s8(const void *params)
{
    const sp_conv_shape *s = &((const sp_grouped_s8 *)params)->shape;
    return outside_bytes(s) + sum_count() * sizeof(int32_t) +
           (size_t)taps_of(s) * PIXELS * sizeof(void *);
}

/* Where the taps of output pixels [first, first + pixels) of a row read channel 0. */
static void find_taps(const sp_conv_shape *s, const uint8_t *image, const uint8_t *outside, int row,
                      int first, int pixels, const uint8_t **tap)
{
    const size_t pixel = (size_t)s->in_c;
    const int taps = taps_of(s);
    for (int i = 0; i < s->kernel_h; i++) {
        const int y = row * s->stride_h - s->pad_top + i * s->dilation_h;
        const int row_inside = y >= 0 && y < s->in_h;
        const uint8_t *x_row = row_inside ? image + (size_t)y * (size_t)s->in_w * pixel : outside;
        for (int j = 0; j < s->kernel_w; j++) {
            int x = first * s->stride_w - s->pad_left + j * s->dilation_w;
            const uint8_t **to = tap + i * s->kernel_w + j;
            for (int n = 0; n < pixels; n++, x += s->stride_w, to += taps)
                *to = row_inside && x >= 0 && x < s->in_w ? x_row + (size_t)x * pixel : outside;
        }
    }
}

/* The sixteen channels that begin at `at`, or before it at the end: whole groups, too. */
static int find_channels(int at, int channels)
{
    return SP_MIN(at, channels - SP_GROUPED_CHANNELS);
}

static void run_pixels(const struct job *job, const uint8_t *const *tap, size_t at, int pixels,
                       int32_t *sum)
{
    const sp_grouped_s8 *p = job->p;
    const sp_conv_shape *s = &p->shape;
    const struct sp_ukernel_entry *kernel = &sp_ukernels[p->ukernel];
    const int has_residual = p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    const int16_t *weights = p->weights;
    for (int c = 0; c < s->in_c; c += SP_GROUPED_CHANNELS) {
        const int channel = find_channels(c, s->in_c);
        const size_t place = at * (size_t)s->in_c + (size_t)channel;
        ((sp_grouped_s8_fn *)kernel->run)(tap, taps_of(s), (size_t)channel, pixels, p->width,
                                          weights, sum);
        weights += taps_of(s) * p->width * SP_GROUPED_CHANNELS;
        const struct sp_rows rows = {
            .sum = sum,
            .sum_stride = SP_GROUPED_CHANNELS,
            .rows = pixels,
            .first = channel,
            .count = SP_GROUPED_CHANNELS,
            .residual = has_residual ? (const uint8_t *)job->context->input[1] + place : NULL,
            .y = (uint8_t *)job->context->output + place,
            .stride = (size_t)s->in_c,
        };
        sp_epilogue_of(kernel->isa)(&p->epilogue, &rows);
    }
}

/* A task is some output rows of all images. */
static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_conv_shape *s = &job->p->shape;
    const int64_t rows = (int64_t)s->batch * s->out_h;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    int32_t *sum = (int32_t *)(scratch + outside_bytes(s));
    const uint8_t **tap = (const uint8_t **)(sum + sum_count());
    memset(scratch, job->p->x_zero_point, outside_bytes(s));
    for (int64_t row = rows * task / job->tasks; row < rows * (task + 1) / job->tasks; row++) {
        const size_t image = (size_t)(row / s->out_h);
        const uint8_t *x = (const uint8_t *)job->context->input[0] +
                           image * (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
        for (int first = 0; first < s->out_w; first += PIXELS) {
            const int pixels = SP_MIN(PIXELS, s->out_w - first);
            find_taps(s, x, (const uint8_t *)scratch, (int)(row % s->out_h), first, pixels, tap);
            run_pixels(job, tap, (size_t)(row * s->out_w + first), pixels, sum);
        }
    }
}

void sp_op_grouped_s8(const void *params, const sp_context *context)
{
    const sp_grouped_s8 *p = params;
    const sp_conv_shape *s = &p->shape;
    const double outputs = (double)s->out_h * s->out_w * s->in_c * s->batch;
    const int threads = (int)SP_MAX(SP_MIN(outputs / WORTH_A_THREAD, context->threads), 1);
    const int64_t rows = (int64_t)s->batch * s->out_h;
    struct job job = {p, context, (int)SP_MAX(SP_MIN(rows, 4 * (int64_t)threads), 1)};
    sp_parallel(threads, job.tasks, run_task, &job);
}
