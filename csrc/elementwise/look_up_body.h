/* Look-ups by shuffles, which choose among 16 bytes by the low four bits of an index and give 0
 * where its highest bit is set. What an index finds in the table's sixteenths is added up from
 * differences: entry x is the exclusive or of those of the sixteenths 0 ... x / 16. Subtracting 16
 * from the index again and again, saturating at -128, sets its highest bit once its own sixteenth
 * has passed. As indices from 128 on have that bit from the start, the halves of the table go side
 * by side.
 *
 * The file that includes this defines `bytes`, a vector, and BYTES, its size; load_bytes,
 * store_bytes, load_some and store_some (fewer than BYTES, the others anything), all_bytes,
 * all_lanes (16 bytes, in each lane), shuffle, subtract and exclusive_or.
 */
#include "look_up.h"

enum { SIXTEENTHS = 16, HALF = 8 };

SP_INLINE void find_differences(const uint8_t *table, bytes *difference)
{
    SP_UNROLL for (int i = 0; i < SIXTEENTHS; i++)
    {
        difference[i] = all_lanes(table + 16 * i);
        if (i % HALF != 0)
            difference[i] = exclusive_or(difference[i], all_lanes(table + 16 * (i - 1)));
    }
}

SP_INLINE bytes look_up_bytes(const bytes *difference, bytes low)
{
    const bytes sixteen = all_bytes(16);
    bytes high = exclusive_or(low, all_bytes(128));
    bytes y = exclusive_or(shuffle(difference[0], low), shuffle(difference[HALF], high));
    SP_UNROLL for (int i = 1; i < HALF; i++)
    {
        low = subtract(low, sixteen);
        high = subtract(high, sixteen);
        y = exclusive_or(y, shuffle(difference[i], low));
        y = exclusive_or(y, shuffle(difference[HALF + i], high));
    }
    return y;
}

SP_INLINE void look_up_rows(const uint8_t *table, const struct sp_byte_rows *r)
{
    bytes difference[SIXTEENTHS];
    find_differences(table, difference);
    for (int64_t row = 0; row < r->rows; row++) {
        const uint8_t *x = r->x + (size_t)row * r->stride;
        uint8_t *y = r->y + (size_t)row * r->stride;
        int64_t i = 0;
        for (; i + BYTES <= r->n; i += BYTES)
            store_bytes(y + i, look_up_bytes(difference, load_bytes(x + i)));
        const int left = (int)(r->n - i);
        if (left > 0)
            store_some(y + i, look_up_bytes(difference, load_some(x + i, left)), left);
    }
}
