/* Memory for outliers. */
#include "outliers.h"

enum { VECTOR_QUADS = 8, MANY = 50 /* per cent of all quads: as fast in int16 */ };

static int most_listed(int rows, int k) { return (int)((int64_t)rows * (k / 4) * MANY / 100); }

/* Of one array of a list. Below `lowest` = 0 there is nothing. */
static size_t list_bytes(int rows, int k, int lowest)
{
    const int of_part = SP_ROUND_UP(k / 4, SP_OUTLIERS_TOGETHER);
    const int of_row = lowest > 0 ? 2 * of_part : of_part;
    const int most = most_listed(rows, k) + of_row + VECTOR_QUADS; /* whole vectors are stored */
    return (size_t)most * sizeof(int32_t);
}

size_t sp_outlier_bytes(int rows, int k, int lowest)
{
    const size_t first = (2 * (size_t)rows + 1) * sizeof(int32_t);
    return 2 * list_bytes(rows, k, lowest) + first;
}

struct sp_outliers sp_divide_outliers(void *memory, int rows, int k, int lowest)
{
    struct sp_outliers o = {.quad = memory, .k = k, .lowest = lowest, .most = most_listed(rows, k)};
    o.rest = (uint32_t *)((char *)memory + list_bytes(rows, k, lowest));
    o.first = (int32_t *)((char *)o.rest + list_bytes(rows, k, lowest));
    return o;
}
