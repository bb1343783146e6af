/* Packs weights for the window kernels: proves for each window that its sums cannot leave int16,
 * and looks for as few windows as can hold all quads.
 *
 * With activations in [0, x_max], the sum of any products of one int16 lane lies between x_max
 * times the sum of the negative weights and x_max times that of the positive ones, in whatever
 * order they are added. Any quads of a chunk may share a window, so that this is vector bin
 * packing: the quads with the largest sums come first, and each goes where there is room first
 * (First Fit Decreasing; Panigrahy et al., Heuristics for Vector Bin Packing, 2011). */
#include "windows.h"

#include <string.h>

enum {
    LANES = 2 * SP_WINDOW_COLUMNS,
    QUAD_BYTES = 4 * SP_WINDOW_COLUMNS,
    LARGEST_SUM = 2 * 128 /* of a lane of one quad */
};
enum { VECTORS = SP_WINDOW_COLUMNS / SP_VECTOR_COLUMNS, VECTOR_LANES = LANES / VECTORS };

/* Time of a window by its quads: of the AVX2 kernel on two rows and 32 columns, in 1/100 ns on a
 * Zen 3 core; and what a vector in int16 adds to a single quad. Only the ratios count. */
static const int window_time[SP_LARGEST_WINDOW + 1] = {0,   256,  406,  559, 717,
                                                       878, 1041, 1204, 1367};
enum { VECTOR_TIME = 20 };

/* Of each lane the sum of its positive weights, and of its negated negative ones: at most 2 * 8 *
 * 128 in a window. */
typedef int16_t lane_sums[2 * LANES];

/* Sums, and the lane of the largest: in windows of the largest that a quad brought along. */
struct lanes {
    lane_sums sums;
    int top;
};

struct window {
    int kind, quads; /* kind: of struct sp_window_run */
    uint8_t place[SP_LARGEST_WINDOW];
    struct lanes lanes;
};

/* Part of a panel while it is packed. */
struct chunk {
    int quads, width; /* width: of the panel, in columns */
    int8_t weights[SP_CHUNK_QUADS][QUAD_BYTES];
    struct lanes quad[SP_CHUNK_QUADS];
    uint8_t order[SP_CHUNK_QUADS]; /* quads, those with the largest sums first */
    int windows, time;
    struct window window[SP_CHUNK_QUADS];
};

static int divide_up(int a, int b) { return (a + b - 1) / b; }

static int quads_of(int k) { return SP_MAX(divide_up(k, 4), 1); }

int64_t sp_window_bytes(int columns, int k)
{
    const int64_t quads = quads_of(k), panels = divide_up(columns, SP_WINDOW_COLUMNS);
    const int64_t header = SP_ROUND_UP(
        sizeof(struct sp_window_chunk) + SP_CHUNK_QUADS * (sizeof(struct sp_window_run) + 1), 64);
    return panels * divide_up((int)quads, SP_CHUNK_QUADS) * header +
           SP_ROUND_UP(columns, SP_COLUMN_GROUP) * quads * 8;
}

/* w: the panel's first row, at the chunk's first quad; k: what is left of a row from there. */
static void load_chunk(struct chunk *c, const int8_t *w, size_t row_bytes, int columns, int k)
{
    memset(c->weights, 0, (size_t)c->quads * QUAD_BYTES);
    for (int column = 0; column < columns; column++, w += row_bytes)
        for (int q = 0; q < c->quads; q++)
            if (4 * q + 4 <= k)
                memcpy(&c->weights[q][4 * column], w + 4 * q, 4);
            else
                memcpy(&c->weights[q][4 * column], w + 4 * q, (size_t)(k - 4 * q));
}

static int largest_of(const struct lanes *l) { return l->sums[l->top]; }

/* One comparison finds sum and lane together. */
static void find_top(struct lanes *l)
{
    int16_t largest = INT16_MIN;
    for (int i = 0; i < 2 * LANES; i++) {
        const int16_t key = (int16_t)(l->sums[i] * 2 * LANES + i + INT16_MIN);
        largest = SP_MAX(largest, key);
    }
    l->top = (largest - INT16_MIN) % (2 * LANES);
}

static void sum_lanes(struct chunk *c)
{
    for (int q = 0; q < c->quads; q++) {
        int16_t *sums = c->quad[q].sums;
        for (int i = 0; i < LANES; i++) {
            const int16_t a = c->weights[q][2 * i], b = c->weights[q][2 * i + 1];
            sums[i] = (int16_t)(SP_MAX(a, 0) + SP_MAX(b, 0));
            sums[LANES + i] = (int16_t)(-SP_MIN(a, 0) - SP_MIN(b, 0));
        }
        find_top(&c->quad[q]);
    }
}

static void order_quads(struct chunk *c)
{
    int larger[LARGEST_SUM + 2] = {0}; /* quads whose largest sum is at least so much */
    for (int q = 0; q < c->quads; q++)
        larger[largest_of(&c->quad[q])]++;
    for (int sum = LARGEST_SUM; sum >= 0; sum--)
        larger[sum] += larger[sum + 1];
    for (int q = 0; q < c->quads; q++)
        c->order[larger[largest_of(&c->quad[q]) + 1]++] = (uint8_t)q;
}

/* Whether a window has room for one more quad. */
static int fits(const struct lanes *restrict window, const struct lanes *restrict quad,
                int16_t limit)
{
    int16_t exceeds = 0;
    /* The likeliest lanes first. */
    if (window->sums[quad->top] + quad->sums[quad->top] > limit ||
        window->sums[window->top] + quad->sums[window->top] > limit)
        return 0;
    for (int i = 0; i < 2 * LANES; i++) {
        const int16_t sum = (int16_t)(window->sums[i] + quad->sums[i]);
        exceeds |= sum > limit ? -1 : 0;
    }
    return !exceeds;
}

/* The vectors of a quad that must be multiplied in int16. */
static int find_mask(const int16_t *sums, int limit)
{
    int mask = 0;
    for (int i = 0; i < 2 * LANES; i++)
        if (sums[i] > limit)
            mask |= 1 << (i % LANES / VECTOR_LANES);
    return mask;
}

static int count_vectors(int mask)
{
    return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1);
}

static int vectors_of(const struct chunk *c) { return c->width / SP_VECTOR_COLUMNS; }

/* The first window that has room for a quad; a new one if none has. */
static struct window *find_window(struct chunk *c, const struct lanes *quad, int16_t limit)
{
    for (struct window *w = c->window; w < c->window + c->windows; w++)
        if (w->kind <= SP_SINGLE && w->quads < SP_LARGEST_WINDOW && fits(&w->lanes, quad, limit))
            return w;
    struct window *w = &c->window[c->windows++];
    memset(w, 0, sizeof *w);
    return w;
}

static void choose_windows(struct chunk *c, int x_max)
{
    const int16_t limit = (int16_t)(INT16_MAX / SP_MAX(x_max, 1));
    c->windows = c->time = 0;
    order_quads(c);
    for (int i = 0; i < c->quads; i++) {
        const uint8_t quad = c->order[i];
        const struct lanes *lanes = &c->quad[quad];
        struct window *w;
        if (largest_of(lanes) > limit) {
            w = &c->window[c->windows++];
            *w = (struct window){.kind = SP_SINGLE + find_mask(lanes->sums, limit)};
        } else {
            w = find_window(c, lanes, limit);
            w->kind = w->quads == 0 ? SP_SINGLE : w->quads + 1;
        }
        w->place[w->quads++] = quad;
        for (int lane = 0; lane < 2 * LANES; lane++)
            w->lanes.sums[lane] = (int16_t)(w->lanes.sums[lane] + lanes->sums[lane]);
        if (w->lanes.sums[lanes->top] > largest_of(&w->lanes))
            w->lanes.top = lanes->top;
    }
    const int vector_time = VECTOR_TIME * VECTORS / vectors_of(c);
    for (const struct window *w = c->window; w < c->window + c->windows; w++) {
        const int mask = SP_MAX(w->kind - SP_SINGLE, 0);
        c->time += window_time[w->quads] + vector_time * count_vectors(mask);
    }
}

/* The chosen windows, those of a kind together. Places are written behind the runs. */
static void store_runs(const struct chunk *c, struct sp_window_chunk *header)
{
    uint8_t places[SP_CHUNK_QUADS];
    int quads = 0;
    header->runs = 0;
    for (int kind = 2; kind < SP_SINGLE + (1 << VECTORS); kind++) {
        int windows = 0;
        for (const struct window *w = c->window; w < c->window + c->windows; w++)
            if (w->kind == kind) {
                memcpy(places + quads, w->place, (size_t)w->quads);
                quads += w->quads, windows++;
            }
        if (windows > 0)
            header->run[header->runs++] = (struct sp_window_run){(uint8_t)kind, (uint8_t)windows};
    }
    memcpy(header->run + header->runs, places, (size_t)quads);
    const size_t used = (size_t)((char *)(header->run + header->runs) - (char *)header);
    header->weights = (int32_t)SP_ROUND_UP(used + (size_t)quads, 64);
}

static char *store_quad(const struct chunk *c, int quad, int mask, char *to)
{
    for (int j = 0; j < vectors_of(c); j++) {
        const int8_t *w = &c->weights[quad][4 * SP_VECTOR_COLUMNS * j];
        if (mask >> j & 1) {
            int16_t wide[4 * SP_VECTOR_COLUMNS];
            for (int i = 0; i < 4 * SP_VECTOR_COLUMNS; i++)
                wide[i] = w[2 * (i % (2 * SP_VECTOR_COLUMNS)) + i / (2 * SP_VECTOR_COLUMNS)];
            memcpy(to, wide, sizeof wide);
            to += sizeof wide;
        } else {
            memcpy(to, w, 4 * SP_VECTOR_COLUMNS);
            to += 4 * SP_VECTOR_COLUMNS;
        }
    }
    return to;
}

/* Adds to what a run's windows use, in vectors. */
static void count_use(const struct chunk *c, struct sp_window_run run, sp_window_use *use)
{
    if (run.kind < SP_SINGLE) {
        use->vectors[run.kind] += run.count * run.kind * vectors_of(c);
    } else {
        const int exact = count_vectors(run.kind - SP_SINGLE);
        use->vectors[0] += run.count * exact;
        use->vectors[1] += run.count * (vectors_of(c) - exact);
    }
}

/* Stores the chunk; returns its bytes. */
static int32_t store_chunk(const struct chunk *c, char *to, sp_window_use *use)
{
    struct sp_window_chunk *header = (struct sp_window_chunk *)to;
    header->quads = (int16_t)c->quads;
    store_runs(c, header);
    const uint8_t *place = sp_window_places(header);
    char *weights = to + header->weights;
    for (int i = 0; i < header->runs; i++) {
        const struct sp_window_run run = header->run[i];
        count_use(c, run, use);
        const int mask = SP_MAX(run.kind - SP_SINGLE, 0);
        for (int quads = run.count * sp_window_quads(run.kind); quads > 0; quads--)
            weights = store_quad(c, *place++, mask, weights);
    }
    return (int32_t)(SP_ROUND_UP(weights - to, 64));
}

static int64_t pack_group(const int8_t *w, int columns, int k, int x_max, char *packed, int64_t at,
                          int64_t *panel_start, sp_window_use *use)
{
    const int quads = quads_of(k), chunks = divide_up(quads, SP_CHUNK_QUADS);
    const int panels = divide_up(columns, SP_WINDOW_COLUMNS);
    struct chunk c;
    for (int panel = 0; panel < panels; panel++) {
        const int first = panel * SP_WINDOW_COLUMNS;
        const int count = SP_MIN(columns - first, SP_WINDOW_COLUMNS);
        c.width = SP_ROUND_UP(count, SP_VECTOR_COLUMNS);
        panel_start[panel] = at;
        for (int i = 0; i < chunks; i++) {
            const int begin = quads * i / chunks;
            c.quads = quads * (i + 1) / chunks - begin;
            load_chunk(&c, w + (size_t)first * (size_t)k + 4 * begin, (size_t)k, count,
                       k - 4 * begin);
            sum_lanes(&c);
            choose_windows(&c, x_max);
            struct sp_window_chunk *header = (struct sp_window_chunk *)(packed + at);
            const int32_t bytes = store_chunk(&c, packed + at, use);
            header->next = i + 1 < chunks ? bytes : 0;
            use->nanoseconds += 0.01 * c.time * c.width / SP_WINDOW_COLUMNS;
            at += bytes;
        }
    }
    return at;
}

int64_t sp_pack_windows(const int8_t *w, int groups, int columns, int k, int x_max, void *packed,
                        int64_t *panel_start, sp_window_use *use)
{
    const int panels = divide_up(columns, SP_WINDOW_COLUMNS);
    int64_t at = 0;
    for (int group = 0; group < groups; group++) {
        at = pack_group(w, columns, k, x_max, packed, at, panel_start, use);
        w += (size_t)columns * (size_t)k;
        panel_start += panels;
    }
    return at;
}
