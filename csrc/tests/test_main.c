/* Runs all C tests, once for each instruction set that this CPU has. Usage: test [no-forks], where
 * whatever runs it does not survive threads after a fork of threads (ThreadSanitizer, qemu). */
#include <fenv.h>
#include <string.h>

#include "checks.h"

static void test_operators(int threads)
{
    test_elementwise(threads);
    test_float(threads);
    test_windows(threads);
    test_products(threads);
    test_gemm_windows(threads);
    test_outliers(threads);
    test_depthwise(threads);
    test_grouped(threads);
    test_dynamic(threads);
    test_winograd(threads);
    test_sparse(threads);
    test_slab(threads);
}

/* Steps round to nearest whatever the caller's mode, which they leave as it was. */
static void test_float_state(void)
{
    begin_case("rounding mode");
    fesetround(FE_UPWARD);
    const uint8_t x = 3;
    uint8_t y = 0;
    const sp_rescale_s8 p = {1, 0, 0.8F, {0, 0, 255}}; /* 2.4 */
    run_step(SP_RESCALE_S8, &p, &x, NULL, &y, 1);
    CHECK(fegetround() == FE_UPWARD);
    fesetround(FE_TONEAREST);
    CHECK(y == 2);
    end_case();
}

static void test_isa_names(void)
{
    begin_case("names of instruction sets");
    CHECK(sp_force_isa("no such instruction set") == -1);
    for (int i = 0; i < sp_isa_count(); i++) {
        CHECK(sp_force_isa(sp_isa_name(i)) == 0);
        CHECK(strcmp(sp_isa(), sp_isa_name(i)) == 0);
    }
    end_case();
}

int main(int count, char **arguments)
{
    test_isa_names();
    for (int i = 0; i < sp_isa_count(); i++) {
        sp_force_isa(sp_isa_name(i));
        test_float_state();
        test_packing();
        test_operators(1);
        test_operators(3);
        report_progress();
    }
    check_all_ukernels_tested();
    test_threads(!(count > 1 && strcmp(arguments[1], "no-forks") == 0));
    return finish_cases();
}
