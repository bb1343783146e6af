/* The loops of dynamic quantization for any CPU. */
#define SP_DYNAMIC_LOOPS sp_dynamic_loops_portable
#include "loops_body.h"
