/* One persistent pool of threads. A parallel region costs a few microseconds: workers spin for a
 * short while after each region, then sleep on a condition variable.
 *
 * Tasks are split into contiguous ranges, one per thread, by task count alone, so that which thread
 * computes what does not depend on timing. A caller that finds the pool busy runs all its tasks
 * itself: several sessions in several threads never wait for each other. */
#include "internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef SP_X86
#include <immintrin.h>
#define SP_PAUSE() _mm_pause()
#elif defined(SP_ARM64)
#define SP_PAUSE() __asm__ volatile("yield")
#else
#define SP_PAUSE() ((void)0)
#endif

enum { MAX_THREADS = 256, SPINS = 4000 };

static struct {
    pthread_mutex_t busy;  /* held by the caller whose region runs          */
    pthread_mutex_t sleep; /* guards `wake`                                 */
    pthread_cond_t wake;
    atomic_uint region;  /* counts regions: a worker starts when it changes */
    atomic_int running;  /* workers that have not finished the region       */
    atomic_int sleepers; /* workers that wait on `wake`                     */
    int workers;         /* threads that exist besides the caller           */
    int threads, tasks;  /* of the current region                           */
    sp_task_fn *fn;
    void *context;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER,
          .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

static void run_range(int thread)
{
    int first = (int)((int64_t)pool.tasks * thread / pool.threads);
    int last = (int)((int64_t)pool.tasks * (thread + 1) / pool.threads);
    for (int task = first; task < last; task++)
        pool.fn(pool.context, task, thread);
}

static void wait_for_region(unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool.region, memory_order_acquire) != seen)
            return;
        SP_PAUSE();
    }
    pthread_mutex_lock(&pool.sleep);
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.region) == seen)
        pthread_cond_wait(&pool.wake, &pool.sleep);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.sleep);
}

/* Worker w runs as thread w + 1; thread 0 is the caller. */
struct start {
    int worker;
    unsigned region;
};

static void *work(void *argument)
{
    struct start start = *(struct start *)argument;
    free(argument);
    sp_enter_float_state();
    for (unsigned seen = start.region;;) {
        wait_for_region(seen);
        seen = atomic_load_explicit(&pool.region, memory_order_acquire);
        if (start.worker + 1 < pool.threads)
            run_range(start.worker + 1);
        atomic_fetch_sub_explicit(&pool.running, 1, memory_order_release);
    }
    return NULL;
}

static int add_worker(void)
{
    pthread_t thread;
    struct start *start = malloc(sizeof *start);
    if (!start)
        return -1;
    *start = (struct start){pool.workers, atomic_load(&pool.region)};
    if (pthread_create(&thread, NULL, work, start) != 0) {
        free(start);
        return -1;
    }
    pthread_detach(thread);
    pool.workers++;
    return 0;
}

/* After fork() the child has no workers, and locks in an unknown state. */
static void forget_workers(void)
{
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    atomic_store(&pool.running, 0);
    atomic_store(&pool.sleepers, 0);
    pool.workers = 0;
}

__attribute__((constructor)) static void survive_fork(void)
{
    pthread_atfork(NULL, NULL, forget_workers);
}

static void start_region(int threads, int tasks, sp_task_fn *fn, void *context)
{
    pool.threads = threads;
    pool.tasks = tasks;
    pool.fn = fn;
    pool.context = context;
    atomic_store(&pool.running, pool.workers);
    atomic_fetch_add(&pool.region, 1);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
}

void sp_parallel(int threads, int tasks, sp_task_fn *fn, void *context)
{
    threads = SP_MIN(SP_MIN(threads, tasks), MAX_THREADS);
    if (threads <= 1 || pthread_mutex_trylock(&pool.busy) != 0) {
        for (int task = 0; task < tasks; task++)
            fn(context, task, 0);
        return;
    }
    while (pool.workers < threads - 1 && add_worker() == 0) {
    }
    start_region(SP_MIN(threads, pool.workers + 1), tasks, fn, context);
    run_range(0);
    while (atomic_load_explicit(&pool.running, memory_order_acquire) > 0)
        SP_PAUSE();
    pthread_mutex_unlock(&pool.busy);
}
