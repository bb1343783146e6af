/* Transforms 3x3 weights for csrc/winograd_s8, whose header has the arithmetic, and packs them. */
#include "../winograd_s8/winograd_s8.h"

#include <string.h>

enum { TAPS = 9, CHANNELS = 16 }; /* CHANNELS: input channels that are packed at a time */

/* G g of F(4, 3): three weights of each channel become six, int16 [6][CHANNELS]. */
static void transform(const int16_t *g0, const int16_t *g1, const int16_t *g2, int16_t *u,
                      size_t u_stride)
{
    for (int c = 0; c < CHANNELS; c++) {
        const int outer = g0[c] + g2[c], far = g0[c] + 4 * g2[c];
        u[c] = (int16_t)(6 * g0[c]);
        u[u_stride + c] = (int16_t)(outer + g1[c]);
        u[2 * u_stride + c] = (int16_t)(outer - g1[c]);
        u[3 * u_stride + c] = (int16_t)(far + 2 * g1[c]);
        u[4 * u_stride + c] = (int16_t)(far - 2 * g1[c]);
        u[5 * u_stride + c] = (int16_t)(6 * g2[c]);
    }
}

/* G g G' of the kernels of one output channel: w[channels][9] to u[36][CHANNELS]. */
static void transform_kernels(const int8_t *w, int channels, int16_t *u)
{
    int16_t tap[TAPS][CHANNELS] = {{0}}, half[3][SP_TILE_IN][CHANNELS];
    for (int c = 0; c < channels; c++)
        for (int i = 0; i < TAPS; i++)
            tap[i][c] = w[TAPS * c + i];
    for (int i = 0; i < 3; i++)
        transform(tap[3 * i], tap[3 * i + 1], tap[3 * i + 2], half[i][0], CHANNELS);
    for (int j = 0; j < SP_TILE_IN; j++)
        transform(half[0][j], half[1][j], half[2][j], u + j * CHANNELS,
                  (size_t)SP_TILE_IN * CHANNELS);
}

/* Channels `first` to `end` of one panel of all positions. w: of the panel's first output channel;
 * outputs: those that exist of its `width`. packed: of position 0; positions are `stride` apart. */
static void pack_part(const int8_t *w, int outputs, int width, int channels, int first, int end,
                      int k_group, int16_t *packed, size_t stride)
{
    int16_t u[SP_BLOCK_COLUMNS][SP_POSITIONS][CHANNELS];
    for (int column = 0; column < width; column++)
        if (column < outputs)
            transform_kernels(w + ((size_t)column * (size_t)channels + (size_t)first) * TAPS,
                              end - first, u[column][0]);
        else
            memset(u[column], 0, sizeof u[column]);
    const int groups = (end - first + k_group - 1) / k_group;
    for (int position = 0; position < SP_POSITIONS; position++) {
        int16_t *to = packed + (size_t)position * stride + (size_t)first * (size_t)width;
        for (int group = 0; group < groups; group++)
            for (int column = 0; column < width; column++)
                for (int i = 0; i < k_group; i++)
                    *to++ = u[column][position][group * k_group + i];
    }
}

void sp_pack_winograd(const int8_t *w, int outputs, int channels, int nr, int k_group,
                      int16_t *packed)
{
    const int columns = SP_ROUND_UP(outputs, SP_M_COLUMNS);
    const size_t k = (size_t)SP_ROUND_UP(channels, k_group);
    for (int block = 0; block < columns; block += SP_BLOCK_COLUMNS) {
        const int in_block = SP_MIN(SP_BLOCK_COLUMNS, columns - block);
        const size_t stride = k * (size_t)in_block;
        for (int column = 0; column < in_block; column += nr) {
            const int width = SP_MIN(nr, in_block - column), at = block + column;
            for (int first = 0; first < channels; first += CHANNELS)
                pack_part(w + (size_t)at * (size_t)channels * TAPS,
                          SP_MAX(SP_MIN(width, outputs - at), 0), width, channels, first,
                          SP_MIN(first + CHANNELS, channels), k_group, packed + k * (size_t)column,
                          stride);
        }
        packed += SP_POSITIONS * stride;
    }
}

/* The weights of one pair of input channels; those that do not exist are zero. */
static void pack_pair(const int8_t *w, int outputs, int channels, int first_output, int first,
                      int8_t *packed)
{
    memset(packed, 0, TAPS * SP_PAIR_WEIGHTS);
    for (int i = 0; i < SP_PAIR_WEIGHTS; i++) {
        const int output = first_output + i / 2, channel = first + i % 2;
        if (output < outputs && channel < channels)
            for (int tap = 0; tap < TAPS; tap++)
                packed[tap * SP_PAIR_WEIGHTS + i] =
                    w[((size_t)output * (size_t)channels + (size_t)channel) * TAPS + (size_t)tap];
    }
}

void sp_pack_winograd_taps(const int8_t *w, int outputs, int channels, int8_t *packed)
{
    for (int output = 0; output < outputs; output += SP_M_COLUMNS)
        for (int channel = 0; channel < channels; channel += 2) {
            pack_pair(w, outputs, channels, output, channel, packed);
            packed += TAPS * SP_PAIR_WEIGHTS;
        }
}
