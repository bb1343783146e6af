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
 * 1/100 ns on a Zen 4 core. Only the ratios count. */
static const struct {
    int quads, time;
} sizes[] = {{1, 227}, {2, 361}, {3, 510}, {4, 644}, {6, 920}, {8, 1205}};
enum { SIZES = sizeof sizes / sizeof sizes[0], EXACT_TIME = 298 };

/* Part of a panel while it is packed. */
struct chunk {
    int quads, width; /* width: of the panel, in columns */
    int8_t weights[SP_CHUNK_QUADS][QUAD_BYTES];
    /* Of each lane, the sums of the positive and of the negated negative weights before a quad,
     * modulo 2^16. */
    uint16_t before[SP_CHUNK_QUADS + 1][2 * LANES];
    /* The cheapest sequence that ends before a quad, and the size of its last run. */
    int time[SP_CHUNK_QUADS + 1];
    uint8_t last[SP_CHUNK_QUADS + 1];
};

static int divide_up(int a, int b) { return (a + b - 1) / b; }

static int quads_of(int k) { return SP_MAX(divide_up(k, 4), 1); }

int64_t sp_window_bytes(int columns, int k)
{
    const int64_t quads = quads_of(k), panels = divide_up(columns, SP_WINDOW_COLUMNS);
    const int64_t header = SP_ROUND_UP(
        sizeof(struct sp_window_chunk) + SP_CHUNK_QUADS * sizeof(struct sp_window_run), 64);
    return panels * divide_up((int)quads, SP_CHUNK_QUADS) * header +
           SP_ROUND_UP(columns, SP_COLUMN_GROUP) * quads * 8;
}

/* w: the panel's first row, at the chunk's first quad; k: what is left of a row from there. */
static void load_chunk(struct chunk *c, const int8_t *w, size_t row_bytes, int columns, int k)
{
    memset(c->weights, 0, sizeof c->weights);
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

static void choose_windows(struct chunk *c, int x_max)
{
    const int limit = INT16_MAX / SP_MAX(x_max, 1);
    c->time[0] = 0;
    for (int end = 1; end <= c->quads; end++) {
        c->time[end] = c->time[end - 1] + EXACT_TIME;
        c->last[end] = SP_EXACT;
        for (int i = 0; i < SIZES && sizes[i].quads <= end; i++) {
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

/* The chosen sequence, from front to back; how many runs. */
static int find_runs(const struct chunk *c, struct sp_window_run *runs)
{
    uint8_t backwards[SP_CHUNK_QUADS];
    int windows = 0, count = 0;
    for (int end = c->quads; end > 0; end -= SP_MAX(c->last[end], 1))
        backwards[windows++] = c->last[end];
    while (windows-- > 0) {
        if (count > 0 && runs[count - 1].size == backwards[windows])
            runs[count - 1].count++;
        else
            runs[count++] = (struct sp_window_run){backwards[windows], 1};
    }
    return count;
}

static char *store_exact(const struct chunk *c, int quad, char *to)
{
    int16_t *wide = (int16_t *)to;
    for (int odd = 0; odd < 2; odd++)
        for (int i = 0; i < 2 * c->width; i++)
            *wide++ = c->weights[quad][2 * i + odd];
    return (char *)wide;
}

/* Stores the chunk; returns its bytes. shares: quads of each run size, added to. */
static int32_t store_chunk(const struct chunk *c, char *to, int64_t *shares)
{
    struct sp_window_chunk *header = (struct sp_window_chunk *)to;
    memset(header, 0, sizeof *header);
    header->quads = (int16_t)c->quads;
    header->runs = (int16_t)find_runs(c, header->run);
    const size_t used = sizeof *header + (size_t)header->runs * sizeof header->run[0];
    header->weights = (int32_t)SP_ROUND_UP(used, 64);
    char *weights = to + header->weights;
    int quad = 0;
    for (int i = 0; i < header->runs; i++) {
        const struct sp_window_run run = header->run[i];
        const int quads = run.count * SP_MAX(run.size, 1);
        shares[run.size] += quads;
        for (const int end = quad + quads; quad < end; quad++) {
            if (run.size == SP_EXACT) {
                weights = store_exact(c, quad, weights);
            } else {
                memcpy(weights, c->weights[quad], (size_t)(4 * c->width));
                weights += 4 * c->width;
            }
        }
    }
    return (int32_t)(weights - to);
}

int64_t sp_pack_windows(const int8_t *w, int columns, int k, int x_max, void *packed,
                        int64_t *panel_start, sp_window_use *use)
{
    const int quads = quads_of(k), chunks = divide_up(quads, SP_CHUNK_QUADS);
    const int panels = divide_up(columns, SP_WINDOW_COLUMNS);
    struct chunk c;
    int64_t at = 0;
    for (int panel = 0; panel < panels; panel++) {
        const int first = panel * SP_WINDOW_COLUMNS;
        const int count = SP_MIN(columns - first, SP_WINDOW_COLUMNS);
        c.width = SP_ROUND_UP(count, SP_COLUMN_GROUP);
        panel_start[panel] = at;
        for (int i = 0; i < chunks; i++) {
            const int begin = quads * i / chunks;
            c.quads = quads * (i + 1) / chunks - begin;
            load_chunk(&c, w + (size_t)first * (size_t)k + 4 * begin, (size_t)k, count,
                       k - 4 * begin);
            sum_lanes(&c);
            choose_windows(&c, x_max);
            struct sp_window_chunk *header = (struct sp_window_chunk *)((char *)packed + at);
            const int32_t bytes = store_chunk(&c, (char *)packed + at, use->quads);
            header->next = i + 1 < chunks ? bytes : 0;
            use->nanoseconds += 0.01 * c.time[c.quads] * c.width / SP_WINDOW_COLUMNS;
            at += bytes;
        }
    }
    return at;
}
