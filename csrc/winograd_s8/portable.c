/* Winograd convolution for any CPU: vectors of 16 bytes, products in plain C. */
#define SP_VECTOR_BYTES 16
#include "transforms.h"

enum { ROWS = 4, COLUMNS = 16 };

void sp_winograd_input_portable(const uint8_t *const *pixel, int channels, int16_t *v,
                                size_t position_stride)
{
    transform_input(pixel, channels, v, position_stride);
}

void sp_winograd_weights_portable(const int8_t *w, int pairs, int first, int16_t *u)
{
    transform_weights(w, pairs, first, u);
}

void sp_winograd_output_portable(const int32_t *m, int columns, int32_t *sum, size_t row_stride,
                                 size_t pixel_stride)
{
    transform_output(m, columns, sum, row_stride, pixel_stride);
}

sp_winograd_product_fn sp_winograd_s8_4x16_portable;

void sp_winograd_s8_4x16_portable(const int16_t *v, size_t v_stride, int rows, const int16_t *u,
                                  int k, int columns, const int16_t *next, int begin, int32_t *m,
                                  size_t m_stride)
{
    (void)columns, (void)next; /* always 16 columns */
    for (int first = 0; first < rows; first += ROWS) {
        uint32_t total[ROWS][COLUMNS] = {{0}};
        const int count = SP_MIN(ROWS, rows - first);
        int32_t *to = m + (size_t)first * m_stride;
        const int16_t *row[ROWS];
        for (int i = 0; i < ROWS; i++) /* rows beyond the last repeat it and are not stored */
            row[i] = v + (size_t)(first + SP_MIN(i, count - 1)) * v_stride;
        for (int i = 0; i < count && !begin; i++)
            memcpy(total[i], to + (size_t)i * m_stride, sizeof total[i]);
        const int16_t *at = u;
        for (int kk = 0; kk < k; kk += 2, at += 2 * COLUMNS)
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < COLUMNS; j++)
                    total[i][j] +=
                        (uint32_t)(row[i][kk] * at[2 * j] + row[i][kk + 1] * at[2 * j + 1]);
        for (int i = 0; i < count; i++)
            memcpy(to + (size_t)i * m_stride, total[i], sizeof total[i]);
    }
}
