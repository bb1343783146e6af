/* The inner loops for the compiler's default target. */
#define SP_LOOPS sp_loops_portable
#include "loops_body.h"
