/* The float loops for the compiler's default target. */
#define SP_FLOAT_LOOPS sp_float_loops_portable
#include "float_loops_body.h"
