/* The epilogue for the compiler's default target. */
#define SP_EPILOGUE sp_epilogue_rows_portable
#include "rows_body.h"
