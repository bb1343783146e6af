#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2
#include "epilogue/vectors_avx2.h"

#include "requantize_vectors.h"

void sp_csr_requantize_avx2(const sp_epilogue *e, const struct finished *f,
                            const uint8_t (*residual)[SP_CSR_WIDTH], uint8_t (*y)[SP_CSR_WIDTH],
                            int n)
{
    requantize(e, f, residual, y, n);
}

SP_TARGET_END
#endif
