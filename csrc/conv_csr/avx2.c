/* Sparse micro-kernels for AVX2.
 *
 * int8: two non-zeros at a time. Their rows of pixels are interleaved, vpmaddubsw makes
 * a * x + b * y of each lane in int16, and packing has proved that neither this nor the sum s over
 * a window of pairs leaves int16. Widening every window to int32 would cost four instructions a
 * vector; instead two int16 accumulators go on over many windows, with three:
 *   low  = sum of s modulo 2^16,
 *   high = sum of floor(s / 256), which stays within int16 over 256 windows.
 * Each floor drops less than 256, so sum - 256 * high lies in [0, 2^16) and low tells which. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "finish_s8.h"
#include "finish_f32.h"

/* ---- int8 ---- */

/* Unpacking leaves lanes in the order 0-3 16-19 4-7 20-23 8-11 24-27 12-15 28-31 of each 32. */
static void to_kernel_order(uint8_t *to, const uint8_t *from, int n)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int i = 0; i < n; i += 32)
        _mm256_storeu_si256(
            (__m256i *)(to + i),
            _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)(from + i)), order));
}

static void to_pixel_order(uint8_t *to, const uint8_t *from, int n)
{
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    for (int i = 0; i < n; i += 32)
        _mm256_storeu_si256(
            (__m256i *)(to + i),
            _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)(from + i)), order));
}

static void finish(const struct sp_csr_work *work, struct finished *f, int n)
{
    if (n == 64)
        finish_lanes(work, f, 64, to_kernel_order, to_pixel_order, sp_csr_requantize_avx2);
    else
        finish_lanes(work, f, 32, to_kernel_order, to_pixel_order, sp_csr_requantize_avx2);
}

/* Adds one window of pairs for `vectors` times 32 lanes; low and high have two vectors for each. */
SP_INLINE void add_window(const uint8_t *x, const struct sp_csr_pair *pair, int window, int vectors,
                          __m256i *low, __m256i *high)
{
    __m256i sum[4];
    SP_UNROLL for (int k = 0; k < window; k++)
    {
        const __m256i weights = _mm256_set1_epi32(pair[k].weights);
        SP_UNROLL for (int v = 0; v < vectors; v++)
        {
            __m256i a = _mm256_loadu_si256((const __m256i *)(x + pair[k].offset[0]) + v);
            __m256i b = _mm256_loadu_si256((const __m256i *)(x + pair[k].offset[1]) + v);
            __m256i first = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), weights);
            __m256i second = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), weights);
            sum[2 * v] = k ? _mm256_add_epi16(sum[2 * v], first) : first;
            sum[2 * v + 1] = k ? _mm256_add_epi16(sum[2 * v + 1], second) : second;
            if (k) {
                SP_PIN(sum[2 * v]);
                SP_PIN(sum[2 * v + 1]);
            }
        }
    }
    SP_UNROLL for (int i = 0; i < 2 * vectors; i++)
    {
        low[i] = _mm256_add_epi16(low[i], sum[i]);
        high[i] = _mm256_add_epi16(high[i], _mm256_srai_epi16(sum[i], 8));
        SP_PIN(low[i]);
        SP_PIN(high[i]);
    }
}

/* Stores the int32 sums that low and high stand for. */
SP_INLINE void store_sums(int32_t *sums, int vectors, const __m256i *low, const __m256i *high)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i *out = (__m256i *)sums;
    SP_UNROLL for (int i = 0; i < 2 * vectors; i++)
    {
        __m256i rest = _mm256_sub_epi16(low[i], _mm256_slli_epi16(high[i], 8));
        __m256i high_0 = _mm256_srai_epi32(_mm256_unpacklo_epi16(zero, high[i]), 8);
        __m256i high_1 = _mm256_srai_epi32(_mm256_unpackhi_epi16(zero, high[i]), 8);
        _mm256_store_si256(out++, _mm256_add_epi32(high_0, _mm256_unpacklo_epi16(rest, zero)));
        _mm256_store_si256(out++, _mm256_add_epi32(high_1, _mm256_unpackhi_epi16(rest, zero)));
    }
}

SP_INLINE void run_s8(const struct sp_csr_work *work, int window, int vectors)
{
    const struct sp_csr_pair *pair = work->entries;
    const uint8_t *x = work->x;
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        __m256i low[4], high[4];
        SP_UNROLL for (int i = 0; i < 2 * vectors; i++) low[i] = high[i] = _mm256_setzero_si256();
        for (const struct sp_csr_pair *end = pair + segment->steps; pair < end; pair += window)
            add_window(x, pair, window, vectors, low, high);
        store_sums(f.sums[f.count], vectors, low, high);
        if (end_segment(work, segment, &f, 32 * vectors))
            finish(work, &f, 32 * vectors);
    }
    finish(work, &f, 32 * vectors);
}

#define DEFINE_WINDOW(window)                                                                      \
    static void window_##window(const struct sp_csr_work *work)                                    \
    {                                                                                              \
        if (work->width == SP_CSR_WIDTH)                                                           \
            run_s8(work, window, 2);                                                               \
        else                                                                                       \
            run_s8(work, window, 1);                                                               \
    }
DEFINE_WINDOW(1)
DEFINE_WINDOW(2)

void sp_conv_csr_s8_64_avx2(const struct sp_csr_work *work)
{
    static sp_csr_fn *const by_window[] = {window_1, window_2};
    by_window[((const sp_conv_csr_s8 *)work->params)->window - 1](work);
}

/* ---- float32 ---- */

/* Residual, clamp, store. The clamps return their second operand where it is NaN. */
SP_INLINE void finish_f32(const struct sp_csr_work *work, int row, int vectors, __m256 *acc)
{
    const sp_conv_csr_f32 *p = work->params;
    const __m256 lo = _mm256_set1_ps(p->lo), hi = _mm256_set1_ps(p->hi);
    const float *residual = (const float *)work->residual + row * work->channel_step;
    float *y = (float *)work->y + row * work->channel_step;
    SP_UNROLL for (int i = 0; i < vectors; i++)
    {
        if (p->has_residual)
            acc[i] = _mm256_add_ps(acc[i], _mm256_loadu_ps(residual + 8 * i));
        acc[i] = _mm256_min_ps(hi, _mm256_max_ps(lo, acc[i]));
        _mm256_storeu_ps(y + 8 * i, acc[i]);
    }
}

SP_INLINE void run_f32(const struct sp_csr_work *work, int vectors)
{
    const struct sp_csr_single *entry = work->entries;
    const float *x = work->x, *bias = ((const sp_conv_csr_f32 *)work->params)->bias;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        float *partial = partial_f32(work, segment->row);
        __m256 acc[8];
        if (segment->first) {
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] = _mm256_set1_ps(bias[segment->row]);
        } else {
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] = _mm256_load_ps(partial + 8 * i);
        }
        for (const struct sp_csr_single *end = entry + segment->steps; entry < end; entry++) {
            const __m256 weight = _mm256_broadcast_ss((const float *)&entry->weight);
            const float *lanes = x + entry->offset;
            SP_UNROLL for (int i = 0; i < vectors; i++) acc[i] =
                _mm256_fmadd_ps(weight, _mm256_loadu_ps(lanes + 8 * i), acc[i]);
        }
        if (segment->last) {
            finish_f32(work, segment->row, vectors, acc);
        } else {
            SP_UNROLL for (int i = 0; i < vectors; i++) _mm256_store_ps(partial + 8 * i, acc[i]);
        }
    }
}

void sp_conv_csr_f32_64_avx2(const struct sp_csr_work *work)
{
    if (work->width == SP_CSR_WIDTH)
        run_f32(work, 8);
    else if (work->width == 32)
        run_f32(work, 4);
    else
        run_f32(work, 2);
}

SP_TARGET_END
#endif
