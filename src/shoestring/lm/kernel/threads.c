/* Threads that share one piece of work at a time; they wait awake for a moment, then asleep.
 *
 * The caller does a part itself. Work that comes while other work runs is done by its caller alone. */
#include "kernel.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

enum { MOST = 64, SPINS = 2000, PATIENCE = 20000 };

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, asleep = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_uint turn, running;
static unsigned born[MOST]; /* the turn in which a thread was started */
static Work current;
static void *current_what;
static size_t current_parts, started;
static pid_t owner; /* threads do not survive a fork */

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void wait_briefly(int spins) {
    spins < PATIENCE ? pause_briefly() : (void)sched_yield();
}

static void await(unsigned seen) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(&turn) != seen)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&asleep);
    while (atomic_load(&turn) == seen)
        pthread_cond_wait(&wake, &asleep);
    pthread_mutex_unlock(&asleep);
}

static void *serve(void *place) {
    size_t part = (size_t)place;
    unsigned seen = born[part];
    for (;;) {
        await(seen++);
        if (part < current_parts)
            current(current_what, part, current_parts);
        atomic_fetch_sub(&running, 1);
    }
    return NULL;
}

/* Returns how many parts the work can have. */
static size_t threads_for(size_t parts) {
    if (owner != getpid()) {
        owner = getpid();
        started = 0;
    }
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
    current_parts = threads_for(parts), current = work, current_what = what;
    atomic_store(&running, (unsigned)started);
    pthread_mutex_lock(&asleep);
    atomic_fetch_add(&turn, 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&asleep);
    work(what, 0, current_parts);
    for (int spin = 0; atomic_load(&running) != 0; spin++)
        wait_briefly(spin);
    pthread_mutex_unlock(&busy);
}

void meet(Meeting *meeting, size_t parts) {
    unsigned seen = atomic_load(&meeting->turn);
    if (atomic_fetch_add(&meeting->arrived, 1) + 1 == parts) {
        atomic_store(&meeting->arrived, 0);
        atomic_fetch_add(&meeting->turn, 1);
        return;
    }
    for (int spin = 0; atomic_load(&meeting->turn) == seen; spin++)
        wait_briefly(spin);
}
