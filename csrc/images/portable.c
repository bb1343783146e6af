/* The image loops for the compiler's default target. */
#define SP_IMAGE_LOOPS sp_image_loops_portable
#include "image_loops_body.h"
