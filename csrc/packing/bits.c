/* Places values where the bits of a mask are set: the stored form of sparse weights. */
#include <string.h>

#include "internal.h"

/* The next 64 bits, or those that are left, the first one highest. */
static uint64_t next_bits(const uint8_t *mask, int64_t bytes)
{
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | (i < bytes ? mask[i] : 0);
    return bits;
}

/* `bytes`: of a value, a constant wherever this is inlined. */
SP_INLINE int64_t expand(const uint8_t *mask, int64_t size, const char *value, int64_t count,
                         size_t bytes, char *dense)
{
    int64_t used = 0;
    for (int64_t first = 0; first < size; first += 64) {
        uint64_t bits = next_bits(mask + first / 8, (size - first + 7) / 8);
        if (size - first < 64)
            bits &= ~(UINT64_MAX >> (size - first));
        if (used + __builtin_popcountll(bits) > count)
            return -1;
        for (; bits; used++) {
            const int i = __builtin_clzll(bits);
            memcpy(dense + (size_t)(first + i) * bytes, value + (size_t)used * bytes, bytes);
            bits &= ~(UINT64_C(1) << 63 >> i);
        }
    }
    return used;
}

int64_t sp_expand_bits(const uint8_t *mask, int64_t size, const void *value, int64_t count,
                       int bytes, void *dense)
{
    switch (bytes) {
    case 1:
        return expand(mask, size, value, count, 1, dense);
    case 2:
        return expand(mask, size, value, count, 2, dense);
    case 4:
        return expand(mask, size, value, count, 4, dense);
    case 8:
        return expand(mask, size, value, count, 8, dense);
    default:
        return -1;
    }
}
