/* The AVX2 micro-kernel of weights in windows (windows.h): vpmaddubsw on uint8 activations and int8
 * weights, summed in int16 for as long as a window lasts, where packing has proved that nothing
 * saturates. */
#include <string.h>

#include "target.h"
#include "windows.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { COLUMNS = SP_WINDOW_COLUMNS, VECTOR = 32 /* bytes */, MOST_ROWS = 4 };

struct rows {
    const uint8_t *a;
    size_t stride;
};

/* A pointer of its own for the row: the compiler would make one for each quad instead, more than
 * there are registers. */
SP_INLINE const uint8_t *find_row(struct rows x, int row)
{
    const uint8_t *a = x.a + (size_t)row * x.stride;
    __asm__("" : "+r"(a));
    return a;
}

SP_INLINE __m256i broadcast_quad(const uint8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}

SP_INLINE __m256i load(const char *w, int i)
{
    return _mm256_load_si256((const __m256i *)(w + VECTOR * i));
}

/* total += one window of `size` quads: `rows` rows by `vectors` times 8 columns. */
SP_INLINE void add_window(int size, int rows, int vectors, struct rows x, const char *w,
                          __m256i ones, __m256i (*total)[4])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const uint8_t *a = find_row(x, i);
        __m256i sum[4];
        SP_UNROLL for (int quad = 0; quad < size; quad++)
        {
            const __m256i four = broadcast_quad(a + 4 * quad);
            SP_UNROLL for (int j = 0; j < vectors; j++)
            {
                const __m256i products = _mm256_maddubs_epi16(four, load(w, quad * vectors + j));
                sum[j] = quad ? _mm256_add_epi16(sum[j], products) : products;
                SP_PIN(sum[j]);
            }
        }
        SP_UNROLL for (int j = 0; j < vectors; j++)
        {
            total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(sum[j], ones));
            SP_PIN(total[i][j]);
        }
    }
}

/* total += one quad; vectors of the mask in int16: first k 0 and 2, then k 1 and 3. */
SP_INLINE void add_single(int mask, int rows, int vectors, struct rows x, const char *w,
                          __m256i ones, __m256i (*total)[4])
{
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const __m256i four = broadcast_quad(find_row(x, i));
        const __m256i even = _mm256_and_si256(four, _mm256_set1_epi16(255));
        const __m256i odd = _mm256_srli_epi16(four, 8);
        int at = 0;
        SP_UNROLL for (int j = 0; j < vectors; j++)
        {
            if (mask >> j & 1) {
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(even, load(w, at++)));
                SP_PIN(total[i][j]);
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(odd, load(w, at++)));
            } else {
                const __m256i products = _mm256_maddubs_epi16(four, load(w, at++));
                total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(products, ones));
            }
            SP_PIN(total[i][j]);
        }
    }
}

/* Where the kernel is: the weights of the next window, and its place. */
struct cursor {
    const char *w;
    const uint8_t *place;
};

SP_INLINE struct rows next_rows(struct rows x, struct cursor *c)
{
    x.a += 4 * *c->place++;
    return x;
}

#define WINDOWS(size)                                                                              \
    case size:                                                                                     \
        do {                                                                                       \
            add_window(size, rows, vectors, next_rows(x, &c), c.w, ones, total);                   \
            c.w += VECTOR * (size) * vectors;                                                      \
        } while (--left);                                                                          \
        break;

#define VECTORS_OF(mask) (((mask) & 1) + ((mask) >> 1 & 1) + ((mask) >> 2 & 1) + ((mask) >> 3))
#define SINGLES(mask)                                                                              \
    case SP_SINGLE + (mask):                                                                       \
        do {                                                                                       \
            add_single(mask, rows, vectors, next_rows(x, &c), c.w, ones, total);                   \
            c.w += VECTOR * (vectors + VECTORS_OF(mask));                                          \
        } while (--left);                                                                          \
        break;

/* sum (+)= a chunk's part. */
SP_INLINE void tile(int rows, int vectors, const struct sp_window_chunk *chunk, int begin,
                    struct rows x, int32_t *sum)
{
    __m256i total[MOST_ROWS][4], ones = _mm256_set1_epi16(1);
    SP_PIN(ones); /* a register, not a constant in memory */
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++) total[i][j] =
            begin ? _mm256_setzero_si256() : load((const char *)(sum + i * COLUMNS), j);
    }
    struct cursor c = {(const char *)chunk + chunk->weights, sp_window_places(chunk)};
    for (const struct sp_window_run *run = chunk->run, *end = run + chunk->runs; run < end; run++) {
        int left = run->count;
        switch (run->kind) {
            WINDOWS(8)
            WINDOWS(6)
            WINDOWS(4)
            WINDOWS(3)
            WINDOWS(2)
            SINGLES(0)
            SINGLES(1)
            SINGLES(2)
            SINGLES(3)
            SINGLES(4)
            SINGLES(5)
            SINGLES(6)
            SINGLES(7)
            SINGLES(8)
            SINGLES(9)
            SINGLES(10)
            SINGLES(11)
            SINGLES(12)
            SINGLES(13)
            SINGLES(14)
            SINGLES(15)
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        SP_UNROLL for (int j = 0; j < vectors; j++)
            _mm256_store_si256((__m256i *)(sum + i * COLUMNS + 8 * j), total[i][j]);
    }
}

/* vectors times most is 8: as many sums as leave registers for a window's. */
SP_INLINE void all_rows(int vectors, const struct sp_window_chunk *chunk, int begin, struct rows x,
                        int rows, int32_t *sum)
{
    const int most = 8 / vectors;
    for (; rows >= most; rows -= most, x.a += (size_t)most * x.stride, sum += most * COLUMNS)
        tile(most, vectors, chunk, begin, x, sum);
    for (; rows > 0; rows--, x.a += x.stride, sum += COLUMNS)
        tile(1, vectors, chunk, begin, x, sum);
}

sp_gemm_s8_fn sp_gemm_windows_s8_2x32_avx2;

void sp_gemm_windows_s8_2x32_avx2(const void *a, size_t a_stride, int rows, const void *w, int k,
                                  int columns, int32_t *sum)
{
    (void)k; /* the chunks know */
    const struct sp_window_chunk *chunk = w;
    struct rows x = {a, a_stride};
    for (int begin = 1;; begin = 0) {
        if (columns > SP_COLUMN_GROUP)
            all_rows(4, chunk, begin, x, rows, sum);
        else
            all_rows(2, chunk, begin, x, rows, sum);
        if (!chunk->next)
            return;
        x.a += 4 * chunk->quads;
        chunk = (const struct sp_window_chunk *)((const char *)chunk + chunk->next);
    }
}

SP_TARGET_END
#endif
