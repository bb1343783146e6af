/* Micro-kernel of 1x4 blocks for AVX2: eight pixels a vector, four channels each.
 *
 * vpmaddubsw makes a * x + b * y and c * z + d * w of each pixel in int16. Packing has proved that
 * neither these nor their sums over a window of blocks leave int16 (csr_windows.py); each window
 * is then added up in int32. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "conv_csr/finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

SP_INLINE __m256i load(const uint8_t *x, int vector)
{
    return _mm256_loadu_si256((const __m256i *)x + vector);
}

/* Adds one window of blocks for `vectors` times 8 lanes. */
SP_INLINE void add_window(const uint8_t *x, const struct sp_csr_single *entry, int window,
                          int vectors, __m256i *acc)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *lanes[4];
    __m256i weights[4];
    __builtin_prefetch((const char *)entry + SP_CSR_AHEAD);
    SP_UNROLL for (int k = 0; k < window; k++)
    {
        lanes[k] = x + 4 * (size_t)entry[k].offset;
        weights[k] = _mm256_set1_epi32(entry[k].weight);
    }
    SP_UNROLL for (int v = 0; v < vectors; v++)
    {
        __m256i sum = _mm256_maddubs_epi16(load(lanes[0], v), weights[0]);
        SP_UNROLL for (int k = 1; k < window; k++) sum =
            _mm256_add_epi16(sum, _mm256_maddubs_epi16(load(lanes[k], v), weights[k]));
        acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(sum, ones));
        SP_PIN(acc[v]);
    }
}

SP_INLINE void run(const struct sp_csr_work *work, int window, int vectors)
{
    const struct sp_csr_single *entry = work->entries;
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        __m256i acc[8];
        SP_UNROLL for (int v = 0; v < vectors; v++) acc[v] = _mm256_setzero_si256();
        for (const struct sp_csr_single *end = entry + segment->steps; entry < end; entry += window)
            add_window(work->x, entry, window, vectors, acc);
        SP_UNROLL for (int v = 0; v < vectors; v++)
            _mm256_store_si256((__m256i *)f.sums[f.count] + v, acc[v]);
        if (end_segment(work, segment, &f, 8 * vectors))
            finish_lanes(work, &f, 8 * vectors, copy_order, copy_order, sp_csr_requantize_avx2);
    }
    finish_lanes(work, &f, 8 * vectors, copy_order, copy_order, sp_csr_requantize_avx2);
}

#define DEFINE_WINDOW(window)                                                                      \
    static void window_##window(const struct sp_csr_work *work)                                    \
    {                                                                                              \
        if (work->width == SP_CSR_WIDTH)                                                           \
            run(work, window, 8);                                                                  \
        else if (work->width == 32)                                                                \
            run(work, window, 4);                                                                  \
        else                                                                                       \
            run(work, window, 2);                                                                  \
    }
DEFINE_WINDOW(1)
DEFINE_WINDOW(2)
DEFINE_WINDOW(4)

sp_csr_fn sp_conv_block_s8_64_avx2;

void sp_conv_block_s8_64_avx2(const struct sp_csr_work *work)
{
    const int window = ((const sp_conv_csr_s8 *)work->params)->window;
    (window == 4 ? window_4 : window == 2 ? window_2 : window_1)(work);
}

SP_TARGET_END
#endif
