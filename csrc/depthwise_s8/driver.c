/* Depthwise int8 convolution, nhwc.
 *
 * An output row is cut into runs of pixels whose taps are all inside the image or all outside, so
 * that a micro-kernel needs one pointer a tap. Taps outside point into a row of x_zero_point. */
#include "depthwise_s8.h"

#include <string.h>

#include "epilogue/epilogue.h"
#include "operators.h"
#include "ukernels.h"

enum {
    SUMS = 2048, /* int32 sums of a run: they stay in the L1 cache, or nearly */
    FEWEST_PIXELS = 4
};

struct job {
    const sp_depthwise_s8 *p;
    const sp_context *context;
    const struct sp_ukernel_entry *kernel;
    int taps, groups; /* groups of k_group taps */
    int most_pixels;  /* of a run */
    size_t padding_bytes, sum_bytes, tap_bytes;
};

static struct job plan_job(const sp_depthwise_s8 *p)
{
    const sp_conv_shape *s = &p->shape;
    struct job job = {.p = p, .kernel = &sp_ukernels[p->ukernel]};
    const int k_group = job.kernel->k_group;
    job.taps = s->kernel_h * s->kernel_w;
    job.groups = (job.taps + k_group - 1) / k_group;
    job.most_pixels = SP_MIN(SP_MAX(SUMS / s->in_c, FEWEST_PIXELS), s->out_w);
    /* A run outside the image reads the padding row as it would the input. */
    size_t pixels_apart = (size_t)(job.most_pixels - 1) * (size_t)s->stride_w;
    job.padding_bytes = SP_ROUND_UP((pixels_apart + 1) * (size_t)s->in_c, 64);
    size_t sums = (size_t)job.most_pixels * (size_t)s->in_c + SP_EPILOGUE_SLACK;
    job.sum_bytes = SP_ROUND_UP(sums * sizeof(int32_t), 64);
    job.tap_bytes = (size_t)(job.groups * k_group) * sizeof(uint8_t *);
    return job;
}

size_t sp_scratch_depthwise_s8(const void *params)
{
    struct job job = plan_job(params);
    return job.padding_bytes + job.sum_bytes + job.tap_bytes;
}

/* Pixels from x on whose columns of taps all lie inside the image; else one pixel, at the border.
 */
static int run_length(const struct job *job, int x)
{
    const sp_conv_shape *s = &job->p->shape;
    const int left = x * s->stride_w - s->pad_left;
    const int last = s->in_w - 1 - (s->kernel_w - 1) * s->dilation_w; /* leftmost column of a run */
    if (left < 0 || left > last)
        return 1;
    return SP_MIN(SP_MIN((last - left) / s->stride_w + 1, s->out_w - x), job->most_pixels);
}

static void find_taps(const struct job *job, const uint8_t *image, int y, int x,
                      const uint8_t *padding, const uint8_t **tap)
{
    const sp_conv_shape *s = &job->p->shape;
    const int top = y * s->stride_h - s->pad_top, left = x * s->stride_w - s->pad_left;
    int t = 0;
    for (int i = 0; i < s->kernel_h; i++) {
        const int row = top + i * s->dilation_h, row_outside = row < 0 || row >= s->in_h;
        for (int j = 0; j < s->kernel_w; j++) {
            const int column = left + j * s->dilation_w;
            const int64_t at = ((int64_t)row * s->in_w + column) * s->in_c;
            const int outside = row_outside || column < 0 || column >= s->in_w;
            tap[t++] = outside ? padding : image + at;
        }
    }
    while (t < job->groups * job->kernel->k_group)
        tap[t++] = padding; /* its weights are zero */
}

static void finish(const struct job *job, size_t pixel, int pixels, const int32_t *sum)
{
    const sp_depthwise_s8 *p = job->p;
    const size_t channels = (size_t)p->shape.in_c, at = pixel * channels;
    const int has_residual = p->epilogue.residual_mode != SP_RESIDUAL_NONE;
    struct sp_rows block = {
        .sum = sum,
        .sum_stride = channels,
        .rows = pixels,
        .first = 0,
        .count = p->shape.in_c,
        .residual = has_residual ? (const uint8_t *)job->context->input[1] + at : NULL,
        .y = (uint8_t *)job->context->output + at,
        .stride = channels,
    };
    sp_epilogue_of(job->kernel->isa)(&p->epilogue, &block);
}

/* A task is a row of output pixels. */
static void run_row(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_conv_shape *s = &job->p->shape;
    const int image = task / s->out_h, y = task % s->out_h;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    uint8_t *padding = (uint8_t *)scratch;
    int32_t *sum = (int32_t *)(scratch + job->padding_bytes);
    const uint8_t **tap = (const uint8_t **)(scratch + job->padding_bytes + job->sum_bytes);
    const uint8_t *x =
        (const uint8_t *)job->context->input[0] + (size_t)image * s->in_h * s->in_w * s->in_c;
    memset(padding, job->p->x_zero_point, job->padding_bytes);
    for (int first = 0, n; first < s->out_w; first += n) {
        n = run_length(job, first);
        find_taps(job, x, y, first, padding, tap);
        struct sp_depthwise_run run = {
            .tap = tap,
            .groups = job->groups,
            .step = (size_t)s->stride_w * (size_t)s->in_c,
            .pixels = n,
            .channels = s->in_c,
            .weights = job->p->weights,
            .sum = sum,
        };
        ((sp_depthwise_s8_fn *)job->kernel->run)(&run);
        finish(job, (size_t)task * (size_t)s->out_w + (size_t)first, n, sum);
    }
}

void sp_op_depthwise_s8(const void *params, const sp_context *context)
{
    struct job job = plan_job(params);
    job.context = context;
    sp_parallel(context->threads, job.p->shape.batch * job.p->shape.out_h, run_row, &job);
}
