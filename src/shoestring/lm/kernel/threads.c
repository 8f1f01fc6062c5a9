/* Threads that share one piece of work at a time; who waits is awake for a moment, then sleeps.
 *
 * The caller does a part itself. Work that comes while other work runs is done by its caller alone. On a busy machine a
 * thread that waited awake would take the time that the one it waits for needs. */
#include "kernel.h"

#include <pthread.h>

enum { MOST = 64, SPINS = 2000 };

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, asleep = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, met = PTHREAD_COND_INITIALIZER;
static atomic_uint turn, running, finished;
static unsigned born[MOST]; /* the turn in which a thread was started */
static Work current;
static void *current_what;
static size_t current_parts, started;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void await(atomic_uint *count, unsigned seen, pthread_cond_t *changed) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(count) != seen)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&asleep);
    while (atomic_load(count) == seen)
        pthread_cond_wait(changed, &asleep);
    pthread_mutex_unlock(&asleep);
}

static void advance(atomic_uint *count, pthread_cond_t *changed) {
    pthread_mutex_lock(&asleep);
    atomic_fetch_add(count, 1);
    pthread_cond_broadcast(changed);
    pthread_mutex_unlock(&asleep);
}

static void *serve(void *place) {
    size_t part = (size_t)place;
    unsigned seen = born[part];
    for (;;) {
        await(&turn, seen++, &wake);
        if (part < current_parts)
            current(current_what, part, current_parts);
        if (atomic_fetch_sub(&running, 1) == 1)
            advance(&finished, &met);
    }
    return NULL;
}

/* Threads do not survive a fork, nor does the work of another thread of the parent, nor what its threads wait for. */
static void begin_anew(void) {
    started = 0;
    busy = asleep = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    wake = met = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

int begin_threads(void) {
    return pthread_atfork(NULL, NULL, begin_anew);
}

/* Returns how many parts the work can have. */
static size_t threads_for(size_t parts) {
    for (pthread_t thread; started + 1 < parts; started++) {
        born[started + 1] = atomic_load(&turn);
        if (pthread_create(&thread, NULL, serve, (void *)(started + 1)) != 0)
            return started + 1;
        pthread_detach(thread);
    }
    return parts;
}

void in_parallel(Work work, void *what, size_t parts) {
    parts = parts > MOST ? MOST : parts;
    if (parts < 2 || pthread_mutex_trylock(&busy) != 0) {
        work(what, 0, 1);
        return;
    }
    unsigned before = atomic_load(&finished);
    current_parts = threads_for(parts), current = work, current_what = what;
    atomic_store(&running, (unsigned)started);
    advance(&turn, &wake);
    work(what, 0, current_parts);
    if (started > 0)
        await(&finished, before, &met);
    pthread_mutex_unlock(&busy);
}

void meet(Meeting *meeting, size_t parts) {
    unsigned seen = atomic_load(&meeting->turn);
    if (atomic_fetch_add(&meeting->arrived, 1) + 1 == parts) {
        atomic_store(&meeting->arrived, 0);
        advance(&meeting->turn, &met);
    } else
        await(&meeting->turn, seen, &met);
}
