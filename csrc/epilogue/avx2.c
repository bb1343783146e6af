/* The epilogue in AVX2: 16 channels of two pixels at once, as four vectors of sums. */
#include <string.h>

#include "epilogue.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

enum { VECTOR = 8, CHANNELS = 16, VECTORS = 4 };

/* What is the same for all pixels: of 16 channels, count of which exist. */
struct channels {
    __m256i bias[2];
    __m256 multiplier[2];
    int count;
};

/* The upper end of a range is clamped in float, before the conversion, which a large value would
 * overflow. The lower end is clamped last: packing saturates small values, and so does the
 * conversion, to the smallest int32. */
struct range {
    __m256 high;
    __m256i zero_point, low; /* int16, uint8 */
};

SP_INLINE struct range make_range(sp_range r)
{
    return (struct range){
        _mm256_set1_ps((float)(r.hi - r.zero_point)),
        _mm256_set1_epi16((int16_t)r.zero_point),
        _mm256_set1_epi8((char)r.lo),
    };
}

/* Two pixels, the second of which may be the first again. */
struct pair {
    const int32_t *sum[2];
    const uint8_t *residual[2];
    uint8_t *y[2];
};

SP_INLINE struct pair find_pair(const struct sp_rows *r, int row, size_t first)
{
    struct pair p;
    for (int i = 0; i < 2; i++) {
        const size_t at = (size_t)SP_MIN(row + i, r->rows - 1);
        p.sum[i] = r->sum + at * r->sum_stride + first;
        p.residual[i] = r->residual ? r->residual + at * r->stride + first : NULL;
        p.y[i] = r->y + at * r->stride + first;
    }
    return p;
}

SP_INLINE __m256i convert(__m256 real, __m256 high)
{
    return _mm256_cvtps_epi32(_mm256_min_ps(real, high));
}

SP_INLINE void store(const struct channels *c, uint8_t *y, __m128i bytes)
{
    if (c->count == CHANNELS) {
        _mm_storeu_si128((__m128i *)y, bytes);
    } else {
        uint8_t some[CHANNELS];
        _mm_storeu_si128((__m128i *)some, bytes);
        memcpy(y, some, (size_t)c->count);
    }
}

/* Packing works within 128-bit lanes; the permutation puts groups of four channels in order. */
SP_INLINE void round_and_store(const struct channels *c, struct pair p, const __m256 *real,
                               struct range r)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i a = _mm256_packs_epi32(convert(real[0], r.high), convert(real[1], r.high));
    __m256i b = _mm256_packs_epi32(convert(real[2], r.high), convert(real[3], r.high));
    a = _mm256_adds_epi16(a, r.zero_point);
    b = _mm256_adds_epi16(b, r.zero_point);
    __m256i bytes = _mm256_max_epu8(_mm256_packus_epi16(a, b), r.low);
    bytes = _mm256_permutevar8x32_epi32(bytes, order);
    store(c, p.y[0], _mm256_castsi256_si128(bytes));
    store(c, p.y[1], _mm256_extracti128_si256(bytes, 1));
}

SP_INLINE void scale_sums(const struct channels *c, struct pair p, __m256 *real)
{
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const int32_t *at = p.sum[j / 2] + j % 2 * VECTOR;
        const __m256i total =
            _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)at), c->bias[j % 2]);
        real[j] = _mm256_mul_ps(_mm256_cvtepi32_ps(total), c->multiplier[j % 2]);
    }
}

SP_INLINE __m128i load(const struct channels *c, const uint8_t *x)
{
    if (c->count == CHANNELS)
        return _mm_loadu_si128((const __m128i *)x);
    uint8_t some[CHANNELS] = {0};
    memcpy(some, x, (size_t)c->count);
    return _mm_loadu_si128((const __m128i *)some);
}

/* (r - zero_point) * multiplier */
SP_INLINE void scale_residual(const struct channels *c, struct pair p, __m256i zero_point,
                              __m256 multiplier, __m256 *real)
{
    SP_UNROLL for (int i = 0; i < 2; i++)
    {
        const __m128i bytes = load(c, p.residual[i]);
        const __m256i low = _mm256_cvtepu8_epi32(bytes);
        const __m256i high = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes));
        real[2 * i] =
            _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(low, zero_point)), multiplier);
        real[2 * i + 1] =
            _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(high, zero_point)), multiplier);
    }
}

SP_INLINE void plain(const sp_epilogue *e, const struct sp_rows *r, const struct channels *c,
                     size_t first)
{
    const struct range range = make_range(e->output);
    for (int row = 0; row < r->rows; row += 2) {
        const struct pair p = find_pair(r, row, first);
        __m256 real[VECTORS];
        scale_sums(c, p, real);
        round_and_store(c, p, real, range);
    }
}

SP_INLINE void add_to_sum(const sp_epilogue *e, const struct sp_rows *r, const struct channels *c,
                          size_t first)
{
    const struct range range = make_range(e->output);
    const __m256i zero_point = _mm256_set1_epi32(e->residual_zero_point);
    const __m256 multiplier = _mm256_set1_ps(e->residual_multiplier);
    for (int row = 0; row < r->rows; row += 2) {
        const struct pair p = find_pair(r, row, first);
        __m256 real[VECTORS], residual[VECTORS];
        scale_sums(c, p, real);
        scale_residual(c, p, zero_point, multiplier, residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++) real[j] = _mm256_add_ps(real[j], residual[j]);
        round_and_store(c, p, real, range);
    }
}

SP_INLINE void add_to_quantized(const sp_epilogue *e, const struct sp_rows *r,
                                const struct channels *c, size_t first)
{
    const struct range range = make_range(e->output);
    const sp_range middle = e->conv_output;
    const __m256 low = _mm256_set1_ps((float)(middle.lo - middle.zero_point));
    const __m256 high = _mm256_set1_ps((float)(middle.hi - middle.zero_point));
    const __m256i zero_point = _mm256_set1_epi32(e->residual_zero_point);
    const __m256 multiplier = _mm256_set1_ps(e->residual_multiplier);
    const __m256 conv_multiplier = _mm256_set1_ps(e->conv_multiplier);
    for (int row = 0; row < r->rows; row += 2) {
        const struct pair p = find_pair(r, row, first);
        __m256 real[VECTORS], residual[VECTORS];
        scale_sums(c, p, real);
        scale_residual(c, p, zero_point, multiplier, residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
        {
            const __m256 clamped = _mm256_min_ps(_mm256_max_ps(real[j], low), high);
            const __m256 t =
                _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            real[j] = _mm256_add_ps(_mm256_mul_ps(t, conv_multiplier), residual[j]);
        }
        round_and_store(c, p, real, range);
    }
}

/* A block of channels that has all 16, or fewer: two copies of the code. */
SP_INLINE void block(const sp_epilogue *e, const struct sp_rows *r, int first, int count)
{
    struct channels c = {.count = count};
    SP_UNROLL for (int j = 0; j < 2; j++)
    {
        const int at = r->first + first + j * VECTOR;
        c.bias[j] = _mm256_loadu_si256((const __m256i *)(e->bias + at));
        c.multiplier[j] = _mm256_loadu_ps(e->multiplier + at);
    }
    if (e->residual_mode == SP_RESIDUAL_NONE)
        plain(e, r, &c, (size_t)first);
    else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
        add_to_sum(e, r, &c, (size_t)first);
    else
        add_to_quantized(e, r, &c, (size_t)first);
}

void sp_epilogue_rows_avx2(const sp_epilogue *e, const struct sp_rows *r)
{
    int first = 0;
    for (; first + CHANNELS <= r->count; first += CHANNELS)
        block(e, r, first, CHANNELS);
    if (first < r->count)
        block(e, r, first, r->count - first);
    sp_epilogue_table(e, r);
}

SP_TARGET_END
#endif
