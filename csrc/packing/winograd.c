/* Transforms 3x3 weights for csrc/winograd_s8, whose header has the arithmetic, and packs them. */
#include "../winograd_s8/winograd_s8.h"

#include <string.h>

enum {
    TAPS = SP_TAPS * SP_TAPS,
    PAIRS = 8, /* pairs of input channels that are transformed at a time, within L1 */
    ROW_BYTES = SP_PAIR_WEIGHTS * 2
};

/* The weights of one pair of input channels; those that do not exist are zero. */
static void pack_pair(const int8_t *w, int outputs, int channels, int first_output, int first,
                      int8_t *packed)
{
    memset(packed, 0, TAPS * SP_PAIR_WEIGHTS);
    const int rows = SP_MIN(outputs - first_output, SP_M_COLUMNS),
              own = SP_MIN(channels - first, 2);
    w += ((size_t)first_output * (size_t)channels + (size_t)first) * TAPS;
    for (int i = 0; i < rows; i++, w += (size_t)channels * TAPS)
        for (int channel = 0; channel < own; channel++)
            for (int tap = 0; tap < TAPS; tap++)
                packed[tap * SP_PAIR_WEIGHTS + 2 * i + channel] = w[TAPS * channel + tap];
}

static sp_winograd_weights_fn *choose_transform(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI))
        return sp_winograd_weights_avx512vnni;
    if (sp_isa_includes(SP_ISA_AVX2))
        return sp_winograd_weights_avx2;
#endif
    return sp_winograd_weights_portable;
}

/* SP_M_COLUMNS columns of a panel of `width`, from `output` on. packed: of position 0; positions
 * are `stride` apart. */
static void pack_columns(const int8_t *w, int outputs, int channels, int output, int width,
                         int16_t *packed, size_t stride)
{
    sp_winograd_weights_fn *transform = choose_transform();
    int8_t taps[PAIRS * TAPS * SP_PAIR_WEIGHTS];
    int16_t u[SP_CHUNK_POSITIONS * SP_U_STRIDE];
    for (int first = 0; first < channels; first += 2 * PAIRS) {
        const int pairs = SP_MIN((channels - first + 1) / 2, PAIRS);
        for (int pair = 0; pair < pairs; pair++)
            pack_pair(w, outputs, channels, output, first + 2 * pair,
                      taps + pair * TAPS * SP_PAIR_WEIGHTS);
        for (int row = 0; row < SP_TILE_IN - 1; row += row == 0 ? 1 : 2) {
            transform(taps, pairs, row, u);
            for (int i = 0; i < SP_CHUNK_POSITIONS; i++) {
                const int of = i < SP_TILE_IN ? row : sp_second_row(row);
                const int position = of * SP_TILE_IN + i % SP_TILE_IN;
                int16_t *to = packed + (size_t)position * stride + (size_t)first * (size_t)width;
                for (int pair = 0; pair < pairs; pair++, to += 2 * width)
                    memcpy(to, u + i * SP_U_STRIDE + pair * SP_PAIR_WEIGHTS, ROW_BYTES);
            }
        }
    }
}

void sp_pack_winograd(const int8_t *w, int outputs, int channels, int nr, int16_t *packed)
{
    const int columns = SP_ROUND_UP(outputs, SP_M_COLUMNS);
    const size_t k = (size_t)SP_ROUND_UP(channels, 2);
    for (int block = 0; block < columns; block += SP_BLOCK_COLUMNS) {
        const int in_block = SP_MIN(SP_BLOCK_COLUMNS, columns - block);
        const size_t stride = k * (size_t)in_block;
        for (int column = 0; column < in_block; column += SP_M_COLUMNS) {
            const int panel = column / nr * nr, width = SP_MIN(nr, in_block - panel);
            int16_t *to = packed + k * (size_t)panel + 2 * (size_t)(column - panel);
            pack_columns(w, outputs, channels, block + column, width, to, stride);
        }
        packed += SP_POSITIONS * stride;
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
