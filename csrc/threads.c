/* One persistent pool of threads. A parallel region costs a few microseconds: workers spin for a
 * short while after each region, then sleep on a condition variable.
 *
 * Tasks are split into contiguous ranges, one per thread, so that in one layer after the other a
 * thread finds its part of the image in its own cache. Who has finished his own range takes tasks
 * from the ends of the others', and a region ends without the workers that came too late: one that
 * gets no CPU for a while holds the region up for one task at most. Which thread runs a task
 * therefore depends on timing; results must not.
 *
 * A caller that finds the pool busy runs all its tasks
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

enum { MAX_THREADS = 256, SPINS = 4000, CLOSED = 1 << 16 };

static struct {
    pthread_mutex_t busy;  /* held by the caller whose region runs */
    pthread_mutex_t sleep; /* guards `wake`                        */
    pthread_cond_t wake;
    atomic_ullong region; /* see region_threads(); a worker looks when it changes */
    atomic_int inside;    /* workers in the region; CLOSED added where none may enter */
    atomic_int sleepers;  /* workers that wait on `wake`                          */
    int workers;          /* threads that exist besides the caller                */
    /* of the current region: only its threads may read them */
    int threads;
    sp_task_fn *fn;
    void *context;
    struct range {
        _Alignas(64) atomic_ullong tasks; /* those left: first, and last + 1 in the lower half */
    } range[MAX_THREADS];
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER,
          .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .inside = CLOSED};

/* `region` counts regions in steps of REGION_STEP and holds the region's threads below that, in
 * one word, so that a worker beyond them knows from one read to stay out. */
enum { REGION_STEP = 2 * MAX_THREADS };

static int region_threads(unsigned long long region) { return (int)(region % REGION_STEP); }

static unsigned long long make_range(int first, int end)
{
    return (unsigned long long)first << 32 | (unsigned)end;
}

/* Takes a task from the front of a range, or from its end; -1 where none is left. */
static int take(struct range *range, int from_end)
{
    unsigned long long left = atomic_load_explicit(&range->tasks, memory_order_relaxed);
    for (;;) {
        const int first = (int)(left >> 32), end = (int)(left & 0xffffffff);
        if (first >= end)
            return -1;
        const unsigned long long rest =
            from_end ? make_range(first, end - 1) : make_range(first + 1, end);
        if (atomic_compare_exchange_weak_explicit(&range->tasks, &left, rest, memory_order_relaxed,
                                                  memory_order_relaxed))
            return from_end ? end - 1 : first;
    }
}

static void run_tasks(int thread)
{
    const int threads = pool.threads;
    for (int i = 0; i < threads; i++) {
        struct range *range = &pool.range[(thread + i) % threads];
        for (int task; (task = take(range, i > 0)) >= 0;)
            pool.fn(pool.context, task, thread);
    }
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

/* A worker may enter, and leave again, as long as the region is open. One that looks late may find
 * itself in the next region: its tasks are as good. */
static int enter_region(void)
{
    int inside = atomic_load_explicit(&pool.inside, memory_order_relaxed);
    while (!(inside & CLOSED))
        if (atomic_compare_exchange_weak_explicit(&pool.inside, &inside, inside + 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return 1;
    return 0;
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
        if (start.thread >= region_threads(region) || !enter_region())
            continue;
        if (start.thread < pool.threads)
            run_tasks(start.thread);
        atomic_fetch_sub_explicit(&pool.inside, 1, memory_order_release);
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
    atomic_store(&pool.inside, CLOSED);
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
    pool.fn = fn;
    pool.context = context;
    for (int i = 0; i < threads; i++) {
        const int first = (int)((int64_t)tasks * i / threads);
        const int end = (int)((int64_t)tasks * (i + 1) / threads);
        atomic_store_explicit(&pool.range[i].tasks, make_range(first, end), memory_order_relaxed);
    }
    atomic_store_explicit(&pool.inside, 0, memory_order_release);
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

/* All tasks are taken: wait for those who still work on theirs. */
static void end_region(void)
{
    atomic_fetch_or_explicit(&pool.inside, CLOSED, memory_order_acquire);
    for (int i = 0; atomic_load_explicit(&pool.inside, memory_order_acquire) != CLOSED; i++)
        if (i < SPINS)
            SP_PAUSE();
        else
            sched_yield(); /* a worker that is not on a CPU needs one, maybe this one */
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
    run_tasks(0);
    end_region();
    pthread_mutex_unlock(&pool.busy);
}
