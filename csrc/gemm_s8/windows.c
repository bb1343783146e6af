/* Packs weights for the window kernels: proves for each window that its sums cannot leave int16,
 * and chooses the fastest sequence of windows.
 *
 * With activations in [0, x_max], the sum of any products of one int16 lane lies between x_max
 * times the sum of the negative weights and x_max times that of the positive ones, in whatever
 * order they are added. Quads are taken in the order of k, and the cheapest sequence is a shortest
 * path. */
#include "windows.h"

#include <string.h>

enum { LANES = 2 * SP_WINDOW_COLUMNS, QUAD_BYTES = 4 * SP_WINDOW_COLUMNS };

/* Window sizes in quads, and the time of one: of the AVX2 kernel on two rows and 32 columns, in
 * 1/100 ns on a Zen 4 core; and what a vector in int16 adds to a single quad. Only the ratios
 * count. */
static const struct {
    int quads, time;
} sizes[] = {{2, 361}, {3, 510}, {4, 644}, {6, 920}, {8, 1205}};
enum { SIZES = sizeof sizes / sizeof sizes[0], SINGLE_TIME = 227, VECTOR_TIME = 18 };
enum { VECTORS = SP_WINDOW_COLUMNS / SP_VECTOR_COLUMNS, VECTOR_LANES = LANES / VECTORS };

/* Part of a panel while it is packed. */
struct chunk {
    int quads, width; /* width: of the panel, in columns */
    int8_t weights[SP_CHUNK_QUADS][QUAD_BYTES];
    /* Of each lane, the sums of the positive and of the negated negative weights before a quad,
     * modulo 2^16. */
    uint16_t before[SP_CHUNK_QUADS + 1][2 * LANES];
    /* The cheapest sequence that ends before a quad, and the kind of its last window. */
    int time[SP_CHUNK_QUADS + 1];
    uint8_t last[SP_CHUNK_QUADS + 1];
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

static void sum_lanes(struct chunk *c)
{
    memset(c->before[0], 0, sizeof c->before[0]);
    for (int q = 0; q < c->quads; q++) {
        const uint16_t *from = c->before[q];
        uint16_t *to = c->before[q + 1];
        for (int i = 0; i < LANES; i++) {
            const int16_t a = c->weights[q][2 * i], b = c->weights[q][2 * i + 1];
            to[i] = (uint16_t)(from[i] + SP_MAX(a, 0) + SP_MAX(b, 0));
            to[LANES + i] = (uint16_t)(from[LANES + i] - SP_MIN(a, 0) - SP_MIN(b, 0));
        }
    }
}

/* The largest magnitude of weights of one sign that a window adds up in a lane: at most 2 * 8 *
 * 128, so that sums modulo 2^16 tell it. */
static int largest_sum(const struct chunk *c, int first, int end)
{
    int16_t largest = 0;
    for (int i = 0; i < 2 * LANES; i++) {
        const int16_t sum = (int16_t)(c->before[end][i] - c->before[first][i]);
        largest = SP_MAX(largest, sum);
    }
    return largest;
}

/* The vectors of a quad that must be multiplied in int16. */
static int find_mask(const struct chunk *c, int quad, int limit)
{
    int mask = 0;
    for (int i = 0; i < 2 * LANES; i++)
        if ((int16_t)(c->before[quad + 1][i] - c->before[quad][i]) > limit)
            mask |= 1 << (i % LANES / VECTOR_LANES);
    return mask;
}

static int count_vectors(int mask)
{
    return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1);
}

static int vectors_of(const struct chunk *c) { return c->width / SP_VECTOR_COLUMNS; }

static void choose_windows(struct chunk *c, int x_max)
{
    const int limit = INT16_MAX / SP_MAX(x_max, 1);
    const int vector_time = VECTOR_TIME * VECTORS / vectors_of(c);
    c->time[0] = 0;
    for (int end = 1; end <= c->quads; end++) {
        const int safe = largest_sum(c, end - 1, end) <= limit;
        const int mask = safe ? 0 : find_mask(c, end - 1, limit);
        c->time[end] = c->time[end - 1] + SINGLE_TIME + vector_time * count_vectors(mask);
        c->last[end] = (uint8_t)(SP_SINGLE + mask);
        for (int i = 0; safe && i < SIZES && sizes[i].quads <= end; i++) {
            const int first = end - sizes[i].quads;
            if (largest_sum(c, first, end) > limit)
                break; /* and so would any longer one */
            if (c->time[first] + sizes[i].time < c->time[end]) {
                c->time[end] = c->time[first] + sizes[i].time;
                c->last[end] = (uint8_t)sizes[i].quads;
            }
        }
    }
}

static int quads_of_kind(int kind) { return kind >= SP_SINGLE ? 1 : kind; }

/* The chosen windows, those of a kind together. Places are written behind the runs. */
static void store_runs(const struct chunk *c, struct sp_window_chunk *header)
{
    uint8_t places[SP_CHUNK_QUADS];
    int windows = 0;
    header->runs = 0;
    for (int kind = 2; kind < SP_SINGLE + (1 << VECTORS); kind++) {
        const int before = windows;
        for (int end = c->quads; end > 0; end -= quads_of_kind(c->last[end]))
            if (c->last[end] == kind)
                places[windows++] = (uint8_t)(end - quads_of_kind(kind));
        if (windows > before)
            header->run[header->runs++] =
                (struct sp_window_run){(uint8_t)kind, (uint8_t)(windows - before)};
    }
    memcpy(header->run + header->runs, places, (size_t)windows);
    const size_t used = (size_t)((char *)(header->run + header->runs) - (char *)header);
    header->weights = (int32_t)SP_ROUND_UP(used + (size_t)windows, 64);
}

static char *store_single(const struct chunk *c, int quad, int mask, char *to)
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
        for (int n = 0; n < run.count; n++, place++) {
            if (run.kind >= SP_SINGLE)
                weights = store_single(c, *place, run.kind - SP_SINGLE, weights);
            for (int q = 0; run.kind < SP_SINGLE && q < run.kind; q++) {
                memcpy(weights, c->weights[*place + q], (size_t)(4 * c->width));
                weights += 4 * c->width;
            }
        }
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
            use->nanoseconds += 0.01 * c.time[c.quads] * c.width / SP_WINDOW_COLUMNS;
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
