/* Writes the entries of sparse rows: csrc/conv_csr/csr.h describes them. */
#include "internal.h"

/* k_group: a constant wherever this is inlined, so that nothing is divided. */
SP_INLINE void fill(const int32_t *offset, const int32_t *slot, const void *value,
                    const int64_t *count, const int64_t *start, int segments, int k_group,
                    int32_t *entries)
{
    const int32_t *words = value;
    const int8_t *bytes = value;
    const int length = k_group + 1;
    for (int64_t segment = 0, i = 0; segment < segments; segment++) {
        int32_t *first = entries + start[segment] * length;
        for (int64_t at = 0; at < count[segment]; at++, i++) {
            const uint32_t own = slot ? (uint32_t)slot[i] : (uint32_t)at;
            const uint32_t group = (uint32_t)k_group, place = own % group;
            int32_t *entry = first + (size_t)(own / group) * (size_t)length;
            entry[place] = offset[i];
            if (k_group == 1)
                entry[1] = words[i];
            else /* the byte of a word of four; pairs stand in it twice */
                for (uint32_t byte = place; byte < 4; byte += group)
                    ((int8_t *)(entry + k_group))[byte] = bytes[i];
        }
    }
}

void sp_fill_csr(const int32_t *offset, const int32_t *slot, const void *value,
                 const int64_t *count, const int64_t *start, int segments, int k_group,
                 int32_t *entries)
{
    if (k_group == 1)
        fill(offset, slot, value, count, start, segments, 1, entries);
    else if (k_group == 2)
        fill(offset, slot, value, count, start, segments, 2, entries);
    else
        fill(offset, slot, value, count, start, segments, 4, entries);
}
