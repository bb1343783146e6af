/* Weights of depthwise convolutions in the order that csrc/depthwise_s8 reads. */
#include "../depthwise_s8/depthwise_s8.h"

#include <string.h>

enum { MOST_LANES = 64 };

/* The channels, counted from a chunk's first, that the lanes hold. Narrow chunks repeat, a pixel
 * each. Interleaving bytes within 128-bit lanes takes the first four channels of every 16 first;
 * kernels of 16 channels interleave nothing. */
static void find_channels(int nr, int width, int *channel)
{
    const int parts = nr / 16;
    for (int lane = 0; lane < nr; lane++)
        channel[lane] = (lane / 4 % parts * 16 + lane / (4 * parts) * 4 + lane % 4) % width;
}

struct source {
    const char *w; /* of a chunk's first channel */
    int bytes, channels, kernel_h, kernel_w;
};

/* One vector: of every lane the k_group taps from `tap` on in column j. Those that do not exist
 * stay as they are. */
static void pack_vector(const struct source *s, int tap, int j, int nr, int k_group,
                        const int *channel, char *packed)
{
    const int first = SP_MAX(-tap, 0), end = SP_MIN(k_group, s->kernel_h - tap);
    for (int lane = 0; lane < nr; lane++) {
        if (channel[lane] >= s->channels)
            continue;
        const int at = (channel[lane] * s->kernel_h + tap) * s->kernel_w + j;
        for (int i = first; i < end; i++) {
            const int to = lane * k_group + i, from = at + i * s->kernel_w;
            if (s->bytes == 1)
                packed[to] = s->w[from];
            else
                memcpy(packed + 2 * to, s->w + 2 * from, 2);
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
        int channel[MOST_LANES];
        find_channels(nr, chunk.width, channel);
        const size_t chunk_bytes = (size_t)(rows * kernel_w * groups) * vector;
        memset(to, 0, chunk_bytes);
        for (int row = 0; row < rows; row++)
            for (int j = 0; j < kernel_w; j++)
                for (int group = 0; group < groups; group++, to += vector)
                    pack_vector(&source, group * k_group - row * stride_h, j, nr, k_group, channel,
                                to);
        at = chunk.first + chunk.width;
    }
}

void sp_depthwise_pairs(const int8_t *w, int channels, int kernel_h, int kernel_w, int rows,
                        int stride_h, int *lowest, int *highest)
{
    const int both = rows > 1 && stride_h % 2; /* taps of odd rows begin a pair, too */
    const int taps = kernel_h * kernel_w;
    int low = 0, high = 0;
    for (int channel = 0; channel < channels; channel++, w += taps)
        for (int row = 0; row < kernel_h; row++)
            for (int j = row * kernel_w; j < (row + 1) * kernel_w; j++) {
                const int next =
                    j + kernel_w < taps && (both || row % 2 == 0) ? w[j + kernel_w] : 0;
                low = SP_MIN(low, SP_MIN(w[j], 0) + SP_MIN(next, 0));
                high = SP_MAX(high, SP_MAX(w[j], 0) + SP_MAX(next, 0));
            }
    *lowest = low;
    *highest = high;
}
