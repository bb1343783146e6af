/* Cases, data and steps: see checks.h. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "gemm_s8/gemm_s8.h"

/* ---- cases ---- */

static int passed, failed;
static uint32_t seed, state;
static atomic_int failures; /* of the case; several threads may check */
static char name[300], first_failure[300];

void begin_case(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    seed = (uint32_t)(passed + failed + 1);
    state = seed * 2654435769U;
    failures = 0;
}

void end_case(void)
{
    if (failures == 0) {
        passed++;
        return;
    }
    failed++;
    fprintf(stderr, "FAILED %s, instruction set %s, seed %u: %s\n", name, sp_isa(), seed,
            first_failure);
}

void report_progress(void)
{
    static int reported;
    printf("%s: %d cases\n", sp_isa(), passed + failed - reported);
    fflush(stdout);
    reported = passed + failed;
}

int finish_cases(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

int case_failures(void) { return failures; }

static void fail(const char *format, ...)
{
    if (failures++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(first_failure, sizeof first_failure, format, arguments);
    va_end(arguments);
}

void check(int held, const char *file, int line, const char *condition)
{
    if (!held)
        fail("%s:%d: %s", file, line, condition);
}

void check_bytes(const uint8_t *got, const uint8_t *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != wanted[i]) {
            fail("element %zu of %zu: got %d, expected %d", i, n, got[i], wanted[i]);
            return;
        }
}

void check_sums(const int32_t *got, const int32_t *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != wanted[i]) {
            fail("element %zu of %zu: got %d, expected %d", i, n, got[i], wanted[i]);
            return;
        }
}

/* ---- data ---- */

uint32_t next_random(void) /* xorshift */
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int random_between(int first, int last)
{
    return first + (int)((next_random() >> 8) % (uint32_t)(last - first + 1));
}

void *allocate(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1))
        abort();
    memset(memory, 0, bytes);
    return memory;
}

float *random_floats(size_t n)
{
    float *x = allocate(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)random_between(-1000, 1000) / 250.0F;
    return x;
}

static int random_value(int lo, int hi, enum values kind)
{
    if (kind == HIGHEST_VALUES)
        return hi;
    if (kind == END_VALUES)
        return random_between(0, 1) ? hi : lo;
    return random_between(lo, hi);
}

uint8_t *random_bytes(size_t n, enum values kind)
{
    uint8_t *x = allocate(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (uint8_t)random_value(0, 255, kind);
    return x;
}

int16_t *random_weights(size_t n, int lo, int hi, enum values kind)
{
    int16_t *w = allocate(n * sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = (int16_t)random_value(lo, hi, kind);
    return w;
}

/* ---- steps ---- */

void run_step(int op, const void *params, const void *a, const void *b, void *y, int threads)
{
    size_t scratch_bytes = SP_ROUND_UP(sp_scratch_bytes(op, params), (size_t)64);
    void *scratch = allocate(scratch_bytes * (size_t)threads);
    void *blocks[] = {(void *)a, (void *)b, y}; /* inputs are not written */
    sp_ref inputs[] = {{0, 0}, {1, 0}};
    sp_step step = {op, b ? 2 : 1, params, inputs, {2, 0}};
    sp_run(&step, 1, blocks, scratch, scratch_bytes, threads);
    free(scratch);
}

enum { MOST_UKERNELS = 256 };
static char tested[MOST_UKERNELS];

int next_ukernel(const char *op, int previous)
{
    for (int i = previous + 1; i < sp_ukernel_total; i++)
        if (strcmp(sp_ukernels[i].op, op) == 0 && strcmp(sp_ukernel(i).isa, sp_isa()) == 0) {
            tested[i] = 1;
            return i;
        }
    return -1;
}

void check_all_ukernels_tested(void)
{
    for (int i = 0; i < sp_ukernel_total; i++) {
        int runs_here = 0;
        for (int isa = 0; isa < sp_isa_count(); isa++) {
            sp_force_isa(sp_isa_name(isa));
            runs_here |= sp_ukernel_runnable(i);
        }
        begin_case("micro-kernel %s is tested", sp_ukernels[i].name);
        CHECK(i < MOST_UKERNELS && (tested[i] || !runs_here));
        end_case();
    }
}

/* ---- packing ---- */

void *pack_panels(const int16_t *w, int groups, int columns, int k,
                  const struct sp_ukernel_entry *kernel)
{
    const int padded = SP_ROUND_UP(columns, 16), kg = kernel->k_group;
    const int k_padded = SP_ROUND_UP(k, kg), bytes = kernel->weight_bytes;
    char *packed = allocate((size_t)(groups * padded * k_padded * bytes));
    for (int i = 0; i < groups * columns * k; i++) {
        const int group = i / (columns * k), column = i / k % columns, at = i % k;
        const int side = sp_columns_side_by_side(kernel), panel = column / side * side;
        const int width = SP_MIN(side, padded - panel);
        const int to = (group * padded + panel) * k_padded + at / kg * kg * width +
                       (column - panel) * kg + at % kg;
        if (bytes == 1)
            packed[to] = (char)w[i];
        else
            memcpy(packed + 2 * to, &w[i], 2);
    }
    return packed;
}

int8_t *in_onnx_order(const int16_t *w, int outputs, int channels)
{
    const int weights = outputs * 9 * channels;
    int8_t *given = allocate((size_t)weights);
    for (int i = 0; i < weights; i++)
        given[(i / channels / 9 * channels + i % channels) * 9 + i / channels % 9] = (int8_t)w[i];
    return given;
}
