/* Normalization over an image's pixels or a pixel's channels, nhwc. */
#include <math.h>

#include "elementwise/loops.h"
#include "image_loops.h"
#include "operators.h"

enum {
    CHANNELS = 64, /* normalized over pixels at once: their sums stay in the L1 cache */
    MOST = 65536   /* bytes whose squares, added, fit 32 bits */
};

/* The mean, and what the distance from it is multiplied by, of n values with these sums. */
static void moments(const sp_normalize *p, double n, double sum, double square, float *mean,
                    float *inverse)
{
    const double scale = (double)p->x_scale, middle = sum / n;
    double variance = square / n - middle * middle;
    variance = variance > 0 ? variance : 0;
    *mean = (float)middle;
    *inverse = (float)(scale / sqrt(variance * (scale * scale) + p->epsilon));
}

/* The sums of x - zero_point and of its square, from those of n values x; all are exact. */
static void without_zero_point(int zero_point, int64_t n, uint64_t sum, uint64_t square,
                               double *centred, double *centred_square)
{
    const int64_t z = zero_point, all = (int64_t)sum;
    *centred = (double)(all - n * z);
    *centred_square = (double)((int64_t)square - 2 * z * all + n * z * z);
}

static void sum_bytes(const sp_normalize *p, const uint8_t *x, int n, double *sum, double *square)
{
    const int64_t pixels = p->pixels, stride = p->channels;
    uint64_t all[CHANNELS] = {0}, squares[CHANNELS] = {0};
    for (int64_t at = 0; at < pixels; at += MOST) {
        uint32_t part[CHANNELS] = {0}, part_squares[CHANNELS] = {0};
        sp_image_loops_in_use()->sum_bytes(x + at * stride, stride, SP_MIN(pixels - at, MOST), n,
                                           part, part_squares);
        for (int i = 0; i < n; i++)
            all[i] += part[i], squares[i] += part_squares[i];
    }
    for (int i = 0; i < n; i++)
        without_zero_point(p->x_zero_point, pixels, all[i], squares[i], &sum[i], &square[i]);
}

/* first, last: blocks of channels of all images. */
static void over_space(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_normalize *p = params;
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t blocks = (p->channels + CHANNELS - 1) / CHANNELS, stride = p->channels;
    for (int64_t block = first; block < last; block++) {
        const int64_t channel = block % blocks * CHANNELS;
        const int64_t start = block / blocks * p->pixels * stride + channel;
        const int n = (int)SP_MIN(stride - channel, CHANNELS);
        const uint8_t *bytes = (const uint8_t *)c->input[0] + start;
        const float *floats = (const float *)c->input[0] + start;
        double sum[CHANNELS] = {0}, square[CHANNELS] = {0};
        float mean[CHANNELS], inverse[CHANNELS];
        if (p->bytes)
            sum_bytes(p, bytes, n, sum, square);
        else
            loops->sum_floats(floats, stride, p->pixels, n, sum, square);
        for (int i = 0; i < n; i++)
            moments(p, (double)p->pixels, sum[i], square[i], &mean[i], &inverse[i]);
        const struct sp_norm f = {mean, inverse, p->scale + channel, p->bias + channel};
        for (int64_t i = 0; i < p->pixels; i++) {
            const int64_t at = i * stride;
            if (p->bytes)
                loops->norm_bytes(f, bytes + at, p->x_zero_point, p->output,
                                  (uint8_t *)c->output + start + at, n);
            else
                loops->norm_floats(f, floats + at, (float *)c->output + start + at, n);
        }
    }
}

static void pixel_sums(const sp_normalize *p, const uint8_t *x, double *sum, double *square)
{
    uint64_t all = 0, squares = 0;
    for (int64_t at = 0; at < p->channels; at += MOST) {
        uint32_t part, part_square;
        sp_image_loops_in_use()->pixel_bytes(x + at, SP_MIN(p->channels - at, MOST), &part,
                                             &part_square);
        all += part, squares += part_square;
    }
    without_zero_point(p->x_zero_point, p->channels, all, squares, sum, square);
}

/* first, last: pixels of all images. */
static void over_channels(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_normalize *p = params;
    const struct sp_image_loops *loops = sp_image_loops_in_use();
    const int64_t n = p->channels;
    for (int64_t at = first * n; at < last * n; at += n) {
        double sum, square;
        float mean, inverse;
        const uint8_t *bytes = (const uint8_t *)c->input[0] + at;
        const float *floats = (const float *)c->input[0] + at;
        if (p->bytes)
            pixel_sums(p, bytes, &sum, &square);
        else
            loops->pixel_floats(floats, n, &sum, &square);
        moments(p, (double)n, sum, square, &mean, &inverse);
        const struct sp_norm f = {&mean, &inverse, p->scale, p->bias};
        if (p->bytes)
            loops->norm_one_bytes(f, bytes, p->x_zero_point, p->output, (uint8_t *)c->output + at,
                                  n);
        else
            loops->norm_one_floats(f, floats, (float *)c->output + at, n);
    }
}

void sp_op_normalize(const void *params, const sp_context *context)
{
    const sp_normalize *p = params;
    const int64_t blocks = (p->channels + CHANNELS - 1) / CHANNELS;
    if (p->over_channels)
        sp_for_ranges(p, context, p->batch * p->pixels, SP_GRAIN_BYTES / SP_MAX(p->channels, 1),
                      over_channels);
    else
        sp_for_ranges(p, context, p->batch * blocks, SP_GRAIN_BYTES / SP_MAX(p->pixels, 1),
                      over_space);
}
