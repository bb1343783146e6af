/* Loads, sums and searches the quads of a chunk: portable code, and AVX2. */
#include "window_steps.h"

#include <string.h>

#include "target.h"

/* Loads a panel's columns from `column` on, each from `quad` on. */
static void load_part(struct sp_chunk *c, const int8_t *w, size_t row_bytes, int column,
                      int columns, int quad, int k)
{
    for (w += (size_t)column * row_bytes; column < columns; column++, w += row_bytes) {
        const int at = 4 * sp_window_slot(column, c->width);
        for (int q = quad; q < c->quads; q++)
            if (4 * q + 4 <= k)
                memcpy(&c->weights[q][at], w + 4 * q, 4);
            else
                memcpy(&c->weights[q][at], w + 4 * q, (size_t)(k - 4 * q));
    }
}

/* Zeros stand for what does not exist. */
static void clear_weights(struct sp_chunk *c, int columns, int k)
{
    if (columns < SP_WINDOW_COLUMNS)
        memset(c->weights, 0, (size_t)c->quads * SP_QUAD_BYTES);
    else if (k < 4 * c->quads)
        memset(c->weights[c->quads - 1], 0, SP_QUAD_BYTES);
}

static void load_portable(struct sp_chunk *c, const int8_t *w, size_t row_bytes, int columns, int k)
{
    clear_weights(c, columns, k);
    load_part(c, w, row_bytes, 0, columns, 0, k);
}

static void sum_portable(struct sp_chunk *c)
{
    for (int q = 0; q < c->quads; q++) {
        int16_t *sums = c->sums[q], largest = 0;
        for (int i = 0; i < SP_WINDOW_LANES; i++) {
            const int16_t a = c->weights[q][2 * i], b = c->weights[q][2 * i + 1];
            sums[i] = (int16_t)(SP_MAX(a, 0) + SP_MAX(b, 0));
            sums[SP_WINDOW_LANES + i] = (int16_t)(-SP_MIN(a, 0) - SP_MIN(b, 0));
        }
        for (int i = 0; i < 2 * SP_WINDOW_LANES; i++)
            largest = SP_MAX(largest, sums[i]);
        c->largest[q] = largest;
    }
}

static int mask_portable(const int16_t *quad, int16_t limit)
{
    int mask = 0;
    for (int i = 0; i < 2 * SP_WINDOW_LANES; i++)
        mask |= (quad[i] > limit) << (i % SP_WINDOW_LANES / SP_VECTOR_LANES);
    return mask;
}

static int find_portable(const struct sp_chunk *c, int quad, int16_t limit)
{
    int at = 0;
    for (; at < c->open; at++) {
        const int16_t *total = c->total[c->opened[at]], *sums = c->sums[quad];
        int16_t exceeds = 0;
        for (int i = 0; i < 2 * SP_WINDOW_LANES; i++) {
            const int16_t sum = (int16_t)(total[i] + sums[i]);
            exceeds |= sum > limit ? -1 : 0;
        }
        if (!exceeds)
            break;
    }
    return at;
}

static void add_portable(struct sp_chunk *c, int window, int quad, int begin)
{
    for (int i = 0; i < 2 * SP_WINDOW_LANES; i++)
        c->total[window][i] = (int16_t)((begin ? 0 : c->total[window][i]) + c->sums[quad][i]);
}

static const struct sp_window_steps portable = {load_portable, sum_portable, mask_portable,
                                                find_portable, add_portable};

#ifdef SP_X86
SP_TARGET_AVX2
enum {
    AVX2_LANES = 16,
    AVX2_VECTORS = 2 * SP_WINDOW_LANES / AVX2_LANES,
    BYTE_VECTORS = AVX2_VECTORS / 2
};

SP_INLINE __m256i load_vector(const void *from) { return _mm256_loadu_si256(from); }

/* Four columns of two quads, four quads apart. */
SP_INLINE void store_columns(__m256i x, int8_t (*to)[SP_QUAD_BYTES], int slot)
{
    _mm_storeu_si128((__m128i *)&to[0][4 * slot], _mm256_castsi256_si128(x));
    _mm_storeu_si128((__m128i *)&to[4][4 * slot], _mm256_extracti128_si256(x, 1));
}

/* Eight quads of eight columns, the first four to one slot and following, the others to another. */
SP_INLINE void transpose_avx2(const int8_t *w, size_t row_bytes, int8_t (*to)[SP_QUAD_BYTES],
                              int slot, int other)
{
    __m256i x[8], y[8];
    for (int i = 0; i < 8; i++)
        x[i] = load_vector(w + (size_t)i * row_bytes);
    for (int i = 0; i < 8; i += 2) {
        y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = _mm256_unpacklo_epi64(y[i + j], y[i + j + 2]);
            x[i + 2 * j + 1] = _mm256_unpackhi_epi64(y[i + j], y[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        store_columns(x[i], to + i, slot);
        store_columns(x[i + 4], to + i, other);
    }
}

static void load_avx2(struct sp_chunk *c, const int8_t *w, size_t row_bytes, int columns, int k)
{
    const int column = columns / 8 * 8, quad = SP_MIN(c->quads, k / 4) / 8 * 8;
    clear_weights(c, columns, k);
    for (int i = 0; i < column; i += 8)
        for (int q = 0; q < quad; q += 8)
            transpose_avx2(w + (size_t)i * row_bytes + 4 * q, row_bytes, c->weights + q,
                           sp_window_slot(i, c->width), sp_window_slot(i + 4, c->width));
    load_part(c, w, row_bytes, 0, column, quad, k);
    load_part(c, w, row_bytes, column, columns, 0, k);
}

static void sum_avx2(struct sp_chunk *c)
{
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1);
    for (int q = 0; q < c->quads; q++) {
        __m256i *sums = (__m256i *)c->sums[q], largest = zero;
        for (int i = 0; i < AVX2_VECTORS / 2; i++) {
            const __m256i w = load_vector(&c->weights[q][32 * i]);
            const __m256i negated = _mm256_sub_epi8(zero, _mm256_min_epi8(w, zero));
            const __m256i high = _mm256_maddubs_epi16(_mm256_max_epi8(w, zero), one);
            const __m256i low = _mm256_maddubs_epi16(negated, one); /* 128 is unsigned here */
            _mm256_storeu_si256(sums + i, high);
            _mm256_storeu_si256(sums + AVX2_VECTORS / 2 + i, low);
            largest = _mm256_max_epi16(largest, _mm256_max_epi16(high, low));
        }
        const __m128i half =
            _mm_max_epi16(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
        const __m128i inverse = _mm_sub_epi16(_mm_set1_epi16(INT16_MAX), half);
        c->largest[q] = (int16_t)(INT16_MAX - _mm_extract_epi16(_mm_minpos_epu16(inverse), 0));
    }
}

static int mask_avx2(const int16_t *quad, int16_t limit)
{
    int mask = 0;
    for (int i = 0; i < SP_WINDOW_VECTORS; i++) {
        const int16_t *high = quad + AVX2_LANES * i, *low = high + SP_WINDOW_LANES;
        const __m256i exceeds = _mm256_cmpgt_epi16(
            _mm256_max_epi16(load_vector(high), load_vector(low)), _mm256_set1_epi16(limit));
        mask |= !_mm256_testz_si256(exceeds, exceeds) << i;
    }
    return mask;
}

static int find_avx2(const struct sp_chunk *c, int quad, int16_t limit)
{
    __m256i room[AVX2_VECTORS]; /* beside this quad */
    for (int i = 0; i < AVX2_VECTORS; i++)
        room[i] =
            _mm256_sub_epi16(_mm256_set1_epi16(limit), load_vector(&c->sums[quad][AVX2_LANES * i]));
    int at = 0;
    for (; at < c->open; at++) {
        const int16_t *total = c->total[c->opened[at]];
        __m256i exceeds = _mm256_cmpgt_epi16(load_vector(total), room[0]);
        for (int i = 1; i < AVX2_VECTORS; i++)
            exceeds = _mm256_or_si256(
                exceeds, _mm256_cmpgt_epi16(load_vector(total + AVX2_LANES * i), room[i]));
        if (_mm256_testz_si256(exceeds, exceeds))
            break;
    }
    return at;
}

/* In bytes: a vector of them holds the lanes of two. */
static void sum_bytes(struct sp_chunk *c)
{
    sum_avx2(c);
    for (int q = 0; q < c->quads; q++) {
        const __m256i *sums = (const __m256i *)c->sums[q];
        for (int i = 0; i < BYTE_VECTORS; i++)
            _mm256_storeu_si256(
                (__m256i *)c->bytes.sums[q] + i,
                _mm256_packus_epi16(load_vector(sums + 2 * i), load_vector(sums + 2 * i + 1)));
    }
}

static int find_bytes(const struct sp_chunk *c, int quad, int16_t limit)
{
    __m256i room[BYTE_VECTORS]; /* beside this quad */
    for (int i = 0; i < BYTE_VECTORS; i++)
        room[i] = _mm256_sub_epi8(_mm256_set1_epi8((char)limit),
                                  load_vector(&c->bytes.sums[quad][32 * i]));
    int at = 0;
    for (; at < c->open; at++) {
        const uint8_t *total = c->bytes.total[c->opened[at]];
        __m256i exceeds = _mm256_subs_epu8(load_vector(total), room[0]);
        for (int i = 1; i < BYTE_VECTORS; i++)
            exceeds =
                _mm256_or_si256(exceeds, _mm256_subs_epu8(load_vector(total + 32 * i), room[i]));
        if (_mm256_testz_si256(exceeds, exceeds))
            break;
    }
    return at;
}

static void add_bytes(struct sp_chunk *c, int window, int quad, int begin)
{
    __m256i *total = (__m256i *)c->bytes.total[window];
    for (int i = 0; i < BYTE_VECTORS; i++) {
        const __m256i before = begin ? _mm256_setzero_si256() : load_vector(total + i);
        const __m256i sums = load_vector(&c->bytes.sums[quad][32 * i]);
        _mm256_storeu_si256(total + i, _mm256_add_epi8(before, sums));
    }
}

static const struct sp_window_steps avx2 = {load_avx2, sum_avx2, mask_avx2, find_avx2,
                                            add_portable};
static const struct sp_window_steps avx2_bytes = {load_avx2, sum_bytes, mask_avx2, find_bytes,
                                                  add_bytes};
SP_TARGET_END
#endif

const struct sp_window_steps *sp_choose_window_steps(int16_t limit)
{
    (void)limit;
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX2))
        return limit <= SP_LARGEST_BYTE ? &avx2_bytes : &avx2;
#endif
    return &portable;
}
