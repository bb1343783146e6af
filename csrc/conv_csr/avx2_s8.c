/* Sparse int8 micro-kernel for AVX2.
 *
 * Two non-zeros at a time: their rows of pixels are interleaved, vpmaddubsw makes a * x + b * y of
 * each lane in int16, and packing has proved that neither this nor the sum s over a window of pairs
 * leaves int16. Widening every window to int32 would cost four instructions a vector; instead two
 * int16 accumulators go on over many windows, with three:
 *   low  = sum of s modulo 2^16,
 *   high = sum of floor(s / 256), which stays within int16 over 128 windows.
 * Each floor drops less than 256, so rest = sum - 256 * high lies in [0, 2^15), and low tells
 * which: vpmaddwd makes 1 * rest + 256 * high. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "epilogue/vectors_avx2.h"

#include "finish_vectors.h"

/* The int32 sums that low and high stand for, two vectors of each for 32 lanes. */
SP_INLINE void widen_sums(const __m256i *low, const __m256i *high, sums *total)
{
    const __m256i digits = _mm256_set1_epi32(256 << 16 | 1);
    SP_UNROLL for (int i = 0; i < 2; i++)
    {
        const __m256i rest = _mm256_sub_epi16(low[i], _mm256_slli_epi16(high[i], 8));
        total[2 * i] = _mm256_madd_epi16(_mm256_unpacklo_epi16(rest, high[i]), digits);
        total[2 * i + 1] = _mm256_madd_epi16(_mm256_unpackhi_epi16(rest, high[i]), digits);
    }
}

/* Ends a segment. A function of its own, with its vectors in registers, so that the code of each
 * window need not be repeated for each form of the epilogue. */
typedef void end_fn(const struct sp_csr_work *work, const struct constants *k,
                    const sp_csr_segment *segment, __m256i low0, __m256i low1, __m256i low2,
                    __m256i low3, __m256i high0, __m256i high1, __m256i high2, __m256i high3);

#define DEFINE_END(name, vectors, mode, fits)                                                      \
    static void name(const struct sp_csr_work *work, const struct constants *k,                    \
                     const sp_csr_segment *segment, __m256i low0, __m256i low1, __m256i low2,      \
                     __m256i low3, __m256i high0, __m256i high1, __m256i high2, __m256i high3)     \
    {                                                                                              \
        const __m256i low[] = {low0, low1, low2, low3}, high[] = {high0, high1, high2, high3};     \
        sums total[2 * VECTORS];                                                                   \
        SP_UNROLL for (int v = 0; v < (vectors); v++)                                              \
            widen_sums(low + 2 * v, high + 2 * v, total + VECTORS * v);                            \
        end_segment_lanes(work, k, segment, vectors, mode, fits, total);                           \
    }
#define DEFINE_ENDS(vectors)                                                                       \
    DEFINE_END(end_sums_##vectors, vectors, SUMS, 0)                                               \
    DEFINE_END(end_fits_##vectors, vectors, SP_RESIDUAL_NONE, 1)                                   \
    DEFINE_END(end_plain_##vectors, vectors, SP_RESIDUAL_NONE, 0)                                  \
    DEFINE_END(end_add_##vectors, vectors, SP_RESIDUAL_ACCUMULATOR, 0)                             \
    DEFINE_END(end_add_quantized_##vectors, vectors, SP_RESIDUAL_QUANTIZED, 0)                     \
    static end_fn *find_end_##vectors(const struct sp_csr_work *work)                              \
    {                                                                                              \
        const sp_epilogue *e = &((const sp_conv_csr_s8 *)work->params)->epilogue;                  \
        if (work->sums)                                                                            \
            return end_sums_##vectors;                                                             \
        if (e->residual_mode == SP_RESIDUAL_ACCUMULATOR)                                           \
            return end_add_##vectors;                                                              \
        if (e->residual_mode == SP_RESIDUAL_QUANTIZED)                                             \
            return end_add_quantized_##vectors;                                                    \
        return e->fits ? end_fits_##vectors : end_plain_##vectors;                                 \
    }
DEFINE_ENDS(1)
DEFINE_ENDS(2)

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
            SP_PIN(a); /* loaded once: loads are the narrowest place */
            SP_PIN(b);
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
        SP_PIN(low[i]);
        high[i] = _mm256_add_epi16(high[i], _mm256_srai_epi16(sum[i], 8));
        SP_PIN(high[i]);
    }
}

SP_INLINE void run(const struct sp_csr_work *work, int window, int vectors, end_fn *end_row)
{
    const struct constants k = make_constants(&((const sp_conv_csr_s8 *)work->params)->epilogue);
    const struct sp_csr_pair *pair = work->entries;
    const uint8_t *x = work->x;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        __m256i low[4], high[4];
        SP_UNROLL for (int i = 0; i < 4; i++) low[i] = high[i] = _mm256_setzero_si256();
        for (const struct sp_csr_pair *end = pair + segment->steps; pair < end; pair += window) {
            __builtin_prefetch((const char *)pair + SP_CSR_AHEAD);
            add_window(x, pair, window, vectors, low, high);
        }
        end_row(work, &k, segment, low[0], low[1], low[2], low[3], high[0], high[1], high[2],
                high[3]);
    }
}

#define DEFINE_WINDOW(window)                                                                      \
    static void window_##window(const struct sp_csr_work *work)                                    \
    {                                                                                              \
        if (work->width == SP_CSR_WIDTH)                                                           \
            run(work, window, 2, find_end_2(work));                                                \
        else                                                                                       \
            run(work, window, 1, find_end_1(work));                                                \
    }
DEFINE_WINDOW(1)
DEFINE_WINDOW(2)
DEFINE_WINDOW(3)
DEFINE_WINDOW(4)

sp_csr_fn sp_conv_csr_s8_64_avx2;

void sp_conv_csr_s8_64_avx2(const struct sp_csr_work *work)
{
    static sp_csr_fn *const by_window[] = {window_1, window_2, window_3, window_4};
    by_window[((const sp_conv_csr_s8 *)work->params)->window - 1](work);
}

SP_TARGET_END
#endif
