/* The image loops for AVX2. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX2

#define SP_IMAGE_LOOPS sp_image_loops_avx2
#include "image_loops_body.h"

SP_TARGET_END
#endif
