/* Micro-kernel of 1x4 blocks with vpdpbusd, exact for all values: one instruction adds a block's
 * four products for each pixel. The file that includes this compiles it for its instruction set,
 * and defines `vector` (of LANES pixels), load, zero, all, dot and store. */
#include "conv_csr/finish_s8.h"

static void copy_order(uint8_t *to, const uint8_t *from, int n) { memcpy(to, from, (size_t)n); }

SP_INLINE void add_block(const uint8_t *x, const struct sp_csr_single *entry, int vectors,
                         vector *acc)
{
    const uint8_t *lanes = x + 4 * (size_t)entry->offset;
    const vector weights = all(entry->weight);
    __builtin_prefetch((const char *)entry + SP_CSR_AHEAD);
    SP_UNROLL for (int v = 0; v < vectors; v++) acc[v] =
        dot(acc[v], load(lanes + v * sizeof(vector)), weights);
}

/* Two chains of sums for each vector where registers allow: one alone would wait for itself. */
SP_INLINE void run(const struct sp_csr_work *work, int vectors, int chains,
                   sp_csr_requantize_fn *requantize)
{
    const struct sp_csr_single *entry = work->entries;
    struct finished f;
    f.count = 0;
    for (int s = 0; s < work->segments; s++) {
        const sp_csr_segment *segment = &work->segment[s];
        const struct sp_csr_single *end = entry + segment->steps;
        vector acc[8], other[8];
        SP_UNROLL for (int v = 0; v < vectors; v++) acc[v] = other[v] = zero();
        if (chains == 2)
            for (; entry + 1 < end; entry += 2) {
                add_block(work->x, entry, vectors, acc);
                add_block(work->x, entry + 1, vectors, other);
            }
        for (; entry < end; entry++)
            add_block(work->x, entry, vectors, acc);
        SP_UNROLL for (int v = 0; v < vectors; v++)
            store(f.sums[f.count] + v * LANES, chains == 2 ? add(acc[v], other[v]) : acc[v]);
        if (end_segment(work, segment, &f, LANES * vectors))
            finish_lanes(work, &f, LANES * vectors, copy_order, copy_order, requantize);
    }
    finish_lanes(work, &f, LANES * vectors, copy_order, copy_order, requantize);
}
