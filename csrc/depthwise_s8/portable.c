/* Depthwise micro-kernel in plain C, for any CPU: 16 channels at once, int16 weights. */
#include <string.h>

#include "internal.h"

typedef struct {
    uint32_t lane[16];
} totals;

SP_INLINE void clear_totals(totals *t) { *t = (totals){{0}}; }

SP_INLINE void add_tap(totals *t, const uint8_t *x, const int16_t *w, int count)
{
    for (int i = 0; i < count; i++)
        t->lane[i] += (uint32_t)(x[i] * w[i]); /* the product fits int32, the sum may wrap */
}

SP_INLINE void store_totals(const totals *t, int32_t *sum) { memcpy(sum, t, sizeof *t); }

#include "pixels.h"

sp_depthwise_s8_fn sp_depthwise_s8_16_portable;

void sp_depthwise_s8_16_portable(const struct sp_depthwise_run *run)
{
    any_strip(run, SP_ISA_PORTABLE);
}
