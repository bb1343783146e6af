/* Packs weights for the window kernels: proves for each window that its sums cannot leave int16,
 * and looks for as few windows as can hold all quads.
 *
 * With activations in [0, x_max], the sum of any products of one int16 lane lies between x_max
 * times the sum of the negative weights and x_max times that of the positive ones, in whatever
 * order they are added. Any quads of a chunk may share a window, so that this is vector bin
 * packing: the quads with the largest sums come first, and each goes where there is room first
 * (First Fit Decreasing; Panigrahy et al., Heuristics for Vector Bin Packing, 2011). */
#include <string.h>

#include "window_steps.h"

/* Time of a window by its quads: of the AVX2 kernel on two rows and 32 columns, in 1/100 ns on a
 * Zen 3 core; and what a vector in int16 adds to a single quad. Only the ratios count. */
static const int window_time[SP_LARGEST_WINDOW + 1] = {0,   256,  406,  559, 717,
                                                       878, 1041, 1204, 1367};
enum { VECTOR_TIME = 20 };

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

static void order_quads(struct sp_chunk *c)
{
    int larger[SP_LARGEST_LANE + 2] = {0}; /* quads whose largest sum is at least so much */
    for (int q = 0; q < c->quads; q++)
        larger[c->largest[q]]++;
    for (int sum = SP_LARGEST_LANE; sum >= 0; sum--)
        larger[sum] += larger[sum + 1];
    for (int q = 0; q < c->quads; q++)
        c->order[larger[c->largest[q] + 1]++] = (uint8_t)q;
}

static int count_vectors(int mask)
{
    return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1);
}

static int vectors_of(const struct sp_chunk *c) { return c->width / SP_VECTOR_COLUMNS; }

/* A new window for one quad. */
static void start_window(struct sp_chunk *c, int quad, int kind)
{
    struct sp_window *w = &c->window[c->windows++];
    w->kind = kind, w->quads = 1, w->place[0] = (uint8_t)quad;
}

/* Adds a quad to the open window `at`. */
static void extend_window(struct sp_chunk *c, int at, int quad)
{
    struct sp_window *w = &c->window[c->opened[at]];
    w->place[w->quads++] = (uint8_t)quad;
    w->kind = w->quads;
    if (w->quads == SP_LARGEST_WINDOW)
        memmove(c->opened + at, c->opened + at + 1, (size_t)(--c->open - at));
}

static void choose_windows(struct sp_chunk *c, int16_t limit, const struct sp_window_steps *steps)
{
    c->windows = c->open = c->time = 0;
    order_quads(c);
    for (int i = 0; i < c->quads; i++) {
        const int quad = c->order[i];
        if (c->largest[quad] > limit) {
            start_window(c, quad, SP_SINGLE + steps->mask(c->sums[quad], limit));
            continue;
        }
        const int at = steps->find(c, quad, limit);
        if (at < c->open) {
            steps->add(c, c->opened[at], quad, 0);
            extend_window(c, at, quad);
        } else {
            steps->add(c, c->windows, quad, 1);
            c->opened[c->open++] = (uint8_t)c->windows;
            start_window(c, quad, SP_SINGLE);
        }
    }
    const int vector_time = VECTOR_TIME * SP_WINDOW_VECTORS / vectors_of(c);
    for (const struct sp_window *w = c->window; w < c->window + c->windows; w++) {
        const int mask = SP_MAX(w->kind - SP_SINGLE, 0);
        c->time += window_time[w->quads] + vector_time * count_vectors(mask);
    }
}

/* The chosen windows, those of a kind together. Places are written behind the runs. */
static void store_runs(const struct sp_chunk *c, struct sp_window_chunk *header)
{
    enum { KINDS = SP_SINGLE + (1 << SP_WINDOW_VECTORS) };
    uint8_t windows[KINDS] = {0}, places[SP_CHUNK_QUADS], *place[KINDS], *next = places;
    for (const struct sp_window *w = c->window; w < c->window + c->windows; w++)
        windows[w->kind]++;
    header->runs = 0;
    for (int kind = 2; kind < KINDS; kind++) {
        place[kind] = next;
        next += windows[kind] * sp_window_quads(kind);
        if (windows[kind] > 0)
            header->run[header->runs++] = (struct sp_window_run){(uint8_t)kind, windows[kind]};
    }
    for (const struct sp_window *w = c->window; w < c->window + c->windows; w++) {
        memcpy(place[w->kind], w->place, (size_t)w->quads);
        place[w->kind] += w->quads;
    }
    const size_t quads = (size_t)(next - places);
    memcpy(header->run + header->runs, places, quads);
    const size_t used = (size_t)((char *)(header->run + header->runs) - (char *)header);
    header->weights = (int32_t)SP_ROUND_UP(used + quads, 64);
}

static char *store_quad(const struct sp_chunk *c, int quad, int mask, char *to)
{
    for (int j = 0; j < vectors_of(c); j++) {
        const int8_t *w = &c->weights[quad][4 * SP_VECTOR_COLUMNS * j];
        if (mask >> j & 1) {
            uint16_t pair[2 * SP_VECTOR_COLUMNS]; /* the first weight is the low byte */
            int16_t wide[2][2 * SP_VECTOR_COLUMNS];
            memcpy(pair, w, sizeof pair);
            for (int i = 0; i < 2 * SP_VECTOR_COLUMNS; i++) {
                wide[0][i] = (int16_t)(pair[i] << 8) >> 8;
                wide[1][i] = (int16_t)pair[i] >> 8;
            }
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
static void count_use(const struct sp_chunk *c, struct sp_window_run run, sp_window_use *use)
{
    if (run.kind < SP_SINGLE) {
        use->vectors[run.kind] += run.count * run.kind * vectors_of(c);
    } else {
        const int exact = count_vectors(run.kind - SP_SINGLE);
        use->vectors[0] += run.count * exact;
        use->vectors[1] += run.count * (vectors_of(c) - exact);
    }
}

/* Stores the chunk, `before` bytes behind the panel's start; returns its bytes. quad_place: of the
 * chunk's quads, or NULL. */
static int32_t store_chunk(const struct sp_chunk *c, char *to, int64_t before, uint32_t *quad_place,
                           sp_window_use *use)
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
        for (int quads = run.count * sp_window_quads(run.kind); quads > 0; quads--, place++) {
            if (quad_place)
                quad_place[*place] =
                    (uint32_t)((before + (weights - to)) / (4 * SP_VECTOR_COLUMNS));
            weights = store_quad(c, *place, mask, weights);
        }
    }
    return (int32_t)(SP_ROUND_UP(weights - to, 64));
}

/* Loads a panel's chunk of that number and chooses its windows. w: of the panel's first column. */
static void plan_chunk(struct sp_chunk *c, const int8_t *w, int columns, int k, int number,
                       int16_t limit, const struct sp_window_steps *steps)
{
    const int quads = quads_of(k), chunks = divide_up(quads, SP_CHUNK_QUADS);
    const int begin = quads * number / chunks;
    c->width = SP_ROUND_UP(columns, SP_VECTOR_COLUMNS);
    c->quads = quads * (number + 1) / chunks - begin;
    steps->load(c, w + 4 * begin, (size_t)k, columns, k - 4 * begin);
    steps->sum(c);
    choose_windows(c, limit, steps);
}

static double nanoseconds(const struct sp_chunk *c)
{
    return 0.01 * c->time * c->width / SP_WINDOW_COLUMNS;
}

static int16_t limit_of(int x_max) { return (int16_t)(INT16_MAX / SP_MAX(x_max, 1)); }

static int64_t pack_group(const int8_t *w, int columns, int k, int x_max, char *packed, int64_t at,
                          int64_t *panel_start, uint32_t *quad_place, sp_window_use *use)
{
    const int chunks = divide_up(quads_of(k), SP_CHUNK_QUADS);
    const int panels = divide_up(columns, SP_WINDOW_COLUMNS);
    const int16_t limit = limit_of(x_max);
    const struct sp_window_steps *steps = sp_choose_window_steps(limit);
    struct sp_chunk c;
    for (int panel = 0; panel < panels; panel++) {
        const int first = panel * SP_WINDOW_COLUMNS;
        const int count = SP_MIN(columns - first, SP_WINDOW_COLUMNS);
        panel_start[panel] = at;
        for (int i = 0; i < chunks; i++) {
            plan_chunk(&c, w + (size_t)first * (size_t)k, count, k, i, limit, steps);
            struct sp_window_chunk *header = (struct sp_window_chunk *)(packed + at);
            const int32_t bytes =
                store_chunk(&c, packed + at, at - panel_start[panel], quad_place, use);
            quad_place = quad_place ? quad_place + c.quads : NULL;
            header->next = i + 1 < chunks ? bytes : 0;
            use->nanoseconds += nanoseconds(&c);
            at += bytes;
        }
    }
    return at;
}

int64_t sp_pack_windows(const int8_t *w, int groups, int columns, int k, int x_max, void *packed,
                        int64_t *panel_start, uint32_t *quad_place, sp_window_use *use)
{
    const int panels = divide_up(columns, SP_WINDOW_COLUMNS);
    int64_t at = 0;
    for (int group = 0; group < groups; group++) {
        at = pack_group(w, columns, k, x_max, packed, at, panel_start, quad_place, use);
        w += (size_t)columns * (size_t)k;
        panel_start += panels;
        quad_place = quad_place ? quad_place + panels * quads_of(k) : NULL;
    }
    return at;
}

double sp_window_nanoseconds(const int8_t *w, int groups, int columns, int k, int x_max)
{
    const int chunks = divide_up(quads_of(k), SP_CHUNK_QUADS);
    const int16_t limit = limit_of(x_max);
    const struct sp_window_steps *steps = sp_choose_window_steps(limit);
    struct sp_chunk c;
    double sum = 0;
    for (int group = 0; group < groups; group++) {
        for (int first = 0; first < columns; first += SP_WINDOW_COLUMNS) {
            const int count = SP_MIN(columns - first, SP_WINDOW_COLUMNS);
            for (int i = 0; i < chunks; i++) {
                plan_chunk(&c, w + (size_t)first * (size_t)k, count, k, i, limit, steps);
                sum += nanoseconds(&c);
            }
        }
        w += (size_t)columns * (size_t)k;
    }
    return sum;
}
