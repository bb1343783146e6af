/* Transposition of matrices of bytes or 32-bit elements: changes between nchw and nhwc. */
#include <string.h>

#include "loops.h"
#include "operators.h"
#include "transpose.h"
#include "vector16.h"

/* Interleaving row i with row i + n/2 and doing so log2(n) times transposes an n x n tile. */
static void transpose_16x16_bytes(const char *x, size_t x_stride, char *y, size_t y_stride)
{
    sp_u8x16 a[16], b[16];
    SP_UNROLL for (int i = 0; i < 16; i++) memcpy(&a[i], x + (size_t)i * x_stride, 16);
    SP_UNROLL for (int round = 0; round < 4; round++)
    {
        SP_UNROLL for (int i = 0; i < 8; i++)
        {
            b[2 * i] = sp_zip_low_u8(a[i], a[i + 8]);
            b[2 * i + 1] = sp_zip_high_u8(a[i], a[i + 8]);
        }
        SP_UNROLL for (int i = 0; i < 16; i++) a[i] = b[i];
    }
    SP_UNROLL for (int i = 0; i < 16; i++) memcpy(y + (size_t)i * y_stride, &a[i], 16);
}

static void transpose_4x4_words(const char *x, size_t x_stride, char *y, size_t y_stride)
{
    sp_u32x4 a[4], b[4];
    SP_UNROLL for (int i = 0; i < 4; i++) memcpy(&a[i], x + (size_t)i * x_stride, 16);
    SP_UNROLL for (int round = 0; round < 2; round++)
    {
        SP_UNROLL for (int i = 0; i < 2; i++)
        {
            b[2 * i] = sp_zip_low_u32(a[i], a[i + 2]);
            b[2 * i + 1] = sp_zip_high_u32(a[i], a[i + 2]);
        }
        SP_UNROLL for (int i = 0; i < 4; i++) a[i] = b[i];
    }
    SP_UNROLL for (int i = 0; i < 4; i++) memcpy(y + (size_t)i * y_stride, &a[i], 16);
}

/* A tile cut off by the matrix's border. */
SP_INLINE void transpose_edge(const char *x, size_t x_stride, char *y, size_t y_stride, int rows,
                              int columns, size_t element)
{
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++)
            memcpy(y + (size_t)c * y_stride + (size_t)r * element,
                   x + (size_t)r * x_stride + (size_t)c * element, element);
}

/* 16 columns of three rows of bytes, as of an RGB image. Each column is written with a fourth byte,
 * which the next one overwrites; the last one stays within its place. */
static void transpose_3x16_bytes(const char *x, size_t x_stride, char *y)
{
    const sp_u8x16 zero = {0};
    const sp_u8x16 a = sp_load_u8(x), b = sp_load_u8(x + x_stride),
                   c = sp_load_u8(x + 2 * x_stride);
    const sp_u16x8 ab[2] = {(sp_u16x8)sp_zip_low_u8(a, b), (sp_u16x8)sp_zip_high_u8(a, b)};
    const sp_u16x8 c0[2] = {(sp_u16x8)sp_zip_low_u8(c, zero), (sp_u16x8)sp_zip_high_u8(c, zero)};
    uint32_t column[16];
    SP_UNROLL for (int i = 0; i < 2; i++)
    {
        const sp_u16x8 low = sp_zip_low_u16(ab[i], c0[i]), high = sp_zip_high_u16(ab[i], c0[i]);
        memcpy(column + 8 * i, &low, sizeof low);
        memcpy(column + 8 * i + 4, &high, sizeof high);
    }
    SP_UNROLL for (int i = 0; i < 15; i++) memcpy(y + 3 * i, &column[i], 4);
    memcpy(y + 3 * 15, &column[15], 3);
}

/* Columns [first, last) of one matrix, tile by tile; a tile's rows are 16 bytes wide. */
SP_INLINE void transpose_columns(const char *x, size_t x_stride, char *y, size_t y_stride, int rows,
                                 int first, int last, size_t element)
{
    const int tile = (int)(16 / element);
    for (int c = first; c < last; c += tile)
        for (int r = 0; r < rows; r += tile) {
            const char *from = x + (size_t)r * x_stride + (size_t)c * element;
            char *to = y + (size_t)c * y_stride + (size_t)r * element;
            const int height = SP_MIN(tile, rows - r), width = SP_MIN(tile, last - c);
            if (rows == 3 && element == 1 && width == tile)
                transpose_3x16_bytes(from, x_stride, to);
            else if (rows == 3) /* a constant that unrolls */
                transpose_edge(from, x_stride, to, y_stride, 3, width, element);
            else if (height < tile || width < tile)
                transpose_edge(from, x_stride, to, y_stride, height, width, element);
            else if (element == 1)
                transpose_16x16_bytes(from, x_stride, to, y_stride);
            else
                transpose_4x4_words(from, x_stride, to, y_stride);
        }
}

void sp_transpose_words(const char *x, size_t x_stride, char *y, size_t y_stride, int rows,
                        int columns)
{
    transpose_columns(x, x_stride, y, y_stride, rows, 0, columns, 4);
}

/* first, last: blocks of BLOCK columns, of all matrices. */
enum { BLOCK = 64 };

static void transpose_blocks(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_transpose *p = params;
    const int blocks = (p->columns + BLOCK - 1) / BLOCK;
    const size_t matrix = (size_t)p->rows * (size_t)p->columns * (size_t)p->element_bytes;
    for (int64_t block = first; block < last; block++) {
        size_t image = (size_t)(block / blocks);
        const char *x = (const char *)c->input[0] + image * matrix;
        char *y = (char *)c->output + image * matrix;
        int column = (int)(block % blocks) * BLOCK, end = SP_MIN(column + BLOCK, p->columns);
        const size_t x_stride = (size_t)p->columns * (size_t)p->element_bytes;
        const size_t y_stride = (size_t)p->rows * (size_t)p->element_bytes;
        if (p->element_bytes == 1)
            transpose_columns(x, x_stride, y, y_stride, p->rows, column, end, 1);
        else
            transpose_columns(x, x_stride, y, y_stride, p->rows, column, end, 4);
    }
}

void sp_op_transpose(const void *params, const sp_context *context)
{
    const sp_transpose *p = params;
    if (p->rows == 1 || p->columns == 1) { /* both orders are the same */
        memcpy(context->output, context->input[0],
               (size_t)p->batch * (size_t)p->rows * (size_t)p->columns * (size_t)p->element_bytes);
        return;
    }
    int64_t blocks = (int64_t)p->batch * ((p->columns + BLOCK - 1) / BLOCK);
    int64_t block_bytes = (int64_t)p->rows * BLOCK * p->element_bytes;
    sp_for_ranges(p, context, blocks, SP_GRAIN_BYTES / SP_MAX(block_bytes, 1), transpose_blocks);
}
