/* Weights of depthwise convolutions in the order that csrc/depthwise_s8 reads. */
#include "../depthwise_s8/depthwise_s8.h"

#include <string.h>

/* The channel, counted from a chunk's first, that a lane holds. Narrow chunks repeat, a pixel each.
 * Interleaving bytes within 128-bit lanes takes the first four channels of every 16 first; kernels
 * of 16 channels interleave nothing. */
static int channel_of(int lane, int nr, int width)
{
    const int parts = nr / 16;
    const int within = lane / 4 % parts * 16 + lane / (4 * parts) * 4 + lane % 4;
    return within % width;
}

struct source {
    const char *w; /* of a chunk's first channel */
    int bytes, channels, kernel_h, kernel_w;
};

/* One vector: of every lane the k_group taps from `tap` on in column j. Zero where there are none.
 */
static void pack_vector(const struct source *s, int tap, int j, int nr, int k_group, int width,
                        char *packed)
{
    for (int lane = 0; lane < nr; lane++) {
        const int channel = channel_of(lane, nr, width);
        for (int i = 0; i < k_group; i++, packed += s->bytes) {
            const int row = tap + i;
            if (channel >= s->channels || row < 0 || row >= s->kernel_h)
                continue;
            const int at = (channel * s->kernel_h + row) * s->kernel_w + j;
            if (s->bytes == 1)
                *packed = s->w[at];
            else
                memcpy(packed, s->w + (size_t)at * (size_t)s->bytes, (size_t)s->bytes);
        }
    }
}

void sp_pack_depthwise(const void *w, int bytes, int channels, int kernel_h, int kernel_w, int rows,
                       int stride_h, int nr, int k_group, void *packed)
{
    const int groups = SP_ROUND_UP(kernel_h, k_group) / k_group;
    const size_t vector = (size_t)bytes * (size_t)nr * (size_t)k_group;
    char *to = packed;
    for (int at = 0; at < channels;) {
        const struct sp_chunk chunk = sp_find_chunk(at, channels, nr);
        const size_t before = (size_t)chunk.first * (size_t)kernel_h * (size_t)kernel_w;
        const struct source source = {(const char *)w + before * (size_t)bytes, bytes,
                                      channels - chunk.first, kernel_h, kernel_w};
        const size_t chunk_bytes = (size_t)(rows * kernel_w * groups) * vector;
        memset(to, 0, chunk_bytes);
        for (int row = 0; row < rows; row++)
            for (int j = 0; j < kernel_w; j++)
                for (int group = 0; group < groups; group++, to += vector)
                    pack_vector(&source, group * k_group - row * stride_h, j, nr, k_group,
                                chunk.width, to);
        at = chunk.first + chunk.width;
    }
}

/* A weight of a column of kernel_h, `kernel_w` apart, or zero where there is none. */
static int weight_at(const int8_t *column, int row, int kernel_h, int kernel_w)
{
    return row < 0 || row >= kernel_h ? 0 : column[row * kernel_w];
}

void sp_depthwise_pairs(const int8_t *w, int channels, int kernel_h, int kernel_w, int rows,
                        int stride_h, int *lowest, int *highest)
{
    *lowest = *highest = 0;
    for (int channel = 0; channel < channels; channel++, w += kernel_h * kernel_w)
        for (int j = 0; j < kernel_w; j++)
            for (int row = 0; row < rows; row++)
                for (int tap = -(row * stride_h); tap < kernel_h; tap += 2) {
                    const int a = weight_at(w + j, tap, kernel_h, kernel_w);
                    const int b = weight_at(w + j, tap + 1, kernel_h, kernel_w);
                    *lowest = SP_MIN(*lowest, SP_MIN(a, 0) + SP_MIN(b, 0));
                    *highest = SP_MAX(*highest, SP_MAX(a, 0) + SP_MAX(b, 0));
                }
}
