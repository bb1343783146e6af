/* Writes the entries of sparse rows: csrc/conv_csr/csr.h describes them. */
#include <string.h>

#include "internal.h"

/* The byte of a pair's word, or of a word of four, that a value stands in; pairs stand twice. */
static void put_value(int8_t *word, int place, int k_group, int8_t value)
{
    for (int i = place; i < 4; i += k_group)
        word[i] = value;
}

void sp_fill_csr(const int32_t *offset, const int64_t *slot, const void *value,
                 const int64_t *count, const int64_t *start, int segments, int k_group,
                 int32_t *entries)
{
    const int32_t *words = value;
    const int8_t *bytes = value;
    const int length = k_group + 1;
    for (int64_t segment = 0, i = 0; segment < segments; segment++) {
        int32_t *first = entries + start[segment] * length;
        for (int64_t at = 0; at < count[segment]; at++, i++) {
            const int64_t own = slot ? slot[i] : at;
            const int place = (int)(own % k_group);
            int32_t *entry = first + own / k_group * length;
            entry[place] = offset[i];
            if (k_group == 1)
                memcpy(entry + 1, &words[i], sizeof *words);
            else
                put_value((int8_t *)(entry + k_group), place, k_group, bytes[i]);
        }
    }
}
