/* Memory for outliers. */
#include "outliers.h"

enum { VECTOR_QUADS = 8 };

/* Of one array of a list. Below `lowest` = 0 there is nothing. */
static size_t list_bytes(int rows, int k, int lowest)
{
    const int of_part = SP_ROUND_UP(k / 4, SP_OUTLIERS_TOGETHER);
    const size_t parts = (size_t)rows * (lowest > 0 ? 2 : 1);
    const size_t most = parts * (size_t)of_part + VECTOR_QUADS; /* whole vectors are stored */
    return most * sizeof(int32_t);
}

size_t sp_outlier_bytes(int rows, int k, int lowest)
{
    const size_t first = (2 * (size_t)rows + 1) * sizeof(int32_t);
    return 2 * list_bytes(rows, k, lowest) + first + ((size_t)rows + 1) * (size_t)k;
}

struct sp_outliers sp_divide_outliers(void *memory, int rows, int k, int lowest)
{
    struct sp_outliers o = {.quad = memory, .k = k, .lowest = lowest};
    o.rest = (uint32_t *)((char *)memory + list_bytes(rows, k, lowest));
    o.first = (int32_t *)((char *)o.rest + list_bytes(rows, k, lowest));
    o.rows = (uint8_t *)(o.first + 2 * rows + 1);
    o.end = (char *)o.rows + (rows + 1) * k;
    return o;
}
