/* What only C can test: every array has its exact size on the heap, so that the sanitizers of
 * check.sh see any access beyond it. Elementwise operators, poolings, layout changes and the
 * float32 convolution against plain loops, for each instruction set; the thread pool under load;
 * forks. The Python tests cover far more values. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "ukernels.h"

static atomic_int failures;
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && failures++ < 20)                                                       \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, sp_isa());         \
    } while (0)

/* ---- data ---- */

static uint32_t next_random(void)
{
    static uint32_t state = 12345;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        abort();
    return memory;
}

static uint8_t *random_bytes(size_t n)
{
    uint8_t *x = allocate(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (uint8_t)(next_random() >> 11);
    return x;
}

static float *random_floats(size_t n)
{
    float *x = allocate(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int)(next_random() % 2001) - 1000) / 250.0F;
    return x;
}

/* ---- one step ---- */

static void run(int op, const void *params, void *a, void *b, void *y, int threads)
{
    size_t scratch_bytes = SP_ROUND_UP(sp_scratch_bytes(op, params), (size_t)64);
    void *scratch = NULL;
    if (posix_memalign(&scratch, 64, scratch_bytes * (size_t)threads + 64))
        abort();
    void *blocks[] = {a, b, y};
    sp_ref inputs[] = {{0, 0}, {1, 0}};
    sp_step step = {op, b ? 2 : 1, params, inputs, {2, 0}};
    sp_run(&step, 1, blocks, scratch, scratch_bytes, threads);
    free(scratch);
}

static uint8_t expect_round(float real, sp_range r)
{
    double f = rint((double)real);
    f = fmin(fmax(f, r.lo - r.zero_point), r.hi - r.zero_point);
    return (uint8_t)((int)f + r.zero_point);
}

static const sp_range ODD = {117, 3, 250};

static void test_elementwise(int n, int threads)
{
    size_t size = (size_t)n;
    uint8_t *a = random_bytes(size), *b = random_bytes(size), *y = allocate(size);
    uint8_t *entries = random_bytes(256);
    float *x = random_floats(size), *real = allocate(size * sizeof *real);
    x[0] = NAN;

    sp_quantize q = {n, 0.03F, ODD};
    run(SP_QUANTIZE, &q, x, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == (isnan(x[i]) ? 117 : expect_round(x[i] / 0.03F, ODD)));
    sp_dequantize d = {n, 0.07F, 31};
    run(SP_DEQUANTIZE, &d, a, NULL, real, threads);
    for (int i = 0; i < n; i++)
        CHECK(real[i] == (float)(a[i] - 31) * 0.07F);
    sp_add_s8 add = {n, 5, 200, 0.7F, 0.4F, ODD};
    run(SP_ADD_S8, &add, a, b, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == expect_round((float)(a[i] - 5) * 0.7F + (float)(b[i] - 200) * 0.4F, ODD));
    sp_mul_s8 mul = {1, n, 1, 0, 0, 128, 3, 0.004F, ODD};
    run(SP_MUL_S8, &mul, a, b, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == expect_round((float)((a[i] - 128) * (b[i] - 3)) * 0.004F, ODD));
    sp_rescale_s8 rescale = {n, 77, 1.3F, ODD};
    run(SP_RESCALE_S8, &rescale, a, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == expect_round((float)(a[i] - 77) * 1.3F, ODD));
    sp_table_s8 table = {n, entries};
    run(SP_TABLE_S8, &table, a, NULL, y, threads);
    for (int i = 0; i < n; i++)
        CHECK(y[i] == entries[a[i]]);

    free(a), free(b), free(y), free(entries), free(x), free(real);
}

static void test_movement(int batch, int rows, int columns, int threads)
{
    size_t matrix = (size_t)rows * (size_t)columns, n = (size_t)batch * matrix;
    for (int element = 1; element <= 4; element += 3) {
        sp_transpose t = {batch, rows, columns, element};
        size_t bytes = (size_t)element;
        uint8_t *x = random_bytes(n * bytes), *y = allocate(n * bytes);
        run(SP_TRANSPOSE, &t, x, NULL, y, threads);
        for (size_t i = 0; i < n; i++) {
            size_t at = i % matrix, r = at / (size_t)columns, c = at % (size_t)columns;
            size_t to = i - at + c * (size_t)rows + r;
            CHECK(memcmp(y + to * bytes, x + i * bytes, bytes) == 0);
        }
        free(x), free(y);
    }

    uint8_t *a = random_bytes(n), *b = random_bytes(n), *y = allocate(2 * n);
    int64_t inner = columns, outer = (int64_t)batch * rows;
    sp_concat_part parts[] = {{outer, inner, 2 * inner, 0, 1, 0, 0, ODD},
                              {outer, inner, 2 * inner, inner, 0, 9, 0.6F, ODD}};
    sp_concat_s8 concat = {2, parts};
    run(SP_CONCAT_S8, &concat, a, b, y, threads);
    for (size_t i = 0; i < n; i++) {
        size_t to = i / (size_t)columns * 2 * (size_t)columns + i % (size_t)columns;
        CHECK(y[to] == a[i]);
        CHECK(y[to + (size_t)columns] == expect_round((float)(b[i] - 9) * 0.6F, ODD));
    }
    free(a), free(b), free(y);
}

/* ---- windows ---- */

static sp_conv_shape window_shape(int size, int in_c, int out_c, int groups, int kernel, int stride,
                                  int pad)
{
    int out = (size + 2 * pad - kernel) / stride + 1;
    return (sp_conv_shape){2,      size,   size,   in_c,   out, out, out_c, groups,
                           kernel, kernel, stride, stride, 1,   1,   pad,   pad};
}

static size_t in_elements(const sp_conv_shape *s)
{
    return (size_t)s->batch * (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
}
static size_t out_elements(const sp_conv_shape *s)
{
    return (size_t)s->batch * (size_t)s->out_h * (size_t)s->out_w * (size_t)s->out_c;
}

/* Index of the input that output `pixel` (of all images) sees at a tap, or -1 in the padding. */
static int64_t find_input(const sp_conv_shape *s, int64_t pixel, int tap, int channel)
{
    int64_t image = pixel / (s->out_h * s->out_w), at = pixel % (s->out_h * s->out_w);
    int64_t y = at / s->out_w * s->stride_h - s->pad_top + tap / s->kernel_w;
    int64_t x = at % s->out_w * s->stride_w - s->pad_left + tap % s->kernel_w;
    if (y < 0 || y >= s->in_h || x < 0 || x >= s->in_w)
        return -1;
    return ((image * s->in_h + y) * s->in_w + x) * s->in_c + channel;
}

static void test_pools(sp_conv_shape s, int threads)
{
    uint8_t *x = random_bytes(in_elements(&s));
    uint8_t *max = allocate(out_elements(&s)), *average = allocate(out_elements(&s));
    float *multiplier = random_floats((size_t)(s.out_h * s.out_w));
    sp_max_pool_s8 m = {s};
    sp_average_pool_s8 a = {s, 40, multiplier, ODD};
    run(SP_MAX_POOL_S8, &m, x, NULL, max, threads);
    run(SP_AVERAGE_POOL_S8, &a, x, NULL, average, threads);
    for (int64_t i = 0; i < (int64_t)out_elements(&s); i++) {
        int highest = 0, sum = 0;
        for (int tap = 0; tap < s.kernel_h * s.kernel_w; tap++) {
            int64_t at = find_input(&s, i / s.out_c, tap, (int)(i % s.out_c));
            highest = at < 0 ? highest : SP_MAX(highest, x[at]);
            sum += at < 0 ? 0 : x[at] - 40;
        }
        CHECK(max[i] == highest);
        float by = multiplier[i / s.out_c % (s.out_h * s.out_w)];
        CHECK(average[i] == expect_round((float)sum * by, ODD));
    }
    free(x), free(max), free(average), free(multiplier);
}

/* weight: [out_c][kernel_h * kernel_w][in_c / groups], as the plain loop wants it. */
static void pack(const sp_conv_shape *s, const float *weight, const float *bias, int nr,
                 float *packed, float *packed_bias)
{
    int taps = s->kernel_h * s->kernel_w, k = taps * (s->in_c / s->groups);
    int columns = s->out_c / s->groups, panels = (columns + nr - 1) / nr;
    for (int o = 0; o < s->out_c; o++) {
        int panel = o / columns * panels + o % columns / nr, lane = o % columns % nr;
        packed_bias[panel * nr + lane] = bias[o];
        for (int i = 0; i < k; i++)
            packed[(panel * k + i) * nr + lane] = weight[o * k + i];
    }
}

static int find_ukernel(const char *op)
{
    for (int i = 0; i < sp_ukernel_total; i++)
        if (strcmp(sp_ukernels[i].op, op) == 0 && sp_ukernel_runnable(i))
            return i;
    return -1;
}

static void test_conv_f32(sp_conv_shape s, int threads)
{
    const int depthwise = s.groups > 1 && s.groups == s.in_c && s.groups == s.out_c;
    const int u = find_ukernel(depthwise ? "depthwise_f32" : "gemm_f32");
    const int per_group = s.in_c / s.groups, columns = s.out_c / s.groups;
    const int k = s.kernel_h * s.kernel_w * per_group;
    /* depthwise [taps][C] is the packed form of one group with C columns and K = taps */
    const int nr = depthwise ? s.out_c : sp_ukernels[u].nr, groups = depthwise ? 1 : s.groups;
    const int padded = SP_ROUND_UP(s.out_c / groups, nr) * groups;
    float *x = random_floats(in_elements(&s)), *residual = random_floats(out_elements(&s));
    float *y = allocate(out_elements(&s) * sizeof *y);
    float *weight = random_floats((size_t)(s.out_c * k)), *bias = random_floats((size_t)s.out_c);
    float *packed = allocate((size_t)(padded * k) * sizeof *packed);
    float *packed_bias = allocate((size_t)padded * sizeof *packed_bias);
    memset(packed, 0, (size_t)(padded * k) * sizeof *packed);
    memset(packed_bias, 0, (size_t)padded * sizeof *packed_bias);
    sp_conv_shape packing = s;
    if (depthwise)
        packing.groups = 1, packing.in_c = 1;
    pack(&packing, weight, bias, nr, packed, packed_bias);
    sp_conv_f32 p = {s, u, packed, packed_bias, -20.0F, 25.0F, 1};
    run(SP_CONV_F32, &p, x, residual, y, threads);
    for (int64_t i = 0; i < (int64_t)out_elements(&s); i++) {
        int o = (int)(i % s.out_c);
        double sum = (double)bias[o] + (double)residual[i];
        double size = fabs((double)bias[o]) + fabs((double)residual[i]);
        for (int j = 0; j < k; j++) {
            int channel = o / columns * per_group + j % per_group;
            int64_t at = find_input(&s, i / s.out_c, j / per_group, channel);
            double product = at < 0 ? 0 : (double)x[at] * (double)weight[o * k + j];
            sum += product, size += fabs(product);
        }
        /* gamma(K + 3): see conv_f32_bound in pyinterp/ops/fused.py */
        double bound = (k + 3) * 0x1p-24 / (1 - (k + 3) * 0x1p-24) * size;
        CHECK(fabs((double)y[i] - fmin(fmax(sum, -20.0), 25.0)) <= bound);
    }
    free(x), free(residual), free(y), free(weight), free(bias), free(packed), free(packed_bias);
}

static void test_operators(int threads)
{
    static const int lengths[] = {1, 15, 16, 17, 63, 64, 65, 200, 70000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        test_elementwise(lengths[i], threads);
    for (int rows = 1; rows < 40; rows += 3)
        for (int columns = 1; columns < 70; columns += 11)
            test_movement(2, rows, columns, threads);
    static const int channels[] = {1, 3, 16, 33, 600};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        int c = channels[i];
        test_pools(window_shape(9, c, c, 1, 3, 2, 1), threads);
        test_pools(window_shape(7, c, c, 1, 7, 1, 0), threads);
        test_conv_f32(window_shape(6, c, 35, 1, 3, 1, 1), threads);
        test_conv_f32(window_shape(5, c, 16, 1, 1, 1, 0), threads);
        test_conv_f32(window_shape(11, c, c, c, 3, 2, 1), threads);
    }
    test_conv_f32(window_shape(6, 12, 20, 4, 3, 1, 2), threads);
}

/* ---- threads ---- */

enum { TASKS = 57 };

static void count_task(void *context, int task, int thread)
{
    atomic_int *seen = context;
    CHECK(thread >= 0 && thread < 8);
    atomic_fetch_add(&seen[task], 1);
}

/* Regions of all widths, so that workers that sit out a region meet the next one. */
static void *run_regions(void *regions)
{
    for (int i = 0; i < *(int *)regions; i++) {
        atomic_int seen[TASKS] = {0};
        int tasks = i % TASKS + 1;
        sp_parallel(i % 8 + 1, tasks, count_task, seen);
        for (int t = 0; t < TASKS; t++)
            CHECK(seen[t] == (t < tasks));
        if (i % 500 == 0)
            usleep(2000); /* let the workers fall asleep */
    }
    return NULL;
}

static void test_concurrent_callers(int regions)
{
    pthread_t callers[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&callers[i], NULL, run_regions, &regions) != 0)
            abort();
    run_regions(&regions);
    for (int i = 0; i < 4; i++)
        pthread_join(callers[i], NULL);
}

#ifndef __SANITIZE_THREAD__ /* which does not survive threads after a fork of threads */
static void test_forks(void)
{
    for (int i = 0; i < 10; i++) {
        int regions = 100, status = -1;
        run_regions(&regions);
        pid_t child = fork();
        if (child == 0) {
            failures = 0;
            run_regions(&regions);
            _exit(failures != 0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}
#endif

int main(void)
{
    CHECK(sp_force_isa("no such instruction set") == -1);
    for (int i = 0; i < sp_isa_count(); i++) {
        CHECK(sp_force_isa(sp_isa_name(i)) == 0);
        CHECK(strcmp(sp_isa(), sp_isa_name(i)) == 0);
        test_operators(1);
        test_operators(3);
        printf("operators with %s: done\n", sp_isa());
    }
    test_concurrent_callers(3000);
#ifndef __SANITIZE_THREAD__
    test_forks();
#endif
    printf("threads: done; %d failures\n", failures);
    return failures != 0;
}
