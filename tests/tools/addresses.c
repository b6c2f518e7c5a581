/* SPDX-License-Identifier: MIT */
/* What tests/test_addresses.sh builds with the optimiser at its strongest, the library included:
 * two threads, each with a loop, whose fibers compare the addresses of thread-local variables, and
 * what is in these, from before and behind an await. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unring.h>

enum { FIBERS = 4, ROUNDS = 2000, THREADS = 2 };

struct thread {
    pthread_t id;
    int      *of_errno, *of_count; /* the addresses */
};

static _Thread_local int            count;
static _Thread_local struct thread *self;

#define MUST(condition) must(condition, #condition, __LINE__)
static void must(int is_so, const char *what, int line)
{
    if (is_so)
        return;
    fprintf(stderr, "addresses.c:%d: %s\n", line, what);
    exit(1);
}

/* The compiler sees the await, as the library is compiled along: what it thinks to know of
 * addresses it may keep across it. */
static int compares(void *argument)
{
    struct thread *thread = argument;
    for (int i = 0; i < ROUNDS; i++) {
        int before = ++count;
        errno = i;
        MUST(unr_yield() == 0);
        MUST(count >= before && count < before + FIBERS);
        errno = ERANGE;
        MUST(*thread->of_errno == ERANGE);
        MUST(&errno == thread->of_errno);
        MUST(&count == thread->of_count);
        MUST(self == thread);
    }
    return 0;
}

static void *runs(void *argument)
{
    struct thread   *thread = argument;
    struct unr_loop *loop;
    struct unr_fiber fibers[FIBERS] = { 0 };
    thread->of_errno = &errno;
    thread->of_count = &count;
    self = thread;
    MUST(unr_loop_open(&loop, NULL) == 0);
    for (int i = 0; i < FIBERS; i++)
        unr_start(loop, unr_fiber(&fibers[i], compares, thread), NULL, NULL);
    MUST(unr_loop_run(loop) == 0);
    MUST(count == FIBERS * ROUNDS);
    MUST(unr_loop_close(loop) == 0);
    return NULL;
}

int main(void)
{
    struct thread threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i].id, NULL, runs, &threads[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i].id, NULL);
    return 0;
}
