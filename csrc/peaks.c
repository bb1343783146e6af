/* Peak rates of instruction mixes: what the kernels are measured against. Each loop keeps more
 * independent accumulators than latency times throughput, and touches no memory. */
#include "internal.h"

#include <string.h>

#ifdef SP_X86
#include <immintrin.h>
#endif
#ifdef SP_ARM64
#include <arm_neon.h>
#endif

/* Runs `rounds` rounds and returns the multiply-accumulates done. */
typedef double mix_fn(long rounds);

/* Tells the compiler that a register may have changed, so that no product can be hoisted. */
#define OPAQUE(v) __asm__ volatile("" : "+x"(v))

#ifdef SP_X86
__attribute__((target("avx2"))) static double mix_vpmaddwd(long rounds)
{
    enum { ACCUMULATORS = 12 };
    __m256i acc[ACCUMULATORS], a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm256_setzero_si256();
    for (long r = 0; r < rounds; r++) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++)
        {
            OPAQUE(a);
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(a, b));
        }
    }
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) OPAQUE(acc[i]);
    return 16.0 * ACCUMULATORS * (double)rounds;
}

/* Windows of eight sums in int16, then widened: the longest of the window kernels. */
__attribute__((target("avx2"))) static double mix_vpmaddubsw(long rounds)
{
    enum { ACCUMULATORS = 8, WINDOW = 8 };
    __m256i acc[ACCUMULATORS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
    const __m256i ones = _mm256_set1_epi16(1);
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm256_setzero_si256();
    for (long r = 0; r < rounds; r += WINDOW) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i += 4)
        {
            __m256i sum[4];
            SP_UNROLL for (int at = 0; at < 4 * WINDOW; at++)
            {
                OPAQUE(a);
                const __m256i products = _mm256_maddubs_epi16(a, b);
                sum[at % 4] = at < 4 ? products : _mm256_add_epi16(sum[at % 4], products);
                OPAQUE(sum[at % 4]);
            }
            SP_UNROLL for (int j = 0; j < 4; j++)
            {
                acc[i + j] = _mm256_add_epi32(acc[i + j], _mm256_madd_epi16(sum[j], ones));
                OPAQUE(acc[i + j]);
            }
        }
    }
    return 32.0 * ACCUMULATORS * (double)rounds;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static double mix_vpdpbusd_512(long rounds)
{
    enum { ACCUMULATORS = 24 };
    __m512i acc[ACCUMULATORS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm512_setzero_si512();
    for (long r = 0; r < rounds; r++) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) __asm__ volatile("" : "+v"(acc[i]));
    }
    return 64.0 * ACCUMULATORS * (double)rounds;
}

__attribute__((target("amx-tile,amx-int8"))) static double mix_tdpbusd(long rounds)
{
    struct {
        _Alignas(64) uint8_t palette;
        uint8_t start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&shapes);
    for (long r = 0; r < rounds; r++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
    return 16384.0 * 4 * (double)rounds;
}

__attribute__((target("avx512f"))) static double mix_fma_512(long rounds)
{
    enum { ACCUMULATORS = 24 };
    __m512 acc[ACCUMULATORS], a = _mm512_set1_ps(0.5F), b = _mm512_set1_ps(0.25F);
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm512_setzero_ps();
    for (long r = 0; r < rounds; r++) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm512_fmadd_ps(a, b, acc[i]);
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) __asm__ volatile("" : "+v"(acc[i]));
    }
    return 16.0 * ACCUMULATORS * (double)rounds;
}

__attribute__((target("avx2,fma"))) static double mix_fma_256(long rounds)
{
    enum { ACCUMULATORS = 12 };
    __m256 acc[ACCUMULATORS], a = _mm256_set1_ps(0.5F), b = _mm256_set1_ps(0.25F);
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm256_setzero_ps();
    for (long r = 0; r < rounds; r++) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = _mm256_fmadd_ps(a, b, acc[i]);
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) OPAQUE(acc[i]);
    }
    return 8.0 * ACCUMULATORS * (double)rounds;
}
#endif

/* The baseline of 64-bit targets: four lanes; x86-64's has a product and a sum instead of FMA. */
#ifdef SP_ARM64
#define MULTIPLY_ADD(a, b, c) vfmaq_f32(c, a, b)
#define OPAQUE_128(v) __asm__ volatile("" : "+w"(v))
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define OPAQUE_128(v) OPAQUE(v)
#endif
static double mix_fma_128(long rounds)
{
    typedef float quad __attribute__((vector_size(16)));
    enum { ACCUMULATORS = 12 };
    quad acc[ACCUMULATORS] = {{0}}, a = {0.5F, 0.5F, 0.5F, 0.5F}, b = a * 0.5F;
    for (long r = 0; r < rounds; r++) {
        SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++)
        {
            OPAQUE_128(a);
            acc[i] = MULTIPLY_ADD(a, b, acc[i]);
        }
    }
    SP_UNROLL for (int i = 0; i < ACCUMULATORS; i++) OPAQUE_128(acc[i]);
    return 4.0 * ACCUMULATORS * (double)rounds;
}

static mix_fn *find_mix(const char *name)
{
#ifdef SP_X86
    if (strcmp(name, "vpmaddwd") == 0 && sp_isa_includes(SP_ISA_AVX2))
        return mix_vpmaddwd;
    if (strcmp(name, "vpmaddubsw") == 0 && sp_isa_includes(SP_ISA_AVX2))
        return mix_vpmaddubsw;
    if (strcmp(name, "vpdpbusd") == 0 && sp_isa_includes(SP_ISA_AVX512VNNI))
        return mix_vpdpbusd_512;
    if (strcmp(name, "tdpbusd") == 0 && sp_isa_includes(SP_ISA_AMX))
        return mix_tdpbusd;
    if (strcmp(name, "fma") == 0 && sp_isa_includes(SP_ISA_AVX512VNNI))
        return mix_fma_512;
    if (strcmp(name, "fma") == 0 && sp_isa_includes(SP_ISA_AVX2))
        return mix_fma_256;
#endif
    return strcmp(name, "fma") == 0 ? mix_fma_128 : NULL;
}

/* The best of many short runs: whatever else the machine does only makes a run slower. */
double sp_peak_gmacs(const char *mix, double seconds)
{
    enum { ROUNDS = 100000 };
    mix_fn *run = find_mix(mix);
    if (!run)
        return -1;
    double best = 0, end = sp_seconds() + seconds;
    for (double start = sp_seconds(), stop = start; stop < end; start = stop) {
        double macs = run(ROUNDS);
        stop = sp_seconds();
        best = SP_MAX(best, macs / (stop - start) * 1e-9);
    }
    return best;
}
