/* Sparse micro-kernels for AVX-512 with VNNI.
 *
 * int8: four non-zeros at a time. Their rows of pixels are interleaved by two rounds of unpacking,
 * and vpdpbusd adds the four products of each lane to int32 sums: exact for all values. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#include "finish_s8.h"

/* Unpacking leaves the lanes of a vector as a transposed matrix: in groups of four, that of 16-byte
 * part p and place q in it stands at q * parts + p. */
#define TRANSPOSE_64 _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)

static void to_kernel_order(uint8_t *to, const uint8_t *from, int n)
{
    if (n == 64)
        _mm512_storeu_si512(to, _mm512_permutexvar_epi32(TRANSPOSE_64, _mm512_loadu_si512(from)));
    else if (n == 32)
        _mm256_storeu_si256((__m256i *)to,
                            _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)from),
                                                        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    else
        memcpy(to, from, 16);
}

static void to_pixel_order(uint8_t *to, const uint8_t *from, int n)
{
    if (n == 64)
        _mm512_storeu_si512(to, _mm512_permutexvar_epi32(TRANSPOSE_64, _mm512_loadu_si512(from)));
    else if (n == 32)
        _mm256_storeu_si256((__m256i *)to,
                            _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)from),
                                                        _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)));
    else
        memcpy(to, from, 16);
}

static void finish(const struct sp_csr_work *work, struct finished *f, int n)
{
    if (n == 64)
        finish_lanes(work, f, 64, to_kernel_order, to_pixel_order, sp_csr_requantize_avx512vnni);
    else if (n == 32)
        finish_lanes(work, f, 32, to_kernel_order, to_pixel_order, sp_csr_requantize_avx512vnni);
    else
        finish_lanes(work, f, 16, to_kernel_order, to_pixel_order, sp_csr_requantize_avx512vnni);
}

/* The same code for 64, 32 and 16 lanes: `vector` is the type, `mm` the intrinsics' prefix and `si`
 * their suffix for whole vectors. */
#define DEFINE_RUN(width, vector, mm, si)                                                          \
    static void run_s8_##width(const struct sp_csr_work *work)                                     \
    {                                                                                              \
        const struct sp_csr_quad *quad = work->entries;                                            \
        const uint8_t *x = work->x;                                                                \
        struct finished f;                                                                         \
        f.count = 0;                                                                               \
        for (int s = 0; s < work->segments; s++) {                                                 \
            const sp_csr_segment *segment = &work->segment[s];                                     \
            vector acc0 = mm##_setzero_##si(), acc1 = acc0, acc2 = acc0, acc3 = acc0;              \
            for (const struct sp_csr_quad *end = quad + segment->steps; quad < end; quad++) {      \
                __builtin_prefetch((const char *)quad + SP_CSR_AHEAD);                             \
                const vector weights = mm##_set1_epi32(quad->weights);                             \
                vector a = mm##_loadu_##si((const void *)(x + quad->offset[0]));                   \
                vector b = mm##_loadu_##si((const void *)(x + quad->offset[1]));                   \
                vector c = mm##_loadu_##si((const void *)(x + quad->offset[2]));                   \
                vector d = mm##_loadu_##si((const void *)(x + quad->offset[3]));                   \
                vector ab = mm##_unpacklo_epi8(a, b), cd = mm##_unpacklo_epi8(c, d);               \
                acc0 = mm##_dpbusd_epi32(acc0, mm##_unpacklo_epi16(ab, cd), weights);              \
                acc1 = mm##_dpbusd_epi32(acc1, mm##_unpackhi_epi16(ab, cd), weights);              \
                ab = mm##_unpackhi_epi8(a, b), cd = mm##_unpackhi_epi8(c, d);                      \
                acc2 = mm##_dpbusd_epi32(acc2, mm##_unpacklo_epi16(ab, cd), weights);              \
                acc3 = mm##_dpbusd_epi32(acc3, mm##_unpackhi_epi16(ab, cd), weights);              \
            }                                                                                      \
            vector *out = (vector *)f.sums[f.count];                                               \
            out[0] = acc0, out[1] = acc1, out[2] = acc2, out[3] = acc3;                            \
            if (end_segment(work, segment, &f, width))                                             \
                finish(work, &f, width);                                                           \
        }                                                                                          \
        finish(work, &f, width);                                                                   \
    }
DEFINE_RUN(64, __m512i, _mm512, si512)
DEFINE_RUN(32, __m256i, _mm256, si256)
DEFINE_RUN(16, __m128i, _mm, si128)

void sp_conv_csr_s8_64_avx512vnni(const struct sp_csr_work *work)
{
    if (work->width == 64)
        run_s8_64(work);
    else if (work->width == 32)
        run_s8_32(work);
    else
        run_s8_16(work);
}

SP_TARGET_END
#endif
