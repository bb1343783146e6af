/* Products of the Winograd convolution in vectors of 32 bytes, 6x16 sums at once: what AVX2 and
 * AVX-VNNI share. SP_ADD_PRODUCTS(total, x, u) adds the products of int16 pairs to int32. */
enum { ROWS = 6, COLUMNS = 16 };

SP_INLINE __m256i broadcast_pair(const int16_t *v)
{
    int32_t pair;
    memcpy(&pair, v, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* share: bytes to fetch for each pair of channels. */
SP_INLINE void tile(int rows, const int16_t *v, size_t v_stride, const int16_t *u, int k,
                    const char *next, size_t share, int begin, int32_t *m, size_t m_stride)
{
    __m256i total[ROWS][2];
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        const __m256i *before = (const __m256i *)(m + (size_t)i * m_stride);
        SP_UNROLL for (int j = 0; j < 2; j++) total[i][j] =
            begin ? _mm256_setzero_si256() : _mm256_load_si256(before + j);
    }
    for (int at = 0; at < k; at += 2, u += 2 * COLUMNS, next += share) {
        _mm_prefetch(next, _MM_HINT_T1);
        const __m256i u0 = _mm256_load_si256((const __m256i *)u);
        const __m256i u1 = _mm256_load_si256((const __m256i *)(u + COLUMNS));
        SP_UNROLL for (int i = 0; i < rows; i++)
        {
            const __m256i x = broadcast_pair(v + (size_t)i * v_stride + at);
            total[i][0] = SP_ADD_PRODUCTS(total[i][0], x, u0);
            total[i][1] = SP_ADD_PRODUCTS(total[i][1], x, u1);
        }
    }
    SP_UNROLL for (int i = 0; i < rows; i++)
    {
        _mm256_store_si256((__m256i *)(m + (size_t)i * m_stride), total[i][0]);
        _mm256_store_si256((__m256i *)(m + (size_t)i * m_stride + 8), total[i][1]);
    }
}

SP_INLINE void all_rows(const int16_t *v, size_t v_stride, int rows, const int16_t *u, int k,
                        const int16_t *next, int begin, int32_t *m, size_t m_stride)
{
    const size_t share = 4 * COLUMNS / (size_t)((rows + ROWS - 1) / ROWS);
    const char *fetch = (const char *)next;
    for (; rows >= ROWS; rows -= ROWS, v += ROWS * v_stride, m += ROWS * m_stride) {
        tile(ROWS, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        fetch += share * (size_t)k / 2;
    }
    switch (rows) {
    case 5:
        tile(5, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 4:
        tile(4, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 3:
        tile(3, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 2:
        tile(2, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    case 1:
        tile(1, v, v_stride, u, k, fetch, share, begin, m, m_stride);
        break;
    default:
        break;
    }
}
