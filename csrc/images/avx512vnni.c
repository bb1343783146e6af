/* The image loops for AVX-512. */
#include "target.h"

#ifdef SP_X86
SP_TARGET_AVX512VNNI

#define SP_IMAGE_LOOPS sp_image_loops_avx512vnni
#include "image_loops_body.h"

SP_TARGET_END
#endif
