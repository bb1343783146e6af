/* Sparse int8 micro-kernel for NEON with dot products: four non-zeros at a time, as in
 * avx512vnni.c. Their rows of pixels are interleaved by two rounds of zips, which keep the order of
 * lanes, and sdot adds the four products of each lane. It takes x - 128; 128 times the sum of the
 * weights makes up for that. */
#include "target.h"

#ifdef SP_DOTPROD
SP_TARGET_DOTPROD

#include "finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

SP_INLINE int8x16_t load_shifted(const uint8_t *x)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), vdupq_n_u8(128)));
}

/* Adds a quad's products for 16 lanes: total has four vectors. */
SP_INLINE void add_quad(const uint8_t *x, const struct sp_csr_quad *quad, int8x16_t weights,
                        int32x4_t *total)
{
    const int8x16_t a = load_shifted(x + quad->offset[0]), b = load_shifted(x + quad->offset[1]);
    const int8x16_t c = load_shifted(x + quad->offset[2]), d = load_shifted(x + quad->offset[3]);
    SP_UNROLL for (int half = 0; half < 2; half++)
    {
        const int16x8_t ab = vreinterpretq_s16_s8(half ? vzip2q_s8(a, b) : vzip1q_s8(a, b));
        const int16x8_t cd = vreinterpretq_s16_s8(half ? vzip2q_s8(c, d) : vzip1q_s8(c, d));
        int32x4_t *to = total + 2 * half;
        to[0] = vdotq_s32(to[0], vreinterpretq_s8_s16(vzip1q_s16(ab, cd)), weights);
        to[1] = vdotq_s32(to[1], vreinterpretq_s8_s16(vzip2q_s16(ab, cd)), weights);
    }
}

/* vectors: a constant, of 16 lanes each. */
SP_INLINE void run_s8(const struct sp_csr_work *work, int vectors)
{
    const struct sp_csr_quad *quad = work->entries;
    const uint8_t *x = work->x;
    const int8x16_t ones = vdupq_n_s8(1);
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        int32x4_t total[16], weight_sum = vdupq_n_s32(0);
        SP_UNROLL for (int i = 0; i < 4 * vectors; i++) total[i] = vdupq_n_s32(0);
        for (const struct sp_csr_quad *end = quad + segment->steps; quad < end; quad++) {
            const int8x16_t weights = vreinterpretq_s8_s32(vdupq_n_s32(quad->weights));
            weight_sum = vdotq_s32(weight_sum, weights, ones);
            SP_UNROLL for (int v = 0; v < vectors; v++)
            {
                add_quad(x + 16 * v, quad, weights, total + 4 * v);
                /* else gcc loads all vectors first, which pushes sums out of registers */
                __asm__ volatile("" : : : "memory");
            }
        }
        const int32x4_t correction = vshlq_n_s32(weight_sum, 7);
        SP_UNROLL for (int i = 0; i < 4 * vectors; i++)
            vst1q_s32(f.sums[f.count] + 4 * i, vaddq_s32(total[i], correction));
        if (end_segment(work, segment, &f, 16 * vectors))
            finish_lanes(work, &f, 16 * vectors, copy_order, copy_order,
                         sp_csr_requantize_portable);
    }
    finish_lanes(work, &f, 16 * vectors, copy_order, copy_order, sp_csr_requantize_portable);
}

sp_csr_fn sp_conv_csr_s8_64_dotprod;

void sp_conv_csr_s8_64_dotprod(const struct sp_csr_work *work)
{
    if (work->width == SP_CSR_WIDTH)
        run_s8(work, 4);
    else if (work->width == 32)
        run_s8(work, 2);
    else
        run_s8(work, 1);
}

SP_TARGET_END
#endif
