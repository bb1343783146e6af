/* Sparse float32 micro-kernel for AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#include "finish_f32.h"

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
