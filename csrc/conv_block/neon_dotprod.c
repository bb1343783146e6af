/* Micro-kernel of 1x4 blocks for NEON with dot products: four pixels a vector. sdot takes x - 128;
 * 128 times the sum of the weights makes up for that. */
#include "target.h"

#ifdef SP_DOTPROD
SP_TARGET_DOTPROD

#include "conv_csr/finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

SP_INLINE void run(const struct sp_csr_work *work, int vectors)
{
    const struct sp_csr_single *entry = work->entries;
    const int8x16_t ones = vdupq_n_s8(1);
    const uint8x16_t half = vdupq_n_u8(128);
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        int32x4_t acc[16], weight_sum = vdupq_n_s32(0);
        SP_UNROLL for (int v = 0; v < vectors; v++) acc[v] = vdupq_n_s32(0);
        for (const struct sp_csr_single *end = entry + segment->steps; entry < end; entry++) {
            const uint8_t *lanes = (const uint8_t *)work->x + 4 * (size_t)entry->offset;
            const int8x16_t weights = vreinterpretq_s8_s32(vdupq_n_s32(entry->weight));
            weight_sum = vdotq_s32(weight_sum, weights, ones);
            SP_UNROLL for (int v = 0; v < vectors; v++)
            {
                const uint8x16_t x = veorq_u8(vld1q_u8(lanes + 16 * v), half);
                acc[v] = vdotq_s32(acc[v], vreinterpretq_s8_u8(x), weights);
            }
        }
        const int32x4_t correction = vshlq_n_s32(weight_sum, 7);
        SP_UNROLL for (int v = 0; v < vectors; v++)
            vst1q_s32(f.sums[f.count] + 4 * v, vaddq_s32(acc[v], correction));
        if (end_segment(work, segment, &f, 4 * vectors))
            finish_lanes(work, &f, 4 * vectors, copy_order, copy_order, sp_csr_requantize_portable);
    }
    finish_lanes(work, &f, 4 * vectors, copy_order, copy_order, sp_csr_requantize_portable);
}

sp_csr_fn sp_conv_block_s8_64_dotprod;

void sp_conv_block_s8_64_dotprod(const struct sp_csr_work *work)
{
    if (work->width == SP_CSR_WIDTH)
        run(work, 16);
    else if (work->width == 32)
        run(work, 8);
    else
        run(work, 4);
}

SP_TARGET_END
#endif
