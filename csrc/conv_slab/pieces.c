/* From runs of lanes, which begin anywhere, to vectors of eight lanes. */
#include "slab.h"

enum { LANES = 8, VECTORS = SP_SLAB_WIDTH / LANES, ALL = (1 << LANES) - 1 };

/* Where the lanes of one vector come from. */
struct vector {
    int places;
    struct {
        int64_t from;
        int lanes;
    } place[LANES];
};

static void find_vectors(const struct sp_slab_gather *gather, int tap, struct vector *vector)
{
    for (int v = 0; v < VECTORS; v++)
        vector[v].places = 0;
    for (int i = gather->first_run[tap]; i < gather->first_run[tap + 1]; i++) {
        const struct sp_slab_run *run = &gather->run[i];
        for (int v = run->lane / LANES; v * LANES < run->lane + run->length; v++) {
            const int begin = SP_MAX(run->lane - v * LANES, 0);
            const int end = SP_MIN(run->lane + run->length - v * LANES, LANES);
            const int inside = (int)(gather->inside[tap] >> (v * LANES)) & ALL;
            const int lanes = inside & ((1 << end) - (1 << begin));
            if (!lanes)
                continue;
            vector[v].place[vector[v].places].from = run->from + v * LANES - run->lane;
            vector[v].place[vector[v].places++].lanes = lanes;
        }
    }
}

static int is_whole(const struct vector *v) { return v->places == 1 && v->place[0].lanes == ALL; }

/* How many vectors from the first on are neighbours. */
static int count_whole(const struct vector *vector, int most)
{
    int n = 1;
    while (n < most && is_whole(&vector[n]) &&
           vector[n].place[0].from == vector[0].place[0].from + n * LANES)
        n++;
    return n;
}

void sp_slab_find_pieces(struct sp_slab_gather *gather)
{
    const int taps = gather->shape->kernel_h * gather->shape->kernel_w;
    struct sp_slab_piece *piece = gather->piece;
    for (int tap = 0; tap < taps; tap++) {
        struct vector vector[VECTORS];
        find_vectors(gather, tap, vector);
        for (int v = 0, n; v * LANES < gather->width; v += n) {
            const struct vector *of = &vector[v];
            n = is_whole(of) ? count_whole(of, gather->width / LANES - v) : 1;
            for (int i = 0; i < SP_MAX(of->places, 1); i++)
                *piece++ = (struct sp_slab_piece){
                    .from = of->places ? of->place[i].from : 0,
                    .to = tap * gather->row + v * LANES,
                    .vectors = (uint8_t)n,
                    .lanes = of->places ? (uint8_t)of->place[i].lanes : 0,
                    .others = (uint8_t)SP_MAX(of->places - 1 - i, 0),
                };
        }
    }
    gather->pieces = (int)(piece - gather->piece);
}
