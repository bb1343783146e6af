/* Which inner loops run, and how their work is split over threads. */
#include "loops.h"

const struct sp_loops *sp_loops_in_use(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX512VNNI))
        return &sp_loops_avx512vnni;
    if (sp_isa_includes(SP_ISA_AVX2))
        return &sp_loops_avx2;
#endif
    return &sp_loops_portable;
}

struct split {
    const void *params;
    const sp_context *context;
    int64_t count;
    int tasks;
    sp_range_fn *fn;
};

static void run_range(void *argument, int task, int thread)
{
    (void)thread;
    const struct split *s = argument;
    /* count * tasks may not fit 64 bits, so split quotient and remainder */
    int64_t each = s->count / s->tasks, rest = s->count % s->tasks;
    int64_t first = each * task + rest * task / s->tasks;
    int64_t last = each * (task + 1) + rest * (task + 1) / s->tasks;
    s->fn(s->params, s->context, first, last);
}

void sp_for_ranges(const void *params, const sp_context *context, int64_t count, int64_t grain,
                   sp_range_fn *fn)
{
    int tasks = (int)SP_MIN(count / SP_MAX(grain, 1), context->threads);
    struct split s = {params, context, count, SP_MAX(tasks, 1), fn};
    sp_parallel(context->threads, s.tasks, run_range, &s);
}
