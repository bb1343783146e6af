/* Places values where the bits of a mask are set: the stored form of sparse weights. */
#include <string.h>

#include "internal.h"

/* The next 64 bits, or those that are left, the first one lowest. */
SP_INLINE uint64_t next_bits(const uint8_t *mask, int64_t bytes)
{
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits |= (uint64_t)(i < bytes ? mask[i] : 0) << 8 * i;
    return bits;
}

/* Each byte's bits the other way round. */
static uint64_t reverse_bytes(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x5555555555555555), twos = UINT64_C(0x3333333333333333);
    const uint64_t fours = UINT64_C(0x0f0f0f0f0f0f0f0f);
    x = (x >> 1 & ones) | (x & ones) << 1;
    x = (x >> 2 & twos) | (x & twos) << 2;
    return (x >> 4 & fours) | (x & fours) << 4;
}

/* `bytes`: of a value, a constant wherever this is inlined. */
SP_INLINE int64_t expand(const uint8_t *mask, int64_t size, const char *value, int64_t count,
                         size_t bytes, char *dense)
{
    int64_t used = 0;
    for (int64_t first = 0; first < size; first += 64) {
        const uint8_t *from = mask + first / 8;
        const int64_t left = size - first;
        uint64_t bits =
            reverse_bytes(left < 64 ? next_bits(from, (left + 7) / 8) : next_bits(from, 8));
        if (left < 64)
            bits &= ~(UINT64_MAX << left);
        if (count - used < 64 && used + __builtin_popcountll(bits) > count)
            return -1;
        for (; bits; bits &= bits - 1, used++) {
            const int i = __builtin_ctzll(bits);
            memcpy(dense + (size_t)(first + i) * bytes, value + (size_t)used * bytes, bytes);
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
