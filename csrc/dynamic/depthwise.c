/* Depthwise convolution of activations whose range is known at run time, nhwc, to floats. A band
 * of input rows becomes floats, `x - zero_point` between zeros; the float32 micro-kernel adds its
 * products, which are integers that float32 holds, so that their order does not matter. */
#include <math.h>
#include <string.h>

#include "conv_f32/conv_f32.h"
#include "dynamic.h"
#include "elementwise/loops.h"
#include "operators.h"
#include "ukernels.h"

enum { BAND_BYTES = 192 * 1024 }; /* of input as floats: less than half of the L2 cache */

struct job {
    const sp_dynamic_depthwise *p;
    const sp_context *context;
    struct sp_dynamic_unit unit;
    int rows;          /* output rows of a band, the most */
    int bands;         /* of an image */
    int width;         /* columns of a band, padding included */
    int input_rows;    /* of a whole band */
    size_t row_floats; /* of a band's row */
};

static int reach(int outputs, int stride, int kernel, int dilation)
{
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1;
}

static int rows_that_fit(const sp_conv_shape *s, size_t row_bytes)
{
    const int fit = (int)(BAND_BYTES / SP_MAX(row_bytes, 1));
    return (fit - reach(1, s->stride_h, s->kernel_h, s->dilation_h)) / s->stride_h + 1;
}

static struct job plan_job(const sp_dynamic_depthwise *p, int threads)
{
    const sp_conv_shape *s = &p->product.shape;
    struct job job = {.p = p};
    job.width = reach(s->out_w, s->stride_w, s->kernel_w, s->dilation_w);
    job.row_floats = (size_t)job.width * (size_t)s->in_c;
    const int even = (s->out_h + threads - 1) / threads;
    job.rows = SP_MAX(SP_MIN(rows_that_fit(s, job.row_floats * sizeof(float)), even), 1);
    job.bands = (s->out_h + job.rows - 1) / job.rows;
    job.input_rows = reach(job.rows, s->stride_h, s->kernel_h, s->dilation_h);
    return job;
}

/* Scratch memory: multipliers, then a band. */
static size_t multiplier_bytes(const struct job *job)
{
    return SP_ROUND_UP((size_t)job->p->product.shape.in_c * sizeof(float), 64);
}

size_t sp_scratch_dynamic_depthwise(const void *params)
{
    const struct job job = plan_job(params, 1);
    return multiplier_bytes(&job) + (size_t)job.input_rows * job.row_floats * sizeof(float);
}

/* One input row as floats, between zeros. x: NULL outside the image. */
static void put_row(const struct job *job, const uint8_t *x, float *to)
{
    const sp_conv_shape *s = &job->p->product.shape;
    const sp_dequantize difference = {.scale = 1.0F, .zero_point = job->unit.zero_point};
    const int left = x ? SP_MIN(s->pad_left, job->width) : job->width;
    const int columns = SP_MIN(job->width - left, s->in_w);
    const size_t before = (size_t)left * (size_t)s->in_c;
    const size_t inside = (size_t)columns * (size_t)s->in_c;
    memset(to, 0, before * sizeof *to);
    if (columns > 0)
        sp_loops_in_use()->dequantize(&difference, x, to + before, (int64_t)inside);
    memset(to + before + inside, 0, (job->row_floats - before - inside) * sizeof *to);
}

static void put_band(const struct job *job, int image, int first, int rows, float *band)
{
    const sp_conv_shape *s = &job->p->product.shape;
    const size_t row_bytes = (size_t)s->in_w * (size_t)s->in_c;
    const uint8_t *x =
        (const uint8_t *)job->context->input[0] + (size_t)image * (size_t)s->in_h * row_bytes;
    const int count = reach(rows, s->stride_h, s->kernel_h, s->dilation_h);
    for (int i = 0; i < count; i++, band += job->row_floats) {
        const int row = first * s->stride_h - s->pad_top + i;
        put_row(job, row >= 0 && row < s->in_h ? x + (size_t)row * row_bytes : NULL, band);
    }
}

static void run_row(const struct job *job, const float *x, const float *multiplier, float *y)
{
    const sp_conv_f32 *p = &job->p->product;
    const sp_dynamic_real *real = &job->p->real;
    const sp_conv_shape *s = &p->shape;
    const size_t channels = (size_t)s->in_c;
    const struct sp_depthwise_row_f32 call = {
        .x = x,
        .w = p->weights,
        .bias = p->bias,
        .finish = {-INFINITY, INFINITY, NULL, y, channels},
        .channels = s->in_c,
        .count = s->out_w,
        .rows = s->kernel_h,
        .columns = s->kernel_w,
        .x_pixel = (size_t)s->stride_w * channels,
        .x_row = (size_t)s->dilation_h * job->row_floats,
        .x_column = (size_t)s->dilation_w * channels,
        .w_row = (size_t)s->kernel_w * channels,
        .w_column = channels,
    };
    ((sp_depthwise_f32_fn *)sp_ukernels[p->ukernel].run)(&call);
    const struct sp_real_rows results = {
        NULL, 0, s->out_w, s->in_c, NULL, multiplier, real->bias, real->lo, real->hi, y, channels,
    };
    sp_dynamic_loops_in_use()->floats_to_reals(&results);
}

/* A task is a band of one image. */
static void run_task(void *argument, int task, int thread)
{
    const struct job *job = argument;
    const sp_conv_shape *s = &job->p->product.shape;
    char *scratch = job->context->scratch + (size_t)thread * job->context->scratch_per_thread;
    float *multiplier = (float *)scratch, *band = (float *)(scratch + multiplier_bytes(job));
    const int image = task / job->bands, first = task % job->bands * job->rows;
    const int rows = SP_MIN(job->rows, s->out_h - first);
    const size_t row_floats = (size_t)s->out_w * (size_t)s->in_c;
    float *y = (float *)job->context->output +
               ((size_t)image * (size_t)s->out_h + (size_t)first) * row_floats;
    for (int c = 0; c < s->in_c; c++)
        multiplier[c] = job->unit.scale * job->p->real.weight_scale[c];
    put_band(job, image, first, rows, band);
    for (int i = 0; i < rows; i++)
        run_row(job, band + (size_t)(i * s->stride_h) * job->row_floats, multiplier,
                y + (size_t)i * row_floats);
}

void sp_op_dynamic_depthwise(const void *params, const sp_context *context)
{
    const sp_dynamic_depthwise *p = params;
    struct job job = plan_job(p, context->threads);
    job.context = context;
    job.unit = sp_read_range(context->input[1]);
    sp_parallel(context->threads, p->product.shape.batch * job.bands, run_task, &job);
}
