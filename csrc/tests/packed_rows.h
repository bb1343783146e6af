/* Packed rows of sparse convolutions, made in the simplest way. */
#ifndef SPARING_PACKED_ROWS_H
#define SPARING_PACKED_ROWS_H

#include <stdlib.h>
#include <string.h>

#include "checks.h"

enum { SLABS = -1 /* for a source of lanes: slabs, of float32 */ };

static int64_t tap_offset(const sp_conv_shape *s, const sp_csr_lanes *l, int tap)
{
    const int y = tap / s->kernel_w * s->dilation_h, x = tap % s->kernel_w * s->dilation_w;
    if (l->source == SLABS)
        return tap * SP_SLAB_WIDTH;
    if (l->source != SP_CSR_PLANES)
        return 0;
    return (int64_t)(y % s->stride_h * l->phases_w + x % s->stride_w) * l->phase_lanes +
           y / s->stride_h * l->row_width + x / s->stride_w;
}

/* Packed rows. Each row is cut into two segments where `split`, by input channels, which are parts
 * where weights are float; a segment has whole windows. */
struct packed {
    sp_csr_matrix matrix;
    int32_t part_segment[3];
    int64_t part_byte[2];
    sp_csr_segment *segments;
    int32_t *entries;
};

static void put_entry(int32_t *entry, int slot, int k_group, int64_t offset, const void *weight,
                      int bytes)
{
    entry[slot] = (int32_t)offset;
    if (k_group == 1 && bytes == 1)
        entry[1] = *(const int8_t *)weight;
    else if (k_group == 1)
        memcpy(&entry[1], weight, 4);
    else /* pairs stand twice in their word */
        for (int i = slot; i < 4; i += k_group)
            ((int8_t *)&entry[k_group])[i] = *(const int8_t *)weight;
}

/* w: [O][taps][C / groups], of `bytes` bytes: int8 or float. */
static struct packed *pack_rows(const sp_conv_shape *s, const sp_csr_lanes *l, const void *w,
                                int bytes, int k_group, int window, int split)
{
    const int each = s->in_c / s->groups, columns = s->out_c / s->groups;
    const int k = s->kernel_h * s->kernel_w * each, parts = split && s->in_c > 1 ? 2 : 1;
    const int channel_block = (s->in_c + parts - 1) / parts, apart = bytes == 4;
    const int most = (k + k_group * window) * s->out_c * parts; /* entries */
    struct packed *p = allocate(sizeof *p);
    p->segments = allocate((size_t)(s->out_c * parts) * sizeof *p->segments);
    int32_t *entries = allocate((size_t)(most * (k_group + 1)) * 4);
    int done = 0, segment = 0;
    for (int part = 0; part < parts; part++) {
        p->part_byte[apart ? part : 0] = apart ? (int64_t)done * (k_group + 1) * 4 : 0;
        for (int o = 0; o < s->out_c; o++) {
            int count = 0;
            for (int i = 0; i < k; i++) {
                static const char zero[4];
                const char *weight = (const char *)w + (size_t)(o * k + i) * (size_t)bytes;
                const int channel = o / columns * each + i % each - part * channel_block;
                if (memcmp(weight, zero, (size_t)bytes) == 0 || channel < 0 ||
                    channel >= channel_block)
                    continue;
                int64_t offset = (int64_t)channel * l->channel_lanes + tap_offset(s, l, i / each);
                if (!apart)
                    offset += (int64_t)part * channel_block * l->channel_lanes;
                put_entry(entries + (done + count / k_group) * (k_group + 1), count % k_group,
                          k_group, offset, weight, bytes);
                count++;
            }
            const int steps = SP_ROUND_UP((count + k_group - 1) / k_group, window);
            p->segments[segment++] = (sp_csr_segment){o, steps, part == 0, part == parts - 1};
            done += steps;
        }
        p->part_segment[apart ? part + 1 : 1] = segment;
    }
    p->entries = allocate((size_t)(done * (k_group + 1)) * 4); /* of its exact size */
    memcpy(p->entries, entries, (size_t)(done * (k_group + 1)) * 4);
    free(entries);
    p->matrix = (sp_csr_matrix){1,
                                parts > 1,
                                apart ? parts : 1,
                                apart ? channel_block : s->in_c,
                                p->part_segment,
                                p->part_byte,
                                p->segments,
                                p->entries};
    return p;
}

static void free_packed(struct packed *p) { free(p->segments), free(p->entries), free(p); }

#endif
