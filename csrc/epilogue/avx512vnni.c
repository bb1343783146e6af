/* The epilogue in AVX-512: 64 channels at once, as four vectors of sums. */
#include "epilogue.h"
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

enum { VECTOR = 16, VECTORS = 4, CHANNELS = VECTOR * VECTORS };

/* What is the same for all pixels. */
struct channels {
    __m512i bias[VECTORS];
    __m512 multiplier[VECTORS];
    __mmask64 mask; /* channels that exist */
};

/* The upper end of a range is clamped in float, before the conversion, which a large value would
 * overflow. The lower end is clamped last: packing saturates small values, and so does the
 * conversion, to the smallest int32. */
struct range {
    __m512 high;
    __m512i zero_point, low; /* int16, uint8 */
};

SP_INLINE struct range make_range(sp_range r)
{
    return (struct range){
        _mm512_set1_ps((float)(r.hi - r.zero_point)),
        _mm512_set1_epi16((int16_t)r.zero_point),
        _mm512_set1_epi8((char)r.lo),
    };
}

SP_INLINE __m512i convert(__m512 real, __m512 high)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(real, high));
}

/* Four vectors of real values to 64 bytes in their order: packing works within 128-bit lanes, so
 * that groups of four channels come out as a 4x4 transpose, which the permutation undoes. */
SP_INLINE __m512i round_and_pack(const __m512 *real, struct range r)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i a = _mm512_packs_epi32(convert(real[0], r.high), convert(real[1], r.high));
    __m512i b = _mm512_packs_epi32(convert(real[2], r.high), convert(real[3], r.high));
    a = _mm512_adds_epi16(a, r.zero_point);
    b = _mm512_adds_epi16(b, r.zero_point);
    const __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(a, b), r.low);
    return _mm512_permutexvar_epi32(order, bytes);
}

SP_INLINE void scale_sums(const struct channels *c, const int32_t *sum, __m512 *real)
{
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const __m512i total = _mm512_add_epi32(_mm512_loadu_si512(sum + j * VECTOR), c->bias[j]);
        real[j] = _mm512_mul_ps(_mm512_cvtepi32_ps(total), c->multiplier[j]);
    }
}

/* (r - zero_point) * multiplier */
SP_INLINE void scale_residual(__m512i bytes, __m512i zero_point, __m512 multiplier, __m512 *real)
{
    const __m128i quarter[VECTORS] = {
        _mm512_castsi512_si128(bytes),
        _mm512_extracti32x4_epi32(bytes, 1),
        _mm512_extracti32x4_epi32(bytes, 2),
        _mm512_extracti32x4_epi32(bytes, 3),
    };
    SP_UNROLL for (int j = 0; j < VECTORS; j++)
    {
        const __m512i shifted = _mm512_sub_epi32(_mm512_cvtepu8_epi32(quarter[j]), zero_point);
        real[j] = _mm512_mul_ps(_mm512_cvtepi32_ps(shifted), multiplier);
    }
}

SP_INLINE void store(const struct sp_rows *r, const struct channels *c, size_t at, __m512i bytes)
{
    if (~c->mask == 0)
        _mm512_storeu_si512(r->y + at, bytes);
    else
        _mm512_mask_storeu_epi8(r->y + at, c->mask, bytes);
}

SP_INLINE __m512i load(const struct sp_rows *r, const struct channels *c, size_t at)
{
    return _mm512_maskz_loadu_epi8(c->mask, r->residual + at);
}

static void plain(const sp_epilogue *e, const struct sp_rows *r, const struct channels *c,
                  size_t first)
{
    const struct range range = make_range(e->output);
    for (int row = 0; row < r->rows; row++) {
        __m512 real[VECTORS];
        scale_sums(c, r->sum + (size_t)row * r->sum_stride + first, real);
        store(r, c, (size_t)row * r->stride + first, round_and_pack(real, range));
    }
}

static void add_to_sum(const sp_epilogue *e, const struct sp_rows *r, const struct channels *c,
                       size_t first)
{
    const struct range range = make_range(e->output);
    const __m512i zero_point = _mm512_set1_epi32(e->residual_zero_point);
    const __m512 multiplier = _mm512_set1_ps(e->residual_multiplier);
    for (int row = 0; row < r->rows; row++) {
        const size_t at = (size_t)row * r->stride + first;
        __m512 real[VECTORS], residual[VECTORS];
        scale_sums(c, r->sum + (size_t)row * r->sum_stride + first, real);
        scale_residual(load(r, c, at), zero_point, multiplier, residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++) real[j] = _mm512_add_ps(real[j], residual[j]);
        store(r, c, at, round_and_pack(real, range));
    }
}

static void add_to_quantized(const sp_epilogue *e, const struct sp_rows *r,
                             const struct channels *c, size_t first)
{
    const struct range range = make_range(e->output);
    const sp_range middle = e->conv_output;
    const __m512 low = _mm512_set1_ps((float)(middle.lo - middle.zero_point));
    const __m512 high = _mm512_set1_ps((float)(middle.hi - middle.zero_point));
    const __m512i zero_point = _mm512_set1_epi32(e->residual_zero_point);
    const __m512 multiplier = _mm512_set1_ps(e->residual_multiplier);
    const __m512 conv_multiplier = _mm512_set1_ps(e->conv_multiplier);
    for (int row = 0; row < r->rows; row++) {
        const size_t at = (size_t)row * r->stride + first;
        __m512 real[VECTORS], residual[VECTORS];
        scale_sums(c, r->sum + (size_t)row * r->sum_stride + first, real);
        scale_residual(load(r, c, at), zero_point, multiplier, residual);
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
        {
            const __m512 clamped = _mm512_min_ps(_mm512_max_ps(real[j], low), high);
            const __m512 t =
                _mm512_roundscale_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            real[j] = _mm512_add_ps(_mm512_mul_ps(t, conv_multiplier), residual[j]);
        }
        store(r, c, at, round_and_pack(real, range));
    }
}

void sp_epilogue_rows_avx512vnni(const sp_epilogue *e, const struct sp_rows *r)
{
    for (int first = 0; first < r->count; first += CHANNELS) {
        struct channels c = {.mask = ~(__mmask64)0 >> SP_MAX(first + CHANNELS - r->count, 0)};
        SP_UNROLL for (int j = 0; j < VECTORS; j++)
        {
            c.bias[j] = _mm512_loadu_si512(e->bias + r->first + first + j * VECTOR);
            c.multiplier[j] = _mm512_loadu_ps(e->multiplier + r->first + first + j * VECTOR);
        }
        if (e->residual_mode == SP_RESIDUAL_NONE)
            plain(e, r, &c, (size_t)first);
        else if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)
            add_to_sum(e, r, &c, (size_t)first);
        else
            add_to_quantized(e, r, &c, (size_t)first);
    }
    sp_epilogue_table(e, r);
}

SP_TARGET_END
#endif
