/* Memory for outliers. */
#include "outliers.h"

enum { VECTOR_QUADS = 8 };

/* Of one array of a list. */
static size_t list_bytes(int rows, int k)
{
    const int of_row = SP_ROUND_UP(k / 4, SP_OUTLIERS_TOGETHER);
    const size_t most = (size_t)rows * (size_t)of_row + VECTOR_QUADS; /* whole ones are stored */
    return most * sizeof(int32_t);
}

size_t sp_outlier_bytes(int rows, int k)
{
    return 2 * list_bytes(rows, k) + ((size_t)rows + 1) * sizeof(int32_t) + (size_t)(rows * k);
}

struct sp_outliers sp_divide_outliers(void *memory, int rows, int k)
{
    struct sp_outliers o = {.quad = memory, .k = k};
    o.rest = (uint32_t *)((char *)memory + list_bytes(rows, k));
    o.first = (int32_t *)((char *)o.rest + list_bytes(rows, k));
    o.rows = (uint8_t *)(o.first + rows + 1);
    o.end = (char *)o.rows + rows * k;
    return o;
}
