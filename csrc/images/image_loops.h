/* The inner loops of operators on images and channels. image_loops_body.h defines them once;
 * portable.c, avx2.c and avx512vnni.c compile it for their instruction sets. */
#ifndef SPARING_IMAGE_LOOPS_H
#define SPARING_IMAGE_LOOPS_H

#include "internal.h"

/* The factors of (x - mean) * inverse * scale + bias: those of each channel in turn. */
struct sp_norm {
    const float *mean, *inverse, *scale, *bias;
};

struct sp_image_loops {
    /* y[i] = sum over t of x[t][i] * weight[t]; of bytes, their zero point taken off. */
    void (*blend_bytes)(const uint8_t *const *x, const float *weight, int taps, int zero_point,
                        float *y, int64_t n);
    void (*blend_floats)(const float *const *x, const float *weight, int taps, float *y, int64_t n);
    void (*round)(const float *x, float multiplier, sp_range output, uint8_t *y, int64_t n);
    /* blend_floats of two taps, then round. */
    void (*blend_round)(const float *const *x, const float *weight, float multiplier,
                        sp_range output, uint8_t *y, int64_t n);

    /* Sums of n neighbouring channels over pixels that lie `stride` elements apart, added to sum
     * and square. At most 65536 pixels of bytes. */
    void (*sum_bytes)(const uint8_t *x, int64_t stride, int64_t pixels, int n, uint32_t *sum,
                      uint32_t *square);
    void (*sum_floats)(const float *x, int64_t stride, int64_t pixels, int n, double *sum,
                       double *square);
    /* Of one pixel's channels; at most 65536 bytes. */
    void (*pixel_bytes)(const uint8_t *x, int64_t n, uint32_t *sum, uint32_t *square);
    void (*pixel_floats)(const float *x, int64_t n, double *sum, double *square);
    /* mean and inverse: one a channel, or (one_...) one for all. */
    void (*norm_bytes)(struct sp_norm f, const uint8_t *x, int zero_point, sp_range output,
                       uint8_t *y, int64_t n);
    void (*norm_one_bytes)(struct sp_norm f, const uint8_t *x, int zero_point, sp_range output,
                           uint8_t *y, int64_t n);
    void (*norm_floats)(struct sp_norm f, const float *x, float *y, int64_t n);
    void (*norm_one_floats)(struct sp_norm f, const float *x, float *y, int64_t n);

    /* slope: one a channel, or (one_...) one for all. */
    void (*prelu_bytes)(const sp_prelu_s8 *p, const float *slope, const uint8_t *x, uint8_t *y,
                        int64_t n);
    void (*prelu_one_bytes)(const sp_prelu_s8 *p, const float *slope, const uint8_t *x, uint8_t *y,
                            int64_t n);
    void (*prelu_floats)(const float *slope, const float *x, float *y, int64_t n);
    void (*prelu_one_floats)(const float *slope, const float *x, float *y, int64_t n);
};

/* Of the instruction set in use. */
const struct sp_image_loops *sp_image_loops_in_use(void);

extern const struct sp_image_loops sp_image_loops_portable, sp_image_loops_avx2,
    sp_image_loops_avx512vnni;

#endif
