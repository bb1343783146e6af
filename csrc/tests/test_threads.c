/* The thread pool under load, from several callers at once, and after forks. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checks.h"

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

static void test_forks(void)
{
    for (int i = 0; i < 10; i++) {
        int regions = 100, status = -1;
        run_regions(&regions);
        pid_t child = fork();
        if (child == 0) {
            run_regions(&regions);
            _exit(case_failures() != 0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

void test_threads(int with_forks)
{
    begin_case("thread pool, concurrent callers");
    test_concurrent_callers(3000);
    end_case();
    if (with_forks) {
        begin_case("thread pool, forks");
        test_forks();
        end_case();
    }
}
