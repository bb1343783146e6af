/* One persistent pool of threads. A parallel region costs a few microseconds: workers spin for a
 * short while after each region, then sleep on a condition variable.
 *
 * Tasks are split into contiguous ranges, one per thread, by task count alone, so that which thread
 * computes what does not depend on timing. A caller that finds the pool busy runs all its tasks
 * itself: several sessions in several threads never wait for each other. Tasks must not open
 * regions of their own: thread numbers, and with them scratch memory, would repeat. */
#include "internal.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

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
    pthread_mutex_t busy;  /* held by the caller whose region runs */
    pthread_mutex_t sleep; /* guards `wake`                        */
    pthread_cond_t wake;
    atomic_ullong region; /* see region_threads(); a worker looks when it changes */
    atomic_int running;   /* workers that have not finished the region            */
    atomic_int sleepers;  /* workers that wait on `wake`                          */
    int workers;          /* threads that exist besides the caller                */
    /* of the current region: only its threads may read them */
    int threads, tasks;
    sp_task_fn *fn;
    void *context;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER,
          .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

/* `region` counts regions in steps of REGION_STEP and holds the region's threads below that, in
 * one word, so that a worker beyond them knows from one read to stay out: the region does not wait
 * for it, and it may wake when the next one already runs. */
enum { REGION_STEP = 2 * MAX_THREADS };

static int region_threads(unsigned long long region) { return (int)(region % REGION_STEP); }

static void run_range(int thread)
{
    int first = (int)((int64_t)pool.tasks * thread / pool.threads);
    int last = (int)((int64_t)pool.tasks * (thread + 1) / pool.threads);
    for (int task = first; task < last; task++)
        pool.fn(pool.context, task, thread);
}

/* Returns the region that follows `seen`. */
static unsigned long long wait_for_region(unsigned long long seen)
{
    unsigned long long region;
    for (int i = 0; i < SPINS; i++) {
        region = atomic_load_explicit(&pool.region, memory_order_acquire);
        if (region != seen)
            return region;
        SP_PAUSE();
    }
    pthread_mutex_lock(&pool.sleep);
    atomic_fetch_add(&pool.sleepers, 1); /* before the look at `region`: see start_region() */
    while ((region = atomic_load(&pool.region)) == seen)
        pthread_cond_wait(&pool.wake, &pool.sleep);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.sleep);
    return region;
}

struct start {
    int thread; /* the caller of a region is thread 0 */
    unsigned long long region;
};

static void *work(void *argument)
{
    struct start start = *(struct start *)argument;
    free(argument);
    sp_enter_float_state();
    for (unsigned long long region = start.region;;) {
        region = wait_for_region(region);
        if (start.thread >= region_threads(region))
            continue;
        run_range(start.thread);
        atomic_fetch_sub_explicit(&pool.running, 1, memory_order_release);
    }
    return NULL;
}

/* Signals are for the program's own threads: workers inherit a mask that blocks them all. */
static int create_blocking_signals(pthread_t *thread, struct start *start)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, work, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int add_worker(void)
{
    pthread_t thread;
    struct start *start = malloc(sizeof *start);
    if (!start)
        return -1;
    *start = (struct start){pool.workers + 1, atomic_load(&pool.region)};
    if (create_blocking_signals(&thread, start) != 0) {
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
    atomic_store(&pool.running, threads - 1);
    unsigned long long count = atomic_load(&pool.region) / REGION_STEP + 1;
    atomic_store(&pool.region, count * REGION_STEP + (unsigned)threads);
    /* Sequentially consistent like the worker's pair: either this sees the sleeper, or the sleeper
     * sees the region. */
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
}

/* A worker that is not on a CPU needs one, maybe this one. */
static void wait_for_workers(void)
{
    for (int i = 0; atomic_load_explicit(&pool.running, memory_order_acquire) > 0; i++)
        if (i < SPINS)
            SP_PAUSE();
        else
            sched_yield();
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
    wait_for_workers();
    pthread_mutex_unlock(&pool.busy);
}
