/* The order of sparse rows: panel by panel, within one by blocks of input channels. There, rows of
 * one length follow each other, the longest ones first: branch prediction learns when their loops
 * end. */
#include <string.h>

#include "internal.h"

/* What is known of segments, and the memory that ordering them takes. */
struct ordering {
    const sp_csr_rows *rows;
    int64_t *first; /* [panels][blocks + 1]: where those of a panel and block begin, in all */
    int64_t *place; /* [longest + 2], by steps */
    int32_t *order; /* [rows], of a block */
};

static struct ordering divide_memory(const sp_csr_rows *r, int64_t *scratch)
{
    int64_t *place = scratch + (int64_t)r->panels * (r->blocks + 1);
    return (struct ordering){r, scratch, place, (int32_t *)(place + r->longest + 2)};
}

/* order: the rows of a block by falling steps, equal ones as they come. */
static void sort_falling(const struct ordering *o, const int64_t *steps)
{
    const int rows = o->rows->rows;
    const int64_t longest = o->rows->longest;
    memset(o->place, 0, (size_t)(longest + 2) * sizeof *o->place);
    for (int row = 0; row < rows; row++)
        o->place[longest - steps[row] + 1]++;
    for (int64_t i = 0; i < longest; i++)
        o->place[i + 1] += o->place[i];
    for (int row = 0; row < rows; row++)
        o->order[o->place[longest - steps[row]]++] = row;
}

static void count_rows(const struct ordering *o)
{
    const sp_csr_rows *r = o->rows;
    const int blocks = r->blocks;
    memset(o->first, 0, (size_t)r->panels * (size_t)(blocks + 1) * sizeof *o->first);
    for (int row = 0; row < r->rows; row++)
        o->first[r->panel[row] * (blocks + 1)]++;
    int64_t before = 0;
    for (int panel = 0; panel < r->panels; panel++) {
        int64_t *first = o->first + (int64_t)panel * (blocks + 1);
        const int64_t rows = first[0];
        for (int block = 0; block <= blocks; block++)
            first[block] = before + block * rows;
        before = first[blocks];
    }
}

static int64_t parts_of(int64_t steps, int64_t limit)
{
    return SP_MAX((steps + limit - 1) / limit, 1);
}

int64_t sp_count_csr_segments(const int64_t *steps, int64_t count, int64_t limit)
{
    int64_t segments = 0;
    for (int64_t i = 0; i < count; i++)
        segments += parts_of(steps[i], limit);
    return segments;
}

/* Appends the segments of a row in a block. */
static sp_csr_segment *append(sp_csr_segment *to, int row, int block, const sp_csr_rows *r)
{
    const int64_t steps = r->steps[(int64_t)block * r->rows + row];
    const int64_t parts = parts_of(steps, r->limit);
    for (int64_t part = 0; part < parts; part++)
        *to++ = (sp_csr_segment){
            .row = row,
            .steps = (int)SP_MIN(steps - part * r->limit, r->limit),
            .first = block == 0 && part == 0,
            .last = block == r->blocks - 1 && part == parts - 1,
        };
    return to;
}

void sp_order_csr(const sp_csr_rows *r, int64_t *scratch, int32_t *ordered, int64_t *start,
                  sp_csr_segment *segments, int32_t *part_segment, int64_t *part_start)
{
    const struct ordering o = divide_memory(r, scratch);
    count_rows(&o);
    for (int block = 0; block < r->blocks; block++) {
        sort_falling(&o, r->steps + (int64_t)block * r->rows);
        for (int i = 0; i < r->rows; i++) {
            int64_t *next = &o.first[r->panel[o.order[i]] * (r->blocks + 1) + block];
            ordered[(*next)++] = o.order[i];
        }
    }
    /* Each beginning has moved to the end. */
    sp_csr_segment *to = segments;
    int64_t done = 0, i = 0;
    for (int panel = 0; panel < r->panels; panel++)
        for (int block = 0; block < r->blocks; block++) {
            if (block < r->parts) {
                *part_segment++ = (int32_t)(to - segments);
                *part_start++ = done;
            }
            for (; i < o.first[(int64_t)panel * (r->blocks + 1) + block]; i++) {
                const int64_t own = (int64_t)block * r->rows + ordered[i];
                start[own] = done;
                done += r->steps[own];
                to = append(to, ordered[i], block, r);
            }
        }
    *part_segment = (int32_t)(to - segments);
}
